"""A linear SVM, one class against the rest, whose C comes from folds of whole groups."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from sklearn.svm import LinearSVC

from flow.errors import InputError
from twostream.calibration import Floats, Labels, calibrate

GRID = (0.1, 1.0, 10.0, 100.0)
INNER_FOLDS = 10


@dataclass(frozen=True)
class Choice:
    """What the training videos chose.

    Attributes:
        split: Of the annotations.
        c: The penalty C of the SVM.
        factor: Of the decision values.
        inner_accuracy: Share of the training videos that are right in the inner folds, 0 to 1.
        inner_loss: Their mean cross-entropy, in nats; the C with the least is taken.
    """

    split: str
    c: float
    factor: float
    inner_accuracy: float
    inner_loss: float


def choose(
    x: Floats,
    clips: Floats,
    labels: Labels,
    groups: NDArray[np.str_],
    grid: Sequence[float],
    inner_folds: int,
    classes: int,
    split: str,
) -> tuple[Choice, Floats, Floats]:
    """The C with the best probabilities for unseen groups, and what it says of each there.

    Args:
        x: Inputs of the videos, float64 (V, D).
        clips: Of their clips, (V, N, D), which have no part in the choice.
        labels: int64 (V,).
        groups: Of the videos, (V,).
        grid: Values of C.
        inner_folds: Of whole groups; fewer where there are fewer groups.
        classes: How many there are.
        split: The name of the split.

    Returns:
        The choice, and the decision values (V, C) and (V, N, C), each by an SVM that has seen
        nothing of the video's group; without the choice's factor.
    """
    folds = list(GroupKFold(min(inner_folds, len(set(groups)))).split(x, groups=groups))
    found = []
    for c in sorted(grid):
        by_video = np.empty((len(x), classes))
        by_clip = np.empty((*clips.shape[:2], classes))
        for train, test in folds:
            inputs = np.concatenate([x[test], clips[test].reshape(-1, x.shape[1])])
            values = decisions(x[train], labels[train], inputs, c, classes)
            by_video[test] = values[: len(test)]
            by_clip[test] = values[len(test) :].reshape(len(test), -1, classes)
        factors, loss = calibrate([by_video], labels)
        accuracy = float(np.mean(by_video.argmax(axis=1) == labels))
        found.append((Choice(split, c, float(factors[0]), accuracy, loss), by_video, by_clip))
    return min(found, key=lambda each: each[0].inner_loss)


def decisions(x: Floats, labels: Labels, unknown: Floats, c: float, classes: int) -> Floats:
    """Decision values (V, C) of ``unknown`` (V, D) by an SVM trained on ``x``.

    A class without a training video gets the lowest value of the others, less 1.
    """
    present = np.unique(labels)
    found = np.full((len(unknown), classes), -np.inf)
    if len(present) == 1:
        found[:, present] = 0.0
    else:
        with warnings.catch_warnings():
            # Few videos a class are no sign of a regression.
            warnings.filterwarnings("ignore", message="The number of unique classes")
            svm = LinearSVC(C=c, max_iter=100_000, random_state=0).fit(x, labels)
        values = svm.decision_function(unknown)
        # Of two classes scikit-learn gives the second one's; the first one's SVM is its mirror.
        found[:, present] = np.stack([-values, values], axis=1) if values.ndim == 1 else values
    lowest = found[:, present].min(axis=1, keepdims=True) - 1
    filled: Floats = np.maximum(found, lowest)
    return filled


def refuse_unlearnable(
    labels: Labels,
    groups: NDArray[np.str_],
    grid: Sequence[float],
    inner_folds: int,
    title: str,
) -> None:
    """InputError where there is no SVM, or no C, to be found."""
    if not grid or not all(0 < c < np.inf for c in grid):
        raise InputError(f"The values of C are {list(grid)}; give numbers above 0.")
    if inner_folds < 2:
        raise InputError(f"There are {inner_folds} inner folds; give 2 or more.")
    for name, values in (("label", set(labels.tolist())), ("group", set(groups.tolist()))):
        if len(values) < 2:
            raise InputError(
                f"The training videos of {title} have {len(values)} {name}s; an SVM needs 2."
            )
