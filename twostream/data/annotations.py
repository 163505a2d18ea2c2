"""Which videos train and which test: the official lists of UCF101 and HMDB51, and CSV files.

Convention: a video's id is its POSIX path below the folder of videos without its last suffix
("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01"), as in the store. Labels count from 0. A group holds the
videos that come from one source, so that they are not independent.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError

Side = Literal["train", "test"]

UCF101_COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}
HMDB51_COUNTS_PER_CLASS = (70, 30)


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
                f"{title} has group {_some(shared)} on both sides, which leaks from training into "
                "testing; move each such group to one side."
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
        split: ``"1"``, ``"2"`` or ``"3"``; for a CSV see `csv_annotations`.

    Raises:
        InputError: An unknown data set or split, or lists that are missing, cut short or wrong.
    """
    if dataset == "csv":
        return csv_annotations(lists, split)
    official = {"ucf101": ucf101, "hmdb51": hmdb51}
    if dataset not in official:
        raise InputError(f"Data set {dataset!r} is unknown; give ucf101, hmdb51 or csv.")
    if split not in ("1", "2", "3"):
        raise InputError(f"Split {split!r} of {dataset} is unknown; give 1, 2 or 3.")
    return official[dataset](lists, int(split))


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
    _check_split("HMDB51", split)
    ending = f"_test_split{split}.txt"
    classes = tuple(sorted(path.name.removesuffix(ending) for path in lists.glob(f"*{ending}")))
    if len(classes) != 51:
        raise InputError(
            f"The folder {lists} holds {len(classes)} files *{ending} of HMDB51, not 51; "
            "give the folder of the official lists."
        )
    train: list[Video] = []
    test: list[Video] = []
    for label, name in enumerate(classes):
        sides = _hmdb51_list(lists / f"{name}{ending}", name, label)
        train += sides[0]
        test += sides[1]
    return Annotations("hmdb51", str(split), classes, tuple(train), tuple(test), shares_groups=True)


def csv_annotations(path: Path, split: str) -> Annotations:
    """A CSV file with the columns video, label and, where wanted, group and split.

    Args:
        path: The file; ``video`` is a path below the folder of videos, with its suffix. Without a
            column group each video is a group of its own.
        split: ``"column"`` takes train and test from the column split; ``"group:NAME"`` tests on
            that group and trains on the others; ``"fold:K/N"`` tests on fold K, from 1, of N folds
            of whole groups, nearly equal in size (scikit-learn's GroupKFold). ``"groups"`` and
            ``"folds:N"`` stand for all of these together: every video is tested, none trained on.

    Returns:
        Annotations named after the file and its folder ("weizmann/annotations"), the classes its
        sorted labels.
    """
    rows = _csv_rows(path)
    classes = tuple(sorted({row.label for row in rows}))
    videos = _csv_videos(rows, classes)
    held_out = [True] * len(rows) if _is_all(split) else _csv_held_out(path, rows, split)
    train = tuple(video for video, held in zip(videos, held_out, strict=True) if not held)
    test = tuple(video for video, held in zip(videos, held_out, strict=True) if held)
    name = f"{path.resolve().parent.name}/{path.stem}"
    return Annotations(name, split, classes, train, test)


def groups(path: Path) -> tuple[str, ...]:
    """The groups of a CSV file, sorted."""
    return _csv_groups(path, _csv_rows(path))


def folds(path: Path, count: int | None = None) -> tuple[str, ...]:
    """The splits of a CSV file that together test every video once.

    Leave-one-group-out ("group:NAME" for each group), or ``count`` grouped folds ("fold:K/N").
    """
    if count is None:
        return tuple(f"group:{group}" for group in groups(path))
    return tuple(f"fold:{fold}/{count}" for fold in range(1, count + 1))


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


