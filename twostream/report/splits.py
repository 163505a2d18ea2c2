"""Score files of several splits: which belong together, and all of them as one list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flow.errors import InputError
from twostream.data.annotations import Annotations
from twostream.fusion_study import Study
from twostream.scores import Scores, join
from twostream.streams import STREAMS

SHOWN = 4


@dataclass(frozen=True)
class ScoreFile:
    """Scores and where they were read."""

    path: Path
    scores: Scores


def files_of_run(run: Path) -> tuple[Path, ...]:
    """The score files of a run: those of each stream and the fused one, or of each of its splits.

    Raises:
        InputError: A folder that holds none.
    """
    folders = sorted(path for path in run.iterdir() if path.is_dir())
    files = _files(run) or tuple(path for folder in folders for path in _files(folder))
    if not files:
        raise InputError(f"{run} holds no scores; write them with: python -m twostream score {run}")
    return files


def by_split(paths: Sequence[Path]) -> dict[str, tuple[ScoreFile, ...]]:
    """The score files by the name of their split, in the order in which they are given.

    Raises:
        InputError: A file that is no score file, or of another data set than the others.
    """
    splits: dict[str, tuple[ScoreFile, ...]] = {}
    for path in paths:
        file = ScoreFile(path, Scores.load(path))
        split = file.scores.source.split
        splits[split] = (*splits.get(split, ()), file)
    names = sorted({file.scores.source.dataset for files in splits.values() for file in files})
    if len(names) > 1:
        raise InputError(
            f"The scores are of {names[0]} and of {names[1]}; give those of one data set."
        )
    return splits


def study_beside(files: Sequence[ScoreFile]) -> Study | None:
    """The study of the last file's fusion, which ``fuse`` wrote beside it; None where it is not.

    Raises:
        InputError: A file that is no study, or of other videos than the scores.
    """
    last = files[-1]
    study = read_study(last.path.with_suffix(".json"))
    if study is not None and study.videos != len(last.scores.video_ids):
        raise InputError(
            f"{last.path.with_suffix('.json')} is of {study.videos:,} videos, the scores beside it "
            f"of {len(last.scores.video_ids):,}; fuse again."
        )
    return study


def read_study(path: Path) -> Study | None:
    """The study in a file; None where it is not there."""
    if not path.is_file():
        return None
    try:
        return Study.from_json(path.read_text())
    except (InputError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: {problem}") from None


def pooled(
    splits: Mapping[str, Sequence[Scores]], lists: Mapping[str, Annotations]
) -> tuple[tuple[Scores, ...], Annotations] | None:
    """The scores of each stream over all splits, and the list of all their test videos.

    None where a video is tested twice, or where the splits are official ones, whose accuracies are
    averaged and not pooled.

    Raises:
        InputError: Splits that were not scored alike.
    """
    videos = [video for each in lists.values() for video in each.test]
    if all(split.isdecimal() for split in splits) or len({v.id for v in videos}) < len(videos):
        return None
    streams = list(zip(*splits.values(), strict=True))
    name, first = title(list(splits)), next(iter(lists.values()))
    whole = Annotations(first.name, name, first.classes, (), tuple(videos), shares_groups=True)
    return tuple(join(folds, name) for folds in streams), whole


def title(splits: Sequence[str]) -> str:
    """The names of the splits, of many the first and the last."""
    if len(splits) > SHOWN:
        return f"{splits[0]} to {splits[-1]}"
    return ", ".join(splits)


def _files(folder: Path) -> tuple[Path, ...]:
    """Of a folder in which streams lie."""
    streams = [path for s in STREAMS if (path := folder / s / "scores.npz").is_file()]
    fused = (folder / "fused.npz", folder / "fused" / "scores.npz")
    there = [path for path in fused if path.is_file()]
    return (*streams, *there[:1]) if streams else ()
