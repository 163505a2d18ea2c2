"""Late fusion: scores of several streams, joined by video id, into one.

Convention: weights are shares, so that only their ratios count. Temperatures divide a stream's
logits before anything else (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017); 1
leaves them as they are. Each rule gives, at weight 0, the other stream by that rule alone.

- ``softmax``: the weighted mean of the streams' probabilities (Simonyan and Zisserman, NeurIPS
  2014, section 5, "averaging").
- ``log_probabilities``: the weighted geometric mean of the streams' probabilities, made to sum
  to 1; a product of experts.
- ``logits``: the weighted sum of the streams' logits. Of several clips a video's logits are here
  the mean over them of the clips' logits, whereas the other rules take the video's scores as they
  stand, of a network the log of the mean over clips of the softmax. Of one clip, and for each clip
  alone, ``logits`` and ``log_probabilities`` give the same softmax: a video's logits and the logs
  of its probabilities differ by a number that all classes share. It is a rule for networks: an SVM
  on the mean of the clips' features is worse on each clip than on the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from twostream.scores import Scores, log_of_mean, softmax

Rule = Literal["softmax", "logits", "log_probabilities"]
RULES: tuple[Rule, ...] = get_args(Rule)

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Fusion:
    """How streams are fused.

    Attributes:
        rule: "softmax", "logits" or "log_probabilities".
        weights: One a stream, from 0, not all of them 0.
        temperatures: One a stream, above 0.
    """

    rule: Rule
    weights: tuple[float, ...]
    temperatures: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(f"The rule {self.rule!r} is unknown; give one of {RULES}.")
        weights, temperatures = self.weights, self.temperatures
        if not weights or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise InputError(
                f"The weights are {list(weights)}; give numbers from 0, not all of them 0."
            )
        if len(temperatures) != len(weights) or not all(
            0 < each < float("inf") for each in temperatures
        ):
            raise InputError(
                f"The temperatures of {len(weights)} streams are {list(temperatures)}; "
                "give each a number above 0."
            )


def fuse(
    streams: Sequence[Scores],
    weights: Sequence[float] | None = None,
    rule: Rule = "softmax",
    temperatures: Sequence[float] | None = None,
) -> Scores:
    """Fuse the scores of videos, and of each clip.

    Args:
        streams: Scores of the same videos, in any order, by at least one stream.
        weights: One a stream, not negative, not all 0; equal ones where not given.
        rule: As said above.
        temperatures: One a stream; 1 where not given.

    Returns:
        Scores in the order of the first stream's videos.

    Raises:
        InputError: Weights or temperatures that do not fit, or streams that differ in data set,
            split, protocol, flow encoding, classes, videos or clips, or are one and the same.
    """
    count = len(streams)
    weights = [1.0] * count if weights is None else weights
    temperatures = [1.0] * count if temperatures is None else temperatures
    if not streams or len(weights) != count:
        raise InputError(f"There are {count} streams and {len(weights)} weights; give equal.")
    fusion = Fusion(rule, tuple(weights), tuple(temperatures))
    joined = join_streams(streams)
    return replace(
        joined[0],
        logits=combine([video_logits(each, rule) for each in joined], fusion),
        clip_logits=combine([each.clip_logits for each in joined], fusion),
        source=replace(
            joined[0].source,
            stream="+".join(each.source.stream for each in joined),
            checkpoint="+".join(each.source.checkpoint for each in joined),
            store="+".join(each.source.store for each in joined),
            flow=next((each.source.flow for each in joined if each.source.flow), ""),
        ),
    )


def combine(logits: Sequence[Logits], fusion: Fusion) -> Logits:
    """Logits (..., C) of the streams into one; of ``softmax`` logs of probabilities."""
    cooled = [
        each.astype(np.float64) / temperature
        for each, temperature in zip(logits, fusion.temperatures, strict=True)
    ]
    shares = np.asarray(fusion.weights, np.float64)
    shares = shares / shares.sum()
    if fusion.rule == "softmax":
        return log_of_mean(np.stack([softmax(each) for each in cooled]), shares)
    if fusion.rule == "log_probabilities":
        cooled = [_log_softmax(each) for each in cooled]
    mean = np.asarray(np.tensordot(shares, np.stack(cooled), axes=1), np.float64)
    if fusion.rule == "log_probabilities":
        mean = _log_softmax(mean)
    return mean.astype(np.float32)


def video_logits(scores: Scores, rule: Rule) -> Logits:
    """The logits (V, C) that a rule takes of each video."""
    if rule == "logits":
        return np.asarray(scores.clip_logits.mean(axis=1, dtype=np.float64), np.float32)
    return scores.logits


def join_streams(streams: Sequence[Scores]) -> list[Scores]:
    """The streams in the order of the first one's videos.

    Raises:
        InputError: Streams that cannot be fused.
    """
    for row, other in enumerate(streams):
        for one in streams[:row]:
            _refuse_mismatch(one, other)
            _refuse_twice(one, other)
    return [in_order(stream, streams[0].video_ids) for stream in streams]


def in_order(scores: Scores, video_ids: Sequence[str]) -> Scores:
    """The scores of some of the videos, in this order."""
    row = {video_id: index for index, video_id in enumerate(scores.video_ids)}
    rows = [row[video_id] for video_id in video_ids]
    return replace(
        scores,
        video_ids=tuple(video_ids),
        logits=scores.logits[rows],
        clip_logits=scores.clip_logits[rows],
    )


def _refuse_mismatch(first: Scores, other: Scores) -> None:
    pair = f"{first.source.stream} and {other.source.stream} scores"
    for name in ("dataset", "split", "protocol", "flow"):
        left, right = getattr(first.source, name), getattr(other.source, name)
        if left != right and not (name == "flow" and "" in (left, right)):
            raise InputError(
                f"The {pair} differ in {name}: {left!r} and {right!r}; score both alike."
            )
    if first.classes != other.classes:
        odd = sorted(set(first.classes) ^ set(other.classes))
        what = f"{odd[0]!r} is in only one of them" if odd else "their order differs"
        raise InputError(f"The {pair} differ in their classes: {what}; train both on one list.")
    odd = sorted(set(first.video_ids) ^ set(other.video_ids))
    if odd:
        raise InputError(
            f"The {pair} differ in {len(odd)} videos: {odd[0]!r} is in only one of them; "
            "score the same videos by both."
        )
    if first.clip_logits.shape != other.clip_logits.shape:
        raise InputError(
            f"The {pair} have {first.clip_logits.shape[1]} and {other.clip_logits.shape[1]} clips "
            "a video; score both alike."
        )


def _refuse_twice(first: Scores, other: Scores) -> None:
    if both := sorted(_networks(first) & _networks(other)):
        stream, checkpoint = both[0]
        raise InputError(
            f"Two of the score files are of one {stream} network, {checkpoint[:12]}; "
            "give each stream once."
        )


def _networks(scores: Scores) -> set[tuple[str, str]]:
    """Stream and checkpoint of each network that has a part in the scores and is named there."""
    streams, checkpoints = (
        name.split("+") for name in (scores.source.stream, scores.source.checkpoint)
    )
    if len(streams) != len(checkpoints):  # of folds: one hash for all of them
        return {(scores.source.stream, scores.source.checkpoint)}
    return {each for each in zip(streams, checkpoints, strict=True) if each[1]}


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
