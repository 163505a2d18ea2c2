"""python -m twostream doctor: what is wrong with a data set."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from flow.errors import InputError


@dataclass(frozen=True)
class Doctor:
    """Look for what is wrong with a data set before it is trained on; nothing is changed.

    Exit status: 0 when it is sound, 1 when a fault was found, 2 for wrong usage.

    Attributes:
        videos: The folder of the videos, at any depth in it; a folder of images is a video, too.
        store: The folder of their stored flow.
        lists: The folder of the official lists, or a CSV file.
        dataset: Of these lists: "ucf101", "hmdb51" or "csv".
        split: "1", "2" or "3" of the official lists, all three where not given; of a CSV as for
            train: its own column where not given, or else "groups".
        clip_length: Frames, or flow fields, in a clip.
        quick: Only open each video and decode its first frame.
        json: File for all findings with all their videos.
        shown: How many videos to name for each finding.
        workers: Processes; one a processor where not given.
    """

    videos: Positional[Path]
    store: Path | None = None
    lists: Path | None = None
    dataset: str = "csv"
    split: str | None = None
    clip_length: int = 16
    quick: bool = False
    json: Path | None = None
    shown: int = 3
    workers: int | None = None

    def __call__(self) -> int:
        from flow.files import write_atomically
        from twostream.doctor import diagnose

        if self.lists is None and (self.split is not None or self.dataset != "csv"):
            raise InputError("A data set or split was given without its lists; give --lists.")
        if min(self.clip_length, self.workers or 1) < 1 or self.workers == 0 or self.shown < 0:
            raise InputError(
                "--clip-length, --workers or --shown is too small; give 1 or more, "
                "for --shown 0 or more."
            )
        if self.json and not self.json.parent.is_dir():
            raise InputError(f"{self.json.parent} is no folder; give a file in one for --json.")
        diagnosis = diagnose(
            self.videos,
            store=self.store,
            dataset=self.dataset,
            lists=self.lists,
            split=self.split,
            clip_length=self.clip_length,
            quick=self.quick,
            workers=self.workers,
        )
        if self.json:
            write_atomically(self.json, diagnosis.to_json().encode())
        print(diagnosis.text(self.shown))
        return 0 if diagnosis.sound else 1
