"""python -m twostream predict: what a trained run says of new videos."""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from flow.errors import InputError
from twostream.streams import Stream

if TYPE_CHECKING:
    from twostream.prediction import Predictor


@dataclass(frozen=True)
class Predict:
    """Say what new videos show: the most probable classes, and of long ones when.

    Exit status: 0 when every video is done, 1 when some failed (the others are done), 2 for wrong
    usage.

    Attributes:
        videos: Files, folders of images, or the number of a camera, such as 0 (end it by Ctrl-C).
        run: Folder of the run; of a run of several splits that of one of them, RUN/<split>.
        streams: Which of its streams answer.
        weights: How much each stream counts; as it was chosen for the run (RUN/fused.json) where
            not given, or else all alike.
        short_side: Scale videos so that their shorter side has so many pixels; as the videos that
            the run was trained on where not given.
        out: Write each video with its flow and bars of its top classes: a file (.mp4, .mov or
            .mkv) for one video, or a folder.
        json: Print JSON lines, one a window and one a video, instead of text.
        device: "auto", "cpu", "cuda" or "cuda:N"; of the networks.
    """

    videos: Positional[tuple[Path, ...]]
    run: Path
    streams: tuple[Stream, ...] = ("rgb", "flow")
    weights: tuple[float, ...] | None = None
    short_side: int | None = None
    out: Path | None = None
    json: bool = False
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.prediction import Predictor

        if not self.videos:
            raise InputError("No video is given; give one or more, or the number of a camera.")
        targets = self._targets()
        predictor = Predictor(
            self.run,
            self.streams,
            weights=self.weights,
            short_side=self.short_side,
            device=self.device,
        )
        for note in predictor.notes:
            print(note, file=sys.stderr)
        failed = 0
        try:
            for video in self.videos:
                try:
                    self._one(predictor, video, targets.get(video))
                except InputError as problem:
                    print(problem, file=sys.stderr)
                    failed += 1
        except KeyboardInterrupt:
            print("interrupted; what is printed is whole", file=sys.stderr)
            return 130
        if failed and len(self.videos) > 1:
            print(f"{failed} of {len(self.videos)} videos failed", file=sys.stderr)
        return 1 if failed else 0

    def _one(self, predictor: "Predictor", video: Path, out: Path | None) -> None:
        from twostream.prediction.encoding import annotate
        from twostream.prediction.words import as_json, in_words

        if _is_camera(video):
            self._watch(predictor, int(str(video)))
            return
        if out is None:
            prediction = predictor(video, progress=True)
        else:
            prediction = annotate(predictor, video, out, progress=True)
        lines = as_json(prediction) if self.json else iter([in_words(prediction)])
        for line in lines:
            print(line, flush=True)
        if out is not None:
            print(f"{out} is written", file=sys.stderr)

    def _watch(self, predictor: "Predictor", index: int) -> None:
        """A line for each window of a camera, until it ends or Ctrl-C."""
        from twostream.prediction.camera import Camera
        from twostream.prediction.words import window_as_json, window_in_words

        settings = predictor.settings
        try:
            with Camera(index, predictor.clip_length + 1, settings.step) as camera:
                for start, frames in camera.runs(settings.short_side):
                    window = predictor.window(frames, start)
                    if self.json:
                        line = window_as_json(f"{index}", window, predictor.classes, camera.fps)
                    else:
                        line = window_in_words(window, predictor.classes)
                    print(line, flush=True)
        except KeyboardInterrupt:
            return

    def _targets(self) -> dict[Path, Path]:
        """The file to write for each video; all that can be wrong with them is told at once."""
        from flow.files import make_writable
        from flow.side_by_side import FORMATS

        if self.out is None:
            return {}
        if camera := next(filter(_is_camera, self.videos), None):
            raise InputError(f"What camera {camera} shows is not written; leave --out away.")
        if self.out.suffix.lower() in FORMATS and not self.out.is_dir():
            if len(self.videos) > 1:
                raise InputError(
                    f"{self.out} is one file for {len(self.videos)} videos; give a folder."
                )
            make_writable(self.out.parent)
            return {self.videos[0]: self.out}
        targets = {video: self.out / f"{_stem(video)}.mp4" for video in self.videos}
        for path, count in Counter(targets.values()).items():
            if count > 1:
                raise InputError(
                    f"{count} of the videos would be written as {path}; give them one at a time, "
                    "each with an --out of its own."
                )
        make_writable(self.out)
        for video, path in targets.items():
            if path.exists() and video.exists() and path.samefile(video):
                raise InputError(f"{path} would be written over itself; give another folder.")
        return targets


def _is_camera(video: Path) -> bool:
    """Whether it is a number, and not that of a file."""
    return str(video).isdecimal() and not video.exists()


def _stem(video: Path) -> str:
    """Its name without its suffix; of a folder of images all of its name."""
    video = video.absolute()
    return video.name if video.is_dir() else video.stem
