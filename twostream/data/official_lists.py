"""The official lists of UCF101 and HMDB51, as they are distributed."""

import re
from pathlib import Path

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.data.list_files import lines_of, located

UCF101_COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}
HMDB51_COUNTS_PER_CLASS = (70, 30)


def ucf101(lists: Path, split: int) -> Annotations:
    """UCF101 (Soomro, Zamir, Shah 2012): classInd.txt, trainlist0N.txt and testlist0N.txt.

    The folder decides the class, its case does not: the clips of HandstandPushups are named
    v_HandStandPushups_*. A group ("Archery/g01") is numbered within its class, where 4 to 7 clips
    share a source. No group is on both sides of an official split.
    """
    _check_split("UCF101", split)
    classes = _ucf101_classes(lists / "classInd.txt")
    train = _ucf101_list(lists / f"trainlist{split:02d}.txt", classes, labelled=True)
    test = _ucf101_list(lists / f"testlist{split:02d}.txt", classes, labelled=False)
    if (len(train), len(test)) != UCF101_COUNTS[split]:
        raise InputError(
            f"The lists of UCF101 split {split} in {lists} hold {len(train)} training and "
            f"{len(test)} test videos, not {UCF101_COUNTS[split][0]} and "
            f"{UCF101_COUNTS[split][1]}; fetch them again."
        )
    return Annotations("ucf101", str(split), classes, train, test)


def hmdb51(lists: Path, split: int) -> Annotations:
    """HMDB51 (Kuehne et al. 2011): 51 files <class>_test_splitN.txt, 1 to train and 2 to test.

    A group is the source film, as the names give it. The official lists keep a film on one side
    within each class, but share 133, 149 and 144 films (splits 1, 2, 3) between classes.
    """
    classes, sides = _hmdb51_lists(lists, split)
    train, test = tuple(sides["1"]), tuple(sides["2"])
    return Annotations("hmdb51", str(split), classes, train, test, shares_groups=True)


def hmdb51_unused(lists: Path, split: int) -> tuple[Video, ...]:
    """The clips of HMDB51 that a split neither trains nor tests on: 1,666 of 6,766."""
    return tuple(_hmdb51_lists(lists, split)[1]["0"])


def _check_split(dataset: str, split: int) -> None:
    if split not in (1, 2, 3):
        raise InputError(f"{dataset} has no split {split}; give 1, 2 or 3.")


def _ucf101_classes(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for where, line in lines_of(path):
        number, _, name = line.partition(" ")
        if number != str(len(names) + 1) or not name:
            raise InputError(
                f"{where}: {line!r} is not class {len(names) + 1} as 'number name'; "
                "fetch the lists again."
            )
        names.append(name.strip())
    different = len({name.casefold() for name in names})
    if len(names) != 101 or different != 101:
        raise InputError(f"{path} names {different} classes, not 101; fetch the lists again.")
    return tuple(names)


def _ucf101_list(path: Path, classes: tuple[str, ...], *, labelled: bool) -> tuple[Video, ...]:
    labels = {name.casefold(): label for label, name in enumerate(classes)}
    videos = []
    for where, line in lines_of(path):
        name, *number = line.split()
        label = labels.get(name.partition("/")[0].casefold())
        group = re.search(r"_(g\d{2})_c\d{2}\.", name)
        if label is None or group is None or number != ([str(label + 1)] if labelled else []):
            form = "Class/v_Class_gNN_cNN.avi" + (" and its class number" if labelled else "")
            raise InputError(
                f"{where}: {line!r} is not {form} as in classInd.txt; fetch the lists again."
            )
        videos.append(located(where, name, label, f"{classes[label]}/{group[1]}"))
    return tuple(videos)


def _hmdb51_lists(lists: Path, split: int) -> tuple[tuple[str, ...], dict[str, list[Video]]]:
    """The classes, and the clips of all of them by the number that the lists give them."""
    _check_split("HMDB51", split)
    ending = f"_test_split{split}.txt"
    classes = tuple(sorted(path.name.removesuffix(ending) for path in lists.glob(f"*{ending}")))
    if len(classes) != 51:
        raise InputError(
            f"The folder {lists} holds {len(classes)} files *{ending} of HMDB51, not 51; "
            "give the folder of the official lists."
        )
    sides: dict[str, list[Video]] = {"0": [], "1": [], "2": []}
    for label, name in enumerate(classes):
        for side, videos in _hmdb51_list(lists / f"{name}{ending}", name, label).items():
            sides[side] += videos
    return classes, sides


def _hmdb51_list(path: Path, name: str, label: int) -> dict[str, list[Video]]:
    """The clips of one class: "0" unused, "1" to train, "2" to test."""
    sides: dict[str, list[Video]] = {"0": [], "1": [], "2": []}
    for where, line in lines_of(path):
        # Film names hold almost any character, so a line is read from its right end.
        video, _, side = line.rpartition(" ")
        # <film>_<class>_<body>_<camera>_<people>_<view>_<quality>_<number>.avi
        film, *tail = video.rstrip().rsplit("_", 6)
        if side not in sides or len(tail) != 6 or not film.endswith(f"_{name}"):
            raise InputError(
                f"{where}: {line!r} is not a clip of {name} with 0, 1 or 2; fetch the lists again."
            )
        group = film.removesuffix(f"_{name}")
        sides[side].append(located(where, f"{name}/{video.rstrip()}", label, group))
    if (len(sides["1"]), len(sides["2"])) != HMDB51_COUNTS_PER_CLASS:
        raise InputError(
            f"{path} holds {len(sides['1'])} training and {len(sides['2'])} test videos, "
            "not 70 and 30; fetch the lists again."
        )
    return sides
