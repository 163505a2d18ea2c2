"""The curves and rows of a fusion's study, from the scores of all its splits."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from flow.errors import InputError
from twostream.fusion import (
    RULES,
    Fusion,
    Logits,
    Rule,
    combine,
    fuse,
    join_streams,
    video_logits,
)
from twostream.fusion_choice import SHARES, Split, choose
from twostream.fusion_study import Curve, Row, Study
from twostream.fusion_svm import fuse_by_svm
from twostream.scores import Scores

EVEN = 0.5
BY_SVM = "chosen, svm"


Ways = Mapping[str, Sequence[Fusion]]


def ways_to_fuse(
    splits: Sequence[Split], weights: Sequence[float] | None = None
) -> dict[str, tuple[Fusion, ...]]:
    """Each rule with equal weights, with given ones, and with those that held-out scores choose.

    Args:
        splits: At least one. Nothing is chosen unless all have held-out scores.
        weights: One a stream, if some are given.

    Returns:
        By the name of the study's row, such as "equal, softmax", a fusion a split.

    Raises:
        InputError: Weights that do not fit.
    """
    count, held_out = len(splits[0].test), _all_held_out(splits)
    if weights is not None and len(weights) != count:
        raise InputError(f"There are {count} streams and {len(weights)} weights; give equal.")
    ways = {}
    for rule in RULES:
        ways[f"equal, {rule}"] = (_even(rule, count),) * len(splits)
        if weights is not None:
            given = Fusion(rule, tuple(weights), (1.0,) * count)
            ways[f"given, {rule}"] = (given,) * len(splits)
        if held_out:
            ways[f"chosen, {rule}"] = tuple(_chosen(split, rule) for split in splits)
    return ways


def fuse_all(splits: Sequence[Split], ways: Ways, name: str) -> list[Scores]:
    """The fused test scores of each split, by one of the ways or "chosen, svm"."""
    if name == BY_SVM:
        return [fuse_by_svm(split) for split in splits]
    return [
        fuse(split.test, way.weights, way.rule, way.temperatures)
        for split, way in zip(splits, ways[name], strict=True)
    ]


def make_study(splits: Sequence[Split], ways: Ways, written: str, fused: Sequence[Scores]) -> Study:
    """The curves and rows of all splits together; a tested video counts once a split.

    Args:
        splits: At least one.
        ways: Fusions, one a split, by the name of their row. The curves are at the temperatures of
            "chosen, RULE" where there is such a one, else at 1.
        written: The name of the row that is written as the fused scores.
        fused: These, one a split.
    """
    streams = tuple(scores.source.stream for scores in splits[0].test)
    rows = [*_alone(splits, streams), *(_row(splits, name, way) for name, way in ways.items())]
    if written == BY_SVM:
        top1 = _share_right(splits, [scores.logits for scores in fused])
        rows.append(Row(BY_SVM, "svm", (), (), top1, reportable=True))
    curves = []
    for rule in RULES if len(streams) == 2 else ():
        way = ways.get(f"chosen, {rule}", ways[f"equal, {rule}"])
        curves.append(_curve(splits, rule, way))
        rows.append(_best(curves[-1], way))
    return Study(
        streams,
        tuple(curves),
        tuple(rows),
        written,
        sum(len(split.test[0].video_ids) for split in splits),
        sum(len(split.held_out[0].video_ids) for split in splits if split.held_out),
    )


def _chosen(split: Split, rule: Rule) -> Fusion:
    return choose(split.held_out, split.labels(split.held_out[0]), rule)


def _all_held_out(splits: Sequence[Split]) -> bool:
    return all(split.held_out for split in splits)


def _even(rule: Rule, count: int) -> Fusion:
    return Fusion(rule, (1.0,) * count, (1.0,) * count)


def _alone(splits: Sequence[Split], streams: Sequence[str]) -> list[Row]:
    """A row a stream; of several of one name they are counted."""
    rows, count = [], Counter[str]()
    for number, stream in enumerate(streams):
        count[stream] += 1
        name = stream if count[stream] == 1 else f"{stream} {count[stream]}"
        ordered = [join_streams(split.test)[number] for split in splits]
        top1 = _share_right(splits, [scores.logits for scores in ordered])
        rows.append(Row(name, "", (), (), top1, True))
    return rows


def _row(splits: Sequence[Split], name: str, way: Sequence[Fusion]) -> Row:
    shares = tuple(fusion.weights[1] / sum(fusion.weights) for fusion in way)
    return Row(
        name,
        way[0].rule,
        shares if len(way[0].weights) == 2 else (),
        tuple(fusion.temperatures for fusion in way),
        _top1(splits, way, held_out=False),
        True,
    )


def _curve(splits: Sequence[Split], rule: Rule, way: Sequence[Fusion]) -> Curve:
    """At the temperatures of ``way``."""
    held_out = _all_held_out(splits)

    def at(share: float, on_held_out: bool) -> float:
        here = [Fusion(rule, (1 - share, share), fusion.temperatures) for fusion in way]
        return _top1(splits, here, on_held_out)

    return Curve(
        rule,
        SHARES,
        tuple(at(share, True) for share in SHARES) if held_out else (),
        tuple(at(share, False) for share in SHARES),
    )


def _best(curve: Curve, way: Sequence[Fusion]) -> Row:
    """The highest point of the test curve, of several the nearest to equal weights."""
    tops = [
        share for share, top1 in zip(SHARES, curve.test, strict=True) if top1 == max(curve.test)
    ]
    share = min(tops, key=lambda each: abs(each - EVEN))
    temperatures = tuple(fusion.temperatures for fusion in way)
    name = f"best on the test list, {curve.rule}"
    return Row(name, curve.rule, (share,) * len(way), temperatures, max(curve.test), False)


def _top1(splits: Sequence[Split], way: Sequence[Fusion], held_out: bool) -> float:
    """Top-1 of fused scores by video, without their clips, which take the most time."""
    fused = []
    for split, fusion in zip(splits, way, strict=True):
        streams = join_streams(split.held_out if held_out else split.test)
        fused.append(combine([video_logits(each, fusion.rule) for each in streams], fusion))
    return _share_right(splits, fused, held_out)


def _share_right(
    splits: Sequence[Split], logits: Sequence[Logits], held_out: bool = False
) -> float:
    right = [
        each.argmax(axis=1) == split.labels((split.held_out if held_out else split.test)[0])
        for split, each in zip(splits, logits, strict=True)
    ]
    return float(np.concatenate(right).mean())
