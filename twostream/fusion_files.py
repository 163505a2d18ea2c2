"""The score files of a fusion: which belong together, what the lists say of them, the held out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flow.errors import InputError
from twostream.data.annotations import Video, load
from twostream.fusion_choice import Split
from twostream.runs import Data, load_run, split_folder, together
from twostream.scores import Scores
from twostream.streams import STREAMS

SCORES = "scores.npz"
# Of training videos: by the network, where it held them out; by last layers before fine-tuning,
# each fitted without the video's group.
HELD_OUT, UNSEEN = "held_out.npz", "unseen.npz"


def of_run(run: Path, data: Data) -> dict[str, tuple[Path, ...]]:
    """The score files of each split, one a stream, by the name of the split's folder.

    Of one split alone these are RUN/<stream>/scores.npz, and the name is "".

    Raises:
        InputError: A split or a stream that is missing.
    """
    parts = sorted(path for stream in STREAMS for path in run.glob(f"*/{stream}/{SCORES}"))
    names = [""]
    if parts:
        whole = together(Scores.load(parts[0]).source.split)
        names = [split_folder(each.split) for each in replace(data, split=whole).splits()]
    files = {name: tuple(run / name / stream / SCORES for stream in STREAMS) for name in names}
    missing = [path for paths in files.values() for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} score files of {run} are not there, {missing[0]} first; "
            f"write them with: python -m twostream score {run}"
        )
    return files


def data_of_run(run: Path) -> Data:
    """What a run of one split or several was trained on; InputError where the folder is of none."""
    return _data(path for depth in ("*", "*/*") for path in sorted(run.glob(f"{depth}/run.json")))


def data_of_file(path: Path) -> Data:
    """The same by the score file of a stream, or of the stream on all splits."""
    folder = path.parent
    return _data([folder / "run.json", *sorted(folder.parent.glob(f"*/{folder.name}/run.json"))])


def _data(found: Iterable[Path]) -> Data:
    for path in found:
        if path.is_file():
            return load_run(path.parent).data
    raise InputError("The scores lie in no run that tells its lists; give --lists and --dataset.")


def load_split(paths: Sequence[Path], held_out: bool) -> tuple[list[Scores], list[Scores]]:
    """The test scores of each stream, and those of held-out videos beside them.

    Args:
        paths: A score file a stream.
        held_out: Whether the latter must be there, for all streams by one name.

    Raises:
        InputError: A file that is missing.
    """
    beside = [[path.with_name(name) for path in paths] for name in (HELD_OUT, UNSEEN)]
    there = next((files for files in beside if all(file.is_file() for file in files)), [])
    if held_out and not there:
        absent = next(file for file in beside[0] if not file.is_file())
        raise InputError(
            f"{absent} is not there, so that nothing can be chosen but on the test list: train "
            "with videos held out or the last layer fitted, score, and give the score files of "
            "one split or the run's folder; or give --weights."
        )
    return [Scores.load(path) for path in paths], [Scores.load(path) for path in there]


def with_lists(data: Data, test: Sequence[Scores], held_out: Sequence[Scores]) -> Split:
    """The split with what its lists say.

    Raises:
        InputError: Lists that cannot be read, or are not of these scores.
    """
    source = test[0].source
    annotations = load(data.dataset, data.lists, source.split)
    if (source.dataset, test[0].classes) != (annotations.name, annotations.classes):
        raise InputError(
            f"The scores are of {source.dataset}, {len(test[0].classes)} classes, the lists of "
            f"{annotations.name}, {len(annotations.classes)} classes; give those that were scored."
        )
    listed = (*annotations.train, *annotations.test)
    videos: dict[str, Video] = {video.id: video for video in listed}
    return Split(tuple(test), videos, tuple(held_out))
