"""The videos that were taken for a wrong class with the highest confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twostream.report.results import Result

MOST_WORST = 12
BEST = 5


@dataclass(frozen=True)
class Guess:
    """A class with its probability, 0 to 1; ``true`` where it is the video's own."""

    name: str
    probability: float
    true: bool


@dataclass(frozen=True)
class Worst:
    """A video that the last stream is sure of, and wrong.

    Attributes:
        video: Its id.
        true: Its class.
        taken_for: The class that the last stream takes it for.
        confidence: Probability of that class, 0 to 1.
        of_true: Probability of its own class.
        guesses: Of each stream by its name the five most probable classes, the best first; none
            where the stream has not scored the video.
    """

    video: str
    true: str
    taken_for: str
    confidence: float
    of_true: float
    guesses: dict[str, tuple[Guess, ...]]


def worst_videos(results: Sequence[Result], most: int = MOST_WORST) -> tuple[Worst, ...]:
    """Wrong videos of the last stream, the surest first; of equals in the order of the scores."""
    last = results[-1]
    confidence = last.probabilities.max(axis=1)
    wrong = np.flatnonzero(~last.right)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return tuple(_worst(results, int(row)) for row in surest)


def _worst(results: Sequence[Result], row: int) -> Worst:
    last = results[-1]
    classes, video = last.scores.classes, last.scores.video_ids[row]
    label, taken = int(last.evaluation.labels[row]), int(last.evaluation.predictions[row])
    probabilities = last.probabilities[row]
    return Worst(
        video,
        classes[label],
        classes[taken],
        float(probabilities[taken]),
        float(probabilities[label]),
        {result.name: _guesses(result, video, label) for result in results},
    )


def _guesses(result: Result, video: str, label: int) -> tuple[Guess, ...]:
    if video not in result.scores.video_ids:
        return ()
    probabilities = result.probabilities[result.scores.video_ids.index(video)]
    best = np.argsort(-probabilities, kind="stable")[:BEST]
    return tuple(
        Guess(result.scores.classes[k], float(probabilities[k]), bool(k == label)) for k in best
    )
