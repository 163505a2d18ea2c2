"""Prediction: what a trained run says of any video, its flow computed on the way.

    from twostream.prediction import Predictor
    predictor = Predictor("runs/mine")
    print(predictor("video.mp4").top(5))

A video's answer is that of ``python -m twostream score`` and ``fuse``: the mean of the softmax over
the run's evenly spread test clips, whatever its length. Where these leave gaps between them, there
are windows beside them, each one clip long, which lie end to end over the whole video and make its
time line; else the test clips are the windows.

A video is decoded twice, since only decoding tells where evenly spread clips lie; after that all
stages go on at a time, and what is in memory does not grow with the length of the video.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.sources import open_video
from twostream.data.sampling import even_runs, positions
from twostream.devices import choose_device
from twostream.fusion import combine
from twostream.image_settings import is_imported, settings_of
from twostream.prediction.following import Following, answered
from twostream.prediction.fusion import choose_fusion
from twostream.prediction.network import StreamNetwork
from twostream.prediction.parts import FrameArray, Frames, Part, flow_images
from twostream.prediction.result import Prediction, Window
from twostream.scores import softmax
from twostream.streams import STREAMS, Stream

_ALIKE = ("clip_length", "test_clips", "short")  # of the experiments of two streams


class Predictor:
    """The networks of a run, ready for new videos.

    Args:
        run: Folder of the run; of a run of several splits that of one of them, RUN/<split>.
        streams: Which of its streams answer.
        weights: How much each one counts. As it was chosen for the run (RUN/fused.json) where not
            given, or else all alike.
        short_side: Scale videos so that their shorter side has so many pixels; as the videos that
            the run was trained on where not given.
        device: "auto", "cpu", "cuda" or "cuda:N"; of the networks.

    Attributes:
        classes: Names.
        streams: As given.
        networks: One a stream.
        fusion: How they are fused.
        settings: How frames are taken, and flow is computed and encoded.
        notes: What to know of the answers, a sentence each.

    Raises:
        InputError: No such run, streams that do not go together, or a solver that cannot run here.
    """

    def __init__(
        self,
        run: Path | str,
        streams: Sequence[Stream] = STREAMS,
        *,
        weights: Sequence[float] | None = None,
        short_side: int | None = None,
        device: str = "auto",
    ) -> None:
        run, self.streams = Path(run), tuple(streams)
        _check_streams(self.streams)
        _refuse_several_splits(run, self.streams[0])
        target = choose_device(device)
        self.networks = tuple(StreamNetwork.load(run / each, target) for each in self.streams)
        first = self.networks[0]
        for other in self.networks[1:]:
            _refuse_mismatch(first, other)
        self.classes = first.classes
        self.fusion = choose_fusion(run, self.streams, weights)
        # Frames are taken alike for both streams; how flow is made, its own network tells.
        made = next((n.images for n in self.networks if n.stream == "flow"), first.images)
        self.settings = settings_of(made, short_side).resolved(try_it="flow" in self.streams)
        self.notes: tuple[str, ...] = ()
        if "flow" in self.streams and is_imported(made):
            self.notes = (
                f"{run} was trained on flow that another tool computed; here TV-L1 with its "
                "default parameters computes it, which may differ.",
            )

    @property
    def clip_length(self) -> int:
        """Frames, or flow fields, in a clip."""
        return self.networks[0].experiment.clip_length

    def __call__(
        self, video: Path | str | NDArray[np.uint8], fps: float = 0.0, progress: bool = False
    ) -> Prediction:
        """What the run says of a video.

        Args:
            video: A file, a folder of images, or frames uint8 (T, H, W, 3) RGB.
            fps: Frames a second, of frames that are given.
            progress: Whether to show on stderr how far the work is.

        Raises:
            InputError: A video that is damaged, has one frame, or is none.
        """
        following = self.follow(video, fps, progress)
        for _ in following:
            pass
        return following.prediction()

    def follow(
        self, video: Path | str | NDArray[np.uint8], fps: float = 0.0, progress: bool = False
    ) -> Following:
        """The way through a video, which hands on its frames; otherwise as ``__call__``."""
        if isinstance(video, np.ndarray):
            name, frames = "frames", FrameArray(video, fps)
            return self._follow(name, frames, progress)
        return self._follow(str(video), open_video(Path(video)), progress)

    def window(self, frames: NDArray[np.uint8], start: int = 0) -> Window:
        """What one clip says, of frames that follow each other, such as the last ones of a camera.

        Args:
            frames: uint8 (clip_length + 1, H, W, 3) RGB, scaled as ``settings`` say.
            start: The number of the first.

        Raises:
            InputError: Other frames than such.
        """
        FrameArray(frames)
        if len(frames) != self.clip_length + 1:
            raise InputError(f"There are {len(frames)} frames; give {self.clip_length + 1}.")
        flow = flow_images(frames, self.settings) if "flow" in self.streams else None
        (run,) = even_runs(positions(len(frames)), self.clip_length, 1)
        ((_, answers),) = answered(self.networks, [Part(0, frames, flow)], {0: run})
        probabilities = softmax(combine(answers[0], self.fusion))
        return Window(start, start + self.clip_length, probabilities)

    def _follow(self, name: str, frames: Frames, progress: bool) -> Following:
        return Following(name, frames, self.networks, self.fusion, self.settings, progress)


def _check_streams(streams: tuple[Stream, ...]) -> None:
    if not streams or len(set(streams)) < len(streams) or set(streams) - set(STREAMS):
        raise InputError(f"The streams are {list(streams)}; give rgb, flow, or both.")


def _refuse_several_splits(run: Path, stream: Stream) -> None:
    if (run / stream / "run.json").is_file():
        return
    if splits := sorted(run.glob(f"*/{stream}/run.json")):
        raise InputError(
            f"{run} has {len(splits)} splits, each with networks of its own; give the folder of "
            f"one, such as --run {splits[0].parent.parent}"
        )


def _refuse_mismatch(first: StreamNetwork, other: StreamNetwork) -> None:
    """Refuse streams whose answers cannot be fused, or that take other frames."""
    pair = f"{first.path} and {other.path}"
    if first.classes != other.classes:
        raise InputError(f"{pair} know different classes; train both on one list.")
    for name in _ALIKE:
        left, right = getattr(first.experiment, name), getattr(other.experiment, name)
        if left != right:
            raise InputError(
                f"{pair} differ in {name}: {left} and {right}; give one of --streams alone."
            )
    for name in ("short_side", "step"):
        left, right = first.images[name], other.images[name]
        if left != right:
            raise InputError(
                f"{pair} were trained on stores that differ in {name}: {left} and {right}; give "
                "one of --streams alone."
            )
