"""What a report tells of each stream and of two of them: accuracies with their intervals."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from twostream.data.annotations import Annotations
from twostream.evaluation import Evaluation, evaluate
from twostream.scores import Scores, softmax
from twostream.statistics import answers, bootstrap_accuracy, bootstrap_difference, mcnemar

Interval = tuple[float, float]


@dataclass(frozen=True)
class Result:
    """The scores of V videos over C classes by one stream, and what the lists say of them.

    Attributes:
        name: Of the stream; of several of one name they are counted: "rgb", "rgb 2".
        scores: Of the videos.
        evaluation: Of these scores, in their order.
        groups: (V,), the source of each video.
        interval: Of 95 % of top-1 by video, over whole groups; None of one group alone.
    """

    name: str
    scores: Scores
    evaluation: Evaluation
    groups: NDArray[np.str_]
    interval: Interval | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool (V,): whether the best class is the video's own."""
        return np.equal(self.evaluation.predictions, self.evaluation.labels)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """float64 (V, C)."""
        return softmax(self.scores.logits)


@dataclass(frozen=True)
class Difference:
    """Top-1 by video of one stream less that of another, on the videos that both have scored.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        videos: That both have scored.
        difference: From -1 to 1.
        interval: Of 95 % over whole groups; None of one group alone.
        only_first: Videos that the one alone has right.
        only_second: Videos that the other alone has right.
        p: Of McNemar's exact test, which takes videos as independent.
    """

    first: str
    second: str
    videos: int
    difference: float
    interval: Interval | None
    only_first: int
    only_second: int
    p: float


def judge(
    scores: Sequence[Scores], annotations: Annotations, allow_missing: bool = False
) -> tuple[Result, ...]:
    """Hold the scores of each stream against the test list.

    Raises:
        InputError: Scores that are not of this list; see `twostream.evaluation.evaluate`.
    """
    videos = {video.id: video for video in annotations.test}
    results = []
    for name, one in zip(_names(scores), scores, strict=True):
        evaluation = evaluate(one, annotations, allow_missing)
        right, groups = answers(one, videos)
        several = len(set(groups.tolist())) > 1
        interval = bootstrap_accuracy(right, groups) if several else None
        results.append(Result(name, one, evaluation, groups, interval))
    return tuple(results)


def differences(results: Sequence[Result]) -> tuple[Difference, ...]:
    """The last stream less each other one."""
    return tuple(_difference(results[-1], other) for other in results[:-1])


def better_stream(results: Sequence[Result]) -> Result | None:
    """Of all but the last the one with the highest top-1 by video; None where there is one."""
    # Of equal ones the first: max keeps it.
    return max(results[:-1], key=lambda each: each.evaluation.video.top1, default=None)


def _names(scores: Sequence[Scores]) -> list[str]:
    names, count = [], Counter[str]()
    for each in scores:
        stream = each.source.stream
        count[stream] += 1
        names.append(stream if count[stream] == 1 else f"{stream} {count[stream]}")
    return names


def _difference(first: Result, second: Result) -> Difference:
    place = {video: row for row, video in enumerate(second.scores.video_ids)}
    rows = [row for row, video in enumerate(first.scores.video_ids) if video in place]
    if not rows:
        raise InputError(
            f"{first.name} and {second.name} have scored no video in common; "
            "evaluate scores of one list."
        )
    others = [place[first.scores.video_ids[row]] for row in rows]
    one, two, groups = first.right[rows], second.right[others], first.groups[rows]
    several = len(set(groups.tolist())) > 1
    return Difference(
        first.name,
        second.name,
        len(rows),
        float(one.mean() - two.mean()),
        bootstrap_difference(one, two, groups) if several else None,
        int((one & ~two).sum()),
        int((two & ~one).sum()),
        mcnemar(one, two),
    )
