"""Scoring protocols: which clips of a video, and which parts of the picture, its scores come from.

A video's probability of a class is the mean of the softmax over all that is scored of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from flow.errors import InputError
from twostream.data.sampling import Short, even_runs
from twostream.data.transforms import Geometry
from twostream.experiments import Experiment

ProtocolName = Literal["paper", "dense", "full"]
Crops = Literal[1, 3, 10]


@dataclass(frozen=True)
class Protocol:
    """What is scored of a video.

    Scores keep one row of logits for each clip, the mean of the softmax over its crops and mirror
    images. Where videos have different numbers of clips (``clips`` None), they keep one row for
    each video, the mean over all its clips: then "by clip" and "by video" are the same.

    Attributes:
        clips: Evenly spread clips a video; None: the least number of them that covers all of it.
        length: Frames, or flow fields, in a clip.
        geometry: Sizes that frames are resized to, and of a crop.
        crops: 1: the centre. 3: along the longer side. 10: the four corners and the centre, and
            the mirror images of these (`twostream.data.window.crop_boxes`).
        mirror: Each crop's mirror image as well; 10 crops have them in any case.
        short: What stands in for the frames that a shorter video lacks.

    Raises:
        InputError: Numbers that there cannot be.
    """

    clips: int | None
    length: int
    geometry: Geometry
    crops: Crops = 1
    mirror: bool = False
    short: Short = "repeat"

    def __post_init__(self) -> None:
        even_runs(1, self.length, 1 if self.clips is None else self.clips, self.short)
        if self.crops not in get_args(Crops):
            raise InputError(f"The number of crops is {self.crops}; give 1, 3 or 10.")

    @property
    def places(self) -> int:
        """Crops of a clip, without mirror images."""
        return 5 if self.crops == 10 else self.crops

    @property
    def both_sides(self) -> bool:
        """Whether mirror images are scored, too."""
        return self.mirror or self.crops == 10

    def __str__(self) -> str:
        crop = "{}x{}".format(*self.geometry.crop)
        shown = {
            1: f"centre crop {crop}",
            3: f"3 crops {crop} along the longer side",
            10: f"10 crops {crop}: corners, centre and their mirror images",
        }[self.crops]
        parts = [
            f"consecutive clips of {self.length} over all of the video"
            if self.clips is None
            else f"{self.clips} even clips of {self.length}",
            self.geometry.size,
            shown,
        ]
        if self.mirror and self.crops != 10:
            parts.append("mirror images")
        if self.short != "repeat":
            parts.append(f"short videos {self.short}")
        return ", ".join([*parts, "mean of softmax"])


def own(experiment: Experiment) -> Protocol:
    """As the experiment tests: its number of even clips, the centre crop."""
    return Protocol(
        experiment.test_clips,
        experiment.clip_length,
        experiment.geometry(),
        short=experiment.short,
    )


def paper(experiment: Experiment) -> Protocol:
    """The P3D author's for UCF101: 20 clips, the centre crop."""
    return replace(own(experiment), clips=20)


def dense(experiment: Experiment) -> Protocol:
    """10 clips of 3 crops along the longer side (SlowFast, arXiv:1812.03982, section 4)."""
    return replace(own(experiment), clips=10, crops=3)


def full(experiment: Experiment) -> Protocol:
    """All of the video in consecutive clips, the centre crop."""
    return replace(own(experiment), clips=None)


PROTOCOLS: dict[ProtocolName, Callable[[Experiment], Protocol]] = {
    "paper": paper,
    "dense": dense,
    "full": full,
}


def refuse_unlearned_mirror(protocol: Protocol, experiment: Experiment) -> None:
    """Refuse mirror images for a network that has never seen any.

    Raises:
        InputError: It may know left from right, so that a mirror image is of another class.
    """
    if protocol.both_sides and not experiment.mirror:
        what = f"{protocol.crops} crops" if protocol.crops == 10 else "Mirror images"
        raise InputError(
            f"{what} cannot be scored: the network was trained without mirror images, as left and "
            "right may be different classes; give no --mirror and --crops 1 or 3."
        )
