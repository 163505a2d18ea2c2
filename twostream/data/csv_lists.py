"""Lists of a user's own: a CSV file ``video,label[,group][,split]``, and the protocols on it."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video, some_of
from twostream.data.list_files import located, text_of


def csv_annotations(path: Path, split: str, *, shares_groups: bool = False) -> Annotations:
    """A CSV file with the columns video, label and, where wanted, group and split.

    Args:
        path: The file; ``video`` is a path below the folder of videos, with its suffix. Without a
            column group each video is a group of its own.
        split: ``"column"`` takes train and test from the column split; ``"group:NAME"`` tests on
            that group and trains on the others; ``"fold:K/N"`` tests on fold K, from 1, of N folds
            of whole groups, nearly equal in size (scikit-learn's GroupKFold). ``"groups"`` and
            ``"folds:N"`` stand for all of these together: every video is tested, none trained on.
            So it is with ``"all"``, for networks that were trained elsewhere.
        shares_groups: Take a column split that has a group on both sides, to look at it.

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
    return Annotations(name, split, classes, train, test, shares_groups)


def columns(path: Path) -> frozenset[str]:
    """Which of the columns video, label, group and split a CSV file has."""
    first = _csv_rows(path)[0]
    names = ("video", "label", "group", "split")
    return frozenset(name for name in names if getattr(first, name) is not None)


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
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)
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
        video = located(row.where, row.video, labels[row.label], row.group or row.video)
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
            raise InputError(f"{path} has no group {value!r}; give {some_of(names, 'or')}.")
        return [row.group == value for row in rows]
    if fold := re.fullmatch(r"fold:(\d+)/(\d+)", split):
        return _in_fold(path, rows, int(fold[1]), int(fold[2]))
    raise InputError(
        f"Split {split!r} of {path} is unknown; give column, group:NAME, fold:K/N or all."
    )


def _is_all(split: str) -> bool:
    """Whether every video is to be tested."""
    return split in ("all", "groups") or re.fullmatch(r"folds:\d+", split) is not None


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
