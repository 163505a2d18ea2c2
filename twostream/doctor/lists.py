"""The lists of a data set, and whether they are sound in themselves."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video, load
from twostream.data.csv_lists import columns, csv_annotations
from twostream.data.official_lists import hmdb51_unused
from twostream.doctor.findings import Case, Finding, count

OFFICIAL = {"ucf101": "UCF101", "hmdb51": "HMDB51"}


@dataclass(frozen=True)
class Lists:
    """Some splits of one data set.

    Attributes:
        splits: As they are loaded; a group may be on both sides.
        unused: Videos that are listed, but in none of the splits.
        grouped: Whether the lists tell which videos belong together.
    """

    splits: tuple[Annotations, ...]
    unused: tuple[Video, ...] = ()
    grouped: bool = True

    @property
    def official(self) -> bool:
        """Whether the lists are those of UCF101 or HMDB51, which nobody may mend."""
        return self.splits[0].name in OFFICIAL

    @property
    def classes(self) -> tuple[str, ...]:
        return self.splits[0].classes

    @cached_property
    def videos(self) -> dict[str, Video]:
        """Every video of the splits by its id."""
        return {video.id: video for split in self.splits for video in (*split.train, *split.test)}

    @cached_property
    def every(self) -> dict[str, Video]:
        """Every listed video by its id, the unused ones too."""
        return self.videos | {video.id: video for video in self.unused}

    @cached_property
    def _sides(self) -> tuple[Mapping[str, str], ...]:
        """Of each split: what keeps videos together, the side or, where all are tested, a group."""
        return tuple(
            {video.id: side for side in ("train", "test") for video in split.side(side)}
            if split.train
            else {video.id: video.group for video in split.test}
            for split in self.splits
        )

    def apart(self, one: str, other: str) -> bool:
        """Whether a network is trained on one of two videos and tested on the other."""
        return any(
            one in sides and other in sides and sides[one] != sides[other] for sides in self._sides
        )

    def labelled_otherwise(self, one: str, other: str) -> bool:
        """Whether two videos have different labels; where one has none, they have not."""
        labels = {self.every[video].label for video in (one, other) if video in self.every}
        return len(labels) == 2

    def place(self, video: str) -> str:
        """The label of a video, and its side or group, for a message."""
        if video not in self.every:
            return "not listed"
        label = self.classes[self.every[video].label]
        sides = [sides[video] for sides in self._sides if video in sides]
        return ", ".join([label, "/".join(sides)]) if sides else label


def read_lists(dataset: str, path: Path, split: str | None) -> tuple[Lists | None, list[Finding]]:
    """The lists, or the fault why there are none.

    Args:
        dataset: "ucf101", "hmdb51" or "csv".
        path: The folder of the official lists, or the CSV file.
        split: As for ``twostream.data.annotations.load``; None for all three official ones; of a
            CSV for its own, or else for all groups in turn.

    Raises:
        InputError: No such data set, file or split.
    """
    if dataset not in (*OFFICIAL, "csv"):
        raise InputError(f"Data set {dataset!r} is unknown; give ucf101, hmdb51 or csv.")
    if not (path.is_file() if dataset == "csv" else path.is_dir()):
        what = "file" if dataset == "csv" else "folder"
        raise InputError(f"{path} is no {what}; give the {what} of the lists of {dataset}.")
    if dataset != "csv" and split not in (None, "all", "1", "2", "3"):
        raise InputError(f"Split {split!r} of {dataset} is unknown; give 1, 2, 3 or all.")
    try:
        lists = _csv(path, split) if dataset == "csv" else _official(dataset, path, split)
    except _UnsoundError as error:
        message = f"{error} What depends on the lists was not looked at."
        return None, [Finding("fault", "lists", message)]
    return lists, [*_groups(lists), *_classes(lists)]


class _UnsoundError(Exception):
    """What is written in the lists is wrong, in a sentence."""


def _official(dataset: str, path: Path, split: str | None) -> Lists:
    numbers = ("1", "2", "3") if split in (None, "all") else (str(split),)
    try:
        splits = tuple(load(dataset, path, number) for number in numbers)
        # Each split of HMDB51 leaves other clips out, of one and the same set.
        unused = hmdb51_unused(path, int(numbers[0])) if dataset == "hmdb51" else ()
    except InputError as error:
        raise _UnsoundError(str(error)) from None
    used = {video.id for each in splits for video in (*each.train, *each.test)}
    return Lists(splits, tuple(video for video in unused if video.id not in used))


def _csv(path: Path, split: str | None) -> Lists:
    try:
        own = columns(path)
        split = split or ("column" if "split" in own else "groups")
        if split == "column" and "split" in own:
            own_split = csv_annotations(path, split, shares_groups=True)
            return Lists((own_split,), grouped="group" in own)
        csv_annotations(path, "groups")
    except InputError as error:
        raise _UnsoundError(str(error)) from None
    # What is wrong from here on is the split that was asked for.
    return Lists((csv_annotations(path, split),), grouped="group" in own)


def _groups(lists: Lists) -> Iterator[Finding]:
    """Sources of videos on both sides of a split."""
    shared = {split.split: split.shared_groups() for split in lists.splits}
    cases = tuple(case for split in lists.splits for case in _shared_groups(split))
    if cases and lists.official:
        films = ", ".join(str(len(groups)) for groups in shared.values())
        message = (
            f"{films} films on both sides of split {', '.join(shared)}: so the official lists are."
        )
        yield Finding("note", "groups", message, cases)
    elif cases:
        message = (
            f"{count(len(cases), 'group')} on both sides of the split, which leaks from training "
            "into testing; move each to one side."
        )
        yield Finding("fault", "leak by groups", message, cases)
    if not lists.grouped:
        message = (
            "the list has no column group, so each video counts as a source of its own; where "
            "clips were cut from one recording, name it there."
        )
        yield Finding("note", "groups", message)


def _shared_groups(split: Annotations) -> Iterator[Case]:
    train, test = (Counter(video.group for video in side) for side in (split.train, split.test))
    for group in split.shared_groups():
        sides = f"{train[group]} to train on, {test[group]} to test on"
        yield Case(group, f"split {split.split}: {sides}")


def _classes(lists: Lists) -> Iterator[Finding]:
    """Classes that cannot be learnt or tested, and names that are hardly two."""
    for split in lists.splits:
        if split.train:
            yield from _classes_of_sides(split)
        else:
            yield from _classes_of_groups(split)
    alike = defaultdict(list)
    for name in lists.classes:
        alike[plain(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            message = f"the labels {', '.join(names)} are hardly different; write them alike."
            yield Finding("fault", "labels", message)


def _classes_of_sides(split: Annotations) -> Iterator[Finding]:
    trained, tested = ({video.label for video in side} for side in (split.train, split.test))
    if only_tested := tested - trained:
        message = f"{count(len(only_tested), 'class')} tested without a video to train on."
        yield Finding("fault", "classes", message, _cases(split, only_tested))
    if only_trained := trained - tested:
        message = f"{count(len(only_trained), 'class')} trained on without a video to test on."
        yield Finding("note", "classes not tested", message, _cases(split, only_trained))


def _classes_of_groups(split: Annotations) -> Iterator[Finding]:
    groups = defaultdict(set)
    for video in split.test:
        groups[video.label].add(video.group)
    if alone := {label for label, of_label in groups.items() if len(of_label) == 1}:
        message = (
            f"{count(len(alone), 'class')} in one group alone: where it is tested, nothing is left "
            "to train on."
        )
        yield Finding("fault", "classes", message, _cases(split, alone))


def _cases(split: Annotations, labels: Collection[int]) -> tuple[Case, ...]:
    return tuple(Case(split.classes[label]) for label in sorted(labels))


def plain(text: str) -> str:
    """A name without what file systems and tools change in it: case, signs, accents' encoding."""
    return re.sub(r"[^\w/]|_", " ", unicodedata.normalize("NFKC", text).casefold())
