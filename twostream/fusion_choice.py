"""Weights and temperatures of a fusion, chosen on held-out training videos.

Each stream's temperature is the most likely one (Guo et al., 2017). Of two streams, each share of
the second one's weight is then tried; the share is taken whose fused scores are the most likely
after a temperature of their own. By the ``softmax`` rule on linear SVMs of P3D features, with 9, 10
and 5 splits, the top-1 of all test videos in percent, and the least and the highest share:

    chosen by                        Weizmann         UT-Interaction    Surveillance Fight
    likelihood as fused              100.0, 1 to 1    85.0, 0.85 to 1   83.3, 0.95 to 1
    accuracy, then likelihood        100.0, 0.9 to 1  85.0, 0.45 to 1   83.0, 0.5 to 0.95
    likelihood after a temperature   100.0, 0.85 to   86.7, 0.65 to     82.7, 0.8 to 1
                                            0.9              0.9
    the better stream alone          100.0            85.0              82.7
    best share on the test list      100.0            88.3              83.3

A video is 1.7 points of UT-Interaction and 0.3 of Surveillance Fight: the three differ by one video
and by two, which decides nothing. What does: a mean of streams that are each calibrated is less
sure than it is right, so that the likelihood as fused gives one stream nearly all; the accuracy of
some fifty held-out videos jumps by two points a video, and its shares go from end to end. A
temperature changes no ranking: after one, the likelihood tells how well classes are told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize

from flow.errors import InputError
from twostream.calibration import Labels, calibrate, temperature
from twostream.data.annotations import Video
from twostream.fusion import Fusion, Logits, Rule, combine, join_streams, video_logits
from twostream.scores import Scores

SHARES = tuple(number / 20 for number in range(21))
SAME = 1e-9


@dataclass(frozen=True)
class Split:
    """The streams' scores of one split, and what the lists say of its videos.

    Attributes:
        test: Of each stream the test videos' scores.
        videos: The lists' videos by their ids.
        held_out: Of each stream the scores of training videos that it was not trained on; of none
            where there are none.
    """

    test: tuple[Scores, ...]
    videos: Mapping[str, Video]
    held_out: tuple[Scores, ...] = ()

    def __post_init__(self) -> None:
        join_streams(self.test)
        for scores in (*self.test, *self.held_out):
            unknown = [video for video in scores.video_ids if video not in self.videos]
            if unknown:
                raise InputError(
                    f"{len(unknown)} scored videos are not on the list, {unknown[0]!r} first; "
                    "give the lists that they were scored with."
                )
        if self.held_out:
            join_streams(self.held_out)
            for test, held_out in zip(self.test, self.held_out, strict=True):
                _refuse_other(test, held_out)

    def labels(self, scores: Scores) -> Labels:
        """int64 (V,): the true class of each scored video."""
        return np.array([self.videos[video].label for video in scores.video_ids], np.int64)

    def groups(self, scores: Scores) -> NDArray[np.str_]:
        """(V,): the group of each scored video."""
        return np.array([self.videos[video].group for video in scores.video_ids])


def choose(held_out: Sequence[Scores], labels: Labels, rule: Rule) -> Fusion:
    """Weights and temperatures, as said above; of more than two streams as `choose_likely`.

    Args:
        held_out: Of each stream, in any order of the same V videos.
        labels: int64 (V,), in the order of the first stream's.
        rule: Of the fusion.

    Raises:
        InputError: No video, or streams that cannot be fused.
    """
    if len(held_out) != 2:
        return choose_likely(held_out, labels, rule)
    logits, temperatures = _cooled(held_out, labels, rule)
    losses = np.array([_loss(logits, _even((1 - s, s), rule), labels) for s in SHARES])
    best = np.flatnonzero(losses <= losses.min() + SAME)
    share = min((SHARES[i] for i in best), key=lambda each: abs(each - 0.5))
    return _calibrated(logits, labels, Fusion(rule, (1 - share, share), temperatures))


def choose_likely(
    held_out: Sequence[Scores], labels: Labels, rule: Rule = "log_probabilities"
) -> Fusion:
    """The most likely weights of any number of streams.

    For ``logits`` and ``log_probabilities`` the loss is convex in the weights, as in `calibrate`.
    For ``softmax`` it is descended from equal weights.
    """
    logits, temperatures = _cooled(held_out, labels, rule)
    if rule == "softmax":
        weights = _descended(logits, labels)
    else:
        factors, _ = calibrate([each.astype(np.float64) for each in logits], labels)
        weights = tuple((factors / factors.sum()).tolist())
    return _calibrated(logits, labels, Fusion(rule, weights, temperatures))


def _cooled(
    held_out: Sequence[Scores], labels: Labels, rule: Rule
) -> tuple[list[Logits], tuple[float, ...]]:
    """Each stream's calibrated logits (V, C), and its temperature."""
    joined = join_streams(held_out)
    logits = [video_logits(each, rule) for each in joined]
    temperatures = tuple(temperature(each.astype(np.float64), labels) for each in logits)
    return [one / np.float32(t) for one, t in zip(logits, temperatures, strict=True)], temperatures


def _calibrated(logits: Sequence[Logits], labels: Labels, fusion: Fusion) -> Fusion:
    """The fusion with the temperatures that calibrate what is fused, where the rule multiplies.

    A temperature of a mean of probabilities is none of its streams'.
    """
    if fusion.rule == "softmax":
        return fusion
    fused = combine(logits, _even(fusion.weights, fusion.rule))
    last = temperature(fused.astype(np.float64), labels)
    return Fusion(fusion.rule, fusion.weights, tuple(last * each for each in fusion.temperatures))


def _descended(logits: Sequence[Logits], labels: Labels) -> tuple[float, ...]:
    """Weights of the ``softmax`` rule at a minimum of the loss."""
    count = len(logits)

    def loss(weights: NDArray[np.float64]) -> float:
        return _loss(logits, _even(np.clip(weights, 0, 1).tolist(), "softmax"), labels)

    sum_is_1 = LinearConstraint(np.ones(count), 1, 1)
    found = minimize(
        loss,
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints=sum_is_1,
        method="SLSQP",
        options={"eps": 1e-3, "ftol": 1e-9},  # fused scores are of single precision
    )
    weights = np.clip(found.x, 0, 1)
    return tuple((weights / weights.sum()).tolist())


def _loss(logits: Sequence[Logits], fusion: Fusion, labels: Labels) -> float:
    """The mean cross-entropy of what is fused, after its best temperature."""
    return calibrate([combine(logits, fusion).astype(np.float64)], labels)[1]


def _even(weights: Sequence[float], rule: Rule) -> Fusion:
    return Fusion(rule, tuple(weights), (1.0,) * len(weights))


def _refuse_other(test: Scores, held_out: Scores) -> None:
    """Refuse held-out scores that are not of this network, or of a video that is tested."""
    name = f"{test.source.stream} held-out scores of split {test.source.split}"
    fields = ["dataset", "split", "stream", "flow"]
    if held_out.source.checkpoint:  # or they are of before the fine-tuning
        fields += ["protocol", "checkpoint"]
    for field in fields:
        left, right = getattr(test.source, field), getattr(held_out.source, field)
        if left != right:
            raise InputError(
                f"The {name} differ from the test scores in {field}: {right!r} and {left!r}; "
                "score again."
            )
    if test.classes != held_out.classes:
        raise InputError(f"The {name} have other classes than the test scores; score again.")
    if both := sorted(set(test.video_ids) & set(held_out.video_ids)):
        raise InputError(
            f"The {name} hold {len(both)} test videos, {both[0]!r} first; weights would be chosen "
            "on the test list: score again."
        )