def hold_out(
    train: tuple[Video, ...], fraction: float, seed: int
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Take whole groups out of the training videos for validation.

    Groups are offered in a random order, and one is taken where that brings the share of each class
    nearer to ``fraction`` (in the sum of squares over the classes). No class loses its last
    training video.

    Returns:
        The videos to train on and those to validate on, each in the order given.

    Raises:
        InputError: A fraction outside 0 to 1, or groups that cannot be taken apart.
    """
    if not 0 < fraction < 1:
        raise InputError(f"The fraction to hold out is {fraction}; give a number between 0 and 1.")
    counts = _videos_by_group_and_class(train)
    taken = _choose_groups(counts, fraction, np.random.default_rng(seed))
    if not taken:
        raise InputError(
            f"The {len(train):,} training videos have no group that can be held out, because each "
            "one holds a whole class; give more groups, or hold nothing out."
        )
    chosen = {sorted({video.group for video in train})[group] for group in taken}
    return (
        tuple(video for video in train if video.group not in chosen),
        tuple(video for video in train if video.group in chosen),
    )


def _videos_by_group_and_class(videos: tuple[Video, ...]) -> NDArray[np.int64]:
    """Counts (groups, classes), both sorted, of those that occur."""
    names, group = np.unique([video.group for video in videos], return_inverse=True)
    labels, label = np.unique([video.label for video in videos], return_inverse=True)
    counts = np.zeros((len(names), len(labels)), np.int64)
    np.add.at(counts, (group, label), 1)
    return counts


def _choose_groups(
    counts: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> list[int]:
    totals = counts.sum(axis=0)

    def distance(held: NDArray[np.int64]) -> float:
        # A class without a training video left could not be learnt.
        return float(np.sum((held / totals - fraction) ** 2)) if (held < totals).all() else np.inf

    order = rng.permutation(len(counts))
    held = np.zeros_like(totals)
    taken: list[int] = []
    for group in order:
        if distance(held + counts[group]) < distance(held):
            held = held + counts[group]
            taken.append(group)
    if not taken and len(order):
        # Every group is far larger than the fraction: the one that overshoots least.
        smallest = min(order, key=lambda group: distance(counts[group]))
        taken = [smallest] if distance(counts[smallest]) < np.inf else []
    return taken


def _check_split(dataset: str, split: int) -> None:
    if split not in (1, 2, 3):
        raise InputError(f"{dataset} has no split {split}; give 1, 2 or 3.")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, stripped, each with where it stands."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"The list {path} cannot be read ({error.strerror}); give the path of the lists."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"The list {path} is not UTF-8 text; save it as UTF-8.") from None


def _located(where: str, name: str, label: int, group: str) -> Video:
    """A video of the file ``name``; an error says where it is listed."""
    try:
        # An empty name has no suffix to take off; Video refuses it.
        return Video(str(PurePosixPath(name).with_suffix("")) if name else "", label, group)
    except (InputError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None


def _ucf101_classes(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for where, line in _lines(path):
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
    for where, line in _lines(path):
        name, *number = line.split()
        label = labels.get(name.partition("/")[0].casefold())
        group = re.search(r"_(g\d{2})_c\d{2}\.", name)
        if label is None or group is None or number != ([str(label + 1)] if labelled else []):
            form = "Class/v_Class_gNN_cNN.avi" + (" and its class number" if labelled else "")
            raise InputError(
                f"{where}: {line!r} is not {form} as in classInd.txt; fetch the lists again."
            )
        videos.append(_located(where, name, label, f"{classes[label]}/{group[1]}"))
    return tuple(videos)


def _hmdb51_list(path: Path, name: str, label: int) -> tuple[list[Video], list[Video]]:
    """The training and the test videos of one class."""
    sides: dict[str, list[Video]] = {"0": [], "1": [], "2": []}
    for where, line in _lines(path):
        # Film names hold almost any character, so a line is read from its right end.
        video, _, side = line.rpartition(" ")
        # <film>_<class>_<body>_<camera>_<people>_<view>_<quality>_<number>.avi
        film, *tail = video.rstrip().rsplit("_", 6)
        if side not in sides or len(tail) != 6 or not film.endswith(f"_{name}"):
            raise InputError(
                f"{where}: {line!r} is not a clip of {name} with 0, 1 or 2; fetch the lists again."
            )
        group = film.removesuffix(f"_{name}")
        sides[side].append(_located(where, f"{name}/{video.rstrip()}", label, group))
    if (len(sides["1"]), len(sides["2"])) != HMDB51_COUNTS_PER_CLASS:
        raise InputError(
            f"{path} holds {len(sides['1'])} training and {len(sides['2'])} test videos, "
            "not 70 and 30; fetch the lists again."
        )
    return sides["1"], sides["2"]


@dataclass(frozen=True)
class _Row:
    """A row of a CSV file; a column that the file has not is None."""

    where: str
    video: str
    label: str
    group: str | None
    split: str | None

    def __post_init__(self) -> None:
        for column in ("video", "label", "group", "split"):
            if getattr(self, column) == "":
                raise InputError(f"{self.where}: {column} is empty; fill it in.")


def _csv_rows(path: Path) -> tuple[_Row, ...]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not {"video", "label"} <= set(header) or len(set(header)) < len(header):
            raise InputError(
                f"{path} begins with the columns {', '.join(header) or 'of an empty file'}; "
                "give video,label and, where wanted, group and split, each once."
            )
        rows = tuple(
            _csv_row(f"{path}, line {reader.line_num}", header, cells) for cells in reader if cells
        )
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; mend the quotes.") from None
    if not rows:
        raise InputError(f"{path} lists no video; add a row for each.")
    return rows


def _csv_row(where: str, header: list[str], cells: list[str]) -> _Row:
    if len(cells) != len(header):
        raise InputError(
            f"{where}: {len(cells)} cells under {len(header)} columns; "
            "quote a cell that has a comma in it."
        )
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    return _Row(where, row["video"], row["label"], row.get("group"), row.get("split"))


def _csv_videos(rows: tuple[_Row, ...], classes: tuple[str, ...]) -> list[Video]:
    labels = {name: label for label, name in enumerate(classes)}
    videos: dict[str, Video] = {}
    for row in rows:
        video = _located(row.where, row.video, labels[row.label], row.group or row.video)
        if video.id in videos:
            raise InputError(f"{row.where}: video {video.id!r} is listed before; leave one entry.")
        videos[video.id] = video
    return list(videos.values())


def _csv_groups(path: Path, rows: tuple[_Row, ...]) -> tuple[str, ...]:
    groups = {row.group for row in rows if row.group is not None}
    if not groups:
        raise InputError(f"{path} has no column group; add one that names each video's source.")
    return tuple(sorted(groups))


def _csv_held_out(path: Path, rows: tuple[_Row, ...], split: str) -> list[bool]:
    """Whether each row is on the test side."""
    kind, _, value = split.partition(":")
    if split == "column":
        return [_is_test(row) for row in rows]
    if kind == "group":
        names = _csv_groups(path, rows)
        if value not in names:
            raise InputError(f"{path} has no group {value!r}; give {_some(names, 'or')}.")
        return [row.group == value for row in rows]
    if fold := re.fullmatch(r"fold:(\d+)/(\d+)", split):
        return _in_fold(path, rows, int(fold[1]), int(fold[2]))
    raise InputError(f"Split {split!r} of {path} is unknown; give column, group:NAME or fold:K/N.")


def _is_all(split: str) -> bool:
    """Whether all folds together are meant."""
    return split == "groups" or re.fullmatch(r"folds:\d+", split) is not None


def _is_test(row: _Row) -> bool:
    if row.split not in ("train", "test"):
        found = "there is no column split" if row.split is None else f"split is {row.split!r}"
        raise InputError(f"{row.where}: {found}; give train or test, or another protocol.")
    return row.split == "test"


def _in_fold(path: Path, rows: tuple[_Row, ...], fold: int, count: int) -> list[bool]:
    # Loading scikit-learn takes a second that the other lists need not wait for.
    from sklearn.model_selection import GroupKFold

    sources = [row.group if row.group is not None else row.video for row in rows]
    available = len(set(sources))
    if not (2 <= count <= available and 1 <= fold <= count):
        raise InputError(
            f"{path} has {available} groups, so there is no fold {fold} of {count}; "
            f"give fold:K/N with K from 1 to N and N from 2 to {available}."
        )
    _, test = list(GroupKFold(count).split(sources, groups=sources))[fold - 1]
    held = set(test.tolist())
    return [row in held for row in range(len(rows))]


def _first_twice(names: Collection[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _some(names: Collection[str], last: str = "and") -> str:
    """The first names of many, for a message."""
    shown = [repr(name) for name in list(names)[:20]]
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
