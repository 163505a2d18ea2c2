"""How the streams of a run are fused to predict: as it was chosen for the run, or else 1:1."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from flow.errors import InputError
from twostream.fusion import Fusion, Rule
from twostream.fusion_study import Row, Study
from twostream.runs import folds_of
from twostream.streams import Stream


def choose_fusion(
    run: Path, streams: Sequence[Stream], weights: Sequence[float] | None = None
) -> Fusion:
    """The rule, weights and temperatures with which a run's streams are fused.

    They stand in RUN/fused.json, which ``python -m twostream fuse`` writes. For one split of a run
    of several, which has no such file of its own, they are those of this split in the file of all.

    Args:
        run: The folder of the run.
        streams: Which are fused.
        weights: Other ones, a number a stream; temperatures and rule stay as they were chosen.

    Raises:
        InputError: A fusion that cannot be computed for one video, or weights that do not fit.
    """
    if weights is not None and len(weights) != len(streams):
        raise InputError(
            f"There are {len(streams)} streams and {len(weights)} weights; give as many."
        )
    rule, told, temperatures = _chosen(run, streams, weights is not None)
    return Fusion(rule, told if weights is None else tuple(weights), temperatures)


def _chosen(
    run: Path, streams: Sequence[Stream], any_rule: bool
) -> tuple[Rule, tuple[float, ...], tuple[float, ...]]:
    """Rule, weights and temperatures of the study that there is."""
    equal = (1.0,) * len(streams)
    path, place = _study_of(run, streams[0])
    if path is None:
        return "softmax", equal, equal
    try:
        study = Study.from_json(path.read_text())
    except (OSError, InputError) as problem:
        raise InputError(f"{path} cannot be used: {problem}") from problem
    row = next(row for row in study.rows if row.name == study.chosen)
    where = [study.streams.index(stream) for stream in streams if stream in study.streams]
    if len(where) < len(streams):
        return "softmax", equal, equal
    temperatures = equal
    if place < len(row.temperatures) and len(row.temperatures[place]) == len(study.streams):
        temperatures = tuple(row.temperatures[place][index] for index in where)
    if len(streams) == 1:
        return "softmax", equal, temperatures
    rule = next((rule for rule in get_args(Rule) if rule == row.rule), None)
    if any_rule:
        return rule or "softmax", equal, temperatures if rule else equal
    shares = _shares(study, row, place)
    if rule is None or shares is None:
        raise InputError(
            f"{path} chose {row.name!r} by the rule {row.rule!r}, which needs the scores of many "
            "videos; give --weights, such as 1 1."
        )
    return rule, tuple(shares[index] for index in where), temperatures


def _shares(study: Study, row: Row, place: int) -> tuple[float, ...] | None:
    """The weight of each stream of the study; None where the row does not tell."""
    if len(study.streams) == 2 and place < len(row.shares):
        return 1 - row.shares[place], row.shares[place]
    return None


def _study_of(run: Path, stream: Stream) -> tuple[Path | None, int]:
    """The file of the study, and the place of this run among its splits."""
    if (run / "fused.json").is_file():
        return run / "fused.json", 0
    above = run.absolute().parent
    if (above / "fused.json").is_file():
        for place, folder in enumerate(folds_of(above, stream).values()):
            if folder.parent.samefile(run):
                return above / "fused.json", place
    return None, 0
