"""Which videos train and which test.

Convention: a video's id is its POSIX path below the folder of videos without its last suffix
("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01"), as in the store. Labels count from 0. A group holds the
videos that come from one source, so that they are not independent.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from flow.errors import InputError

Side = Literal["train", "test"]


@dataclass(frozen=True)
class Video:
    """One video of a list: its id, its label from 0, and the group it was filmed in.

    Raises:
        InputError: An id that would lead outside the folder of videos, or a negative label.
    """

    id: str
    label: int
    group: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.id)
        strange = "\\" in self.id or "\0" in self.id
        outside = path.is_absolute() or ".." in path.parts or not path.name
        if strange or outside or str(path) != self.id:
            raise InputError(
                f"The video name {self.id!r} is not usable; "
                "give a path below the folder of videos, with / between folders."
            )
        if self.label < 0:
            raise InputError(f"The label of video {self.id!r} is {self.label}; labels start at 0.")


@dataclass(frozen=True)
class Annotations:
    """One split of a data set: the classes in the order of their labels, and who is on which side.

    Attributes:
        name: The data set, such as "ucf101".
        split: The split, such as "1", "column", "group:daria" or "fold:2/5".
        classes: Class names; a video's label is its place here.
        train: Videos to train on.
        test: Videos to test on.
        shares_groups: The official lists themselves put groups on both sides, as HMDB51's do.

    Raises:
        InputError: A video twice, a label without a class, or a group on both sides.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    train: tuple[Video, ...]
    test: tuple[Video, ...]
    shares_groups: bool = False

    def __post_init__(self) -> None:
        title = f"{self.name} split {self.split}"
        if len(set(self.classes)) < len(self.classes):
            raise InputError(
                f"{title} names class {_first_twice(self.classes)!r} twice; rename one."
            )
        ids = [video.id for video in (*self.train, *self.test)]
        if len(set(ids)) < len(ids):
            raise InputError(
                f"{title} lists video {_first_twice(ids)!r} twice; leave one entry, on one side."
            )
        for video in (*self.train, *self.test):
            if video.label >= len(self.classes):
                raise InputError(
                    f"Video {video.id!r} of {title} has label {video.label}, "
                    f"but there are {len(self.classes)} classes; mend the list."
                )
        if not self.shares_groups and (shared := self.shared_groups()):
            raise InputError(
                f"{title} has group {some_of(shared)} on both sides, which leaks from training "
                "into testing; move each such group to one side."
            )

    def shared_groups(self) -> tuple[str, ...]:
        """The groups that have videos on both sides, sorted."""
        train, test = ({video.group for video in side} for side in (self.train, self.test))
        return tuple(sorted(train & test))

    def side(self, side: Side) -> tuple[Video, ...]:
        """The videos of one side."""
        return self.train if side == "train" else self.test


def load(dataset: str, lists: Path, split: str) -> Annotations:
    """The annotations of ``dataset``.

    Args:
        dataset: ``"ucf101"``, ``"hmdb51"`` or ``"csv"``.
        lists: The folder of the official list files, or the CSV file.
        split: ``"1"``, ``"2"`` or ``"3"``; for a CSV see ``csv_annotations``.

    Raises:
        InputError: An unknown data set or split, or lists that are missing, cut short or wrong.
    """
    # They make Annotations, and so import this module.
    from twostream.data.csv_lists import csv_annotations
    from twostream.data.official_lists import hmdb51, ucf101

    if dataset == "csv":
        return csv_annotations(lists, split)
    official = {"ucf101": ucf101, "hmdb51": hmdb51}
    if dataset not in official:
        raise InputError(f"Data set {dataset!r} is unknown; give ucf101, hmdb51 or csv.")
    if split not in ("1", "2", "3"):
        raise InputError(f"Split {split!r} of {dataset} is unknown; give 1, 2 or 3.")
    return official[dataset](lists, int(split))


def missing(annotations: Annotations, side: Side, has: Callable[[str], bool]) -> tuple[str, ...]:
    """The ids of one side for which ``has`` says no, in the order of the list."""
    return tuple(video.id for video in annotations.side(side) if not has(video.id))


def require(annotations: Annotations, side: Side, has: Callable[[str], bool], store: Path) -> None:
    """Raise InputError, with the count and the first name, unless one side is all in ``store``."""
    absent = missing(annotations, side, has)
    if absent:
        raise InputError(
            f"{len(absent):,} of {len(annotations.side(side)):,} {side} videos of "
            f"{annotations.name} split {annotations.split} are not in {store}, first: {absent[0]}; "
            "extract them or pass --allow-missing."
        )


def only(annotations: Annotations, ids: Collection[str]) -> Annotations:
    """The annotations of those videos that are in ``ids``; the classes stay."""
    keep = frozenset(ids)
    train, test = (
        tuple(video for video in side if video.id in keep)
        for side in (annotations.train, annotations.test)
    )
    return replace(annotations, train=train, test=test)


def some_of(names: Collection[str], last: str = "and") -> str:
    """The first names of many, for a message."""
    shown = [repr(name) for name in list(names)[:20]]
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _first_twice(names: Collection[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)
