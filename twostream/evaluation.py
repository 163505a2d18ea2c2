"""Accuracies of scores against annotations, by video and by clip, always named so."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, recall_score

from flow.errors import InputError
from twostream.calibration import calibration_error
from twostream.data.annotations import Annotations
from twostream.scores import Scores, softmax

TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """Shares from 0 to 1: the best class is right, it is among the best five, mean over classes."""

    top1: float
    top5: float
    mean_class: float


@dataclass(frozen=True)
class Evaluation:
    """What scores of V videos over C classes are worth.

    Attributes:
        stream: "rgb", "flow", "rgb+flow".
        classes: C names.
        video_ids: V names.
        labels: int (V,), the true class of each video.
        predictions: int (V,), the best class of each video.
        video: Accuracy by video.
        clip: Accuracy by clip, each clip counted alone with its video's label.
        confusion: int (C, C), videos of the row's class that were taken for the column's.
        calibration_error: ECE by video, 0 to 1, over 15 equal bins of confidence.
    """

    stream: str
    classes: tuple[str, ...]
    video_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    video: Accuracy
    clip: Accuracy
    confusion: NDArray[np.int64]
    calibration_error: float

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """float (C,): the share of each class's videos that were recognised; NaN without any."""
        count = self.confusion.sum(axis=1)
        right = np.diag(self.confusion)
        return np.where(count > 0, right / np.maximum(count, 1), np.nan)


def evaluate(scores: Scores, annotations: Annotations, allow_missing: bool = False) -> Evaluation:
    """Compare scores with the labels of the annotations' test list.

    Raises:
        InputError: Scores of another data set, split or class list, of a video that is not on the
            test list, or (unless ``allow_missing``) not of all videos on it.
    """
    label = _labels(scores, annotations, allow_missing)
    labels = np.array([label[video_id] for video_id in scores.video_ids], np.int64)
    clips = scores.clip_logits.shape[1]
    predictions = scores.logits.argmax(axis=1)
    return Evaluation(
        scores.source.stream,
        scores.classes,
        scores.video_ids,
        labels,
        predictions,
        accuracy(labels, scores.logits),
        accuracy(np.repeat(labels, clips), scores.clip_logits.reshape(-1, len(scores.classes))),
        _confusion(labels, predictions, len(scores.classes)),
        calibration_error(softmax(scores.logits), labels),
    )


def accuracy(labels: NDArray[np.int64], logits: NDArray[np.float32]) -> Accuracy:
    """Accuracy of ``logits`` (N, C) against ``labels`` (N,).

    Mean-class is over the classes that occur; among five classes or fewer, top-5 is 1. Of classes
    with equal logits the first is the better one.
    """
    # scikit-learn's top_k_accuracy_score prefers the last: top-5 could be below top-1.
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    top5 = np.mean((best == labels[:, None]).any(axis=1))
    predictions = best[:, 0]
    mean_class = recall_score(
        labels, predictions, labels=np.unique(labels), average="macro", zero_division=0
    )
    return Accuracy(float(accuracy_score(labels, predictions)), float(top5), float(mean_class))


def _confusion(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """As scikit-learn's confusion_matrix, which warns where there is one class."""
    counts = np.bincount(labels * classes + predictions, minlength=classes**2)
    return counts.reshape(classes, classes)


def _labels(scores: Scores, annotations: Annotations, allow_missing: bool) -> dict[str, int]:
    source = scores.source
    if (source.dataset, source.split) != (annotations.name, annotations.split):
        raise InputError(
            f"The scores are of {source.dataset}, split {source.split}, the annotations of "
            f"{annotations.name}, split {annotations.split}; give the lists that were scored."
        )
    if scores.classes != annotations.classes:
        raise InputError("The scores and the annotations differ in their classes; score again.")
    if not scores.video_ids:
        raise InputError(f"The {scores.source.stream} scores hold no video; score again.")
    label = {video.id: video.label for video in annotations.test}
    unknown = [video_id for video_id in scores.video_ids if video_id not in label]
    if unknown:
        raise InputError(
            f"{len(unknown)} scored videos are not on the test list, {unknown[0]!r} first; "
            "give the lists that they were scored with."
        )
    missing = sorted(set(label) - set(scores.video_ids))
    if missing and not allow_missing:
        raise InputError(
            f"{len(missing)} of {len(label)} test videos are not scored, {missing[0]!r} first; "
            "score them, or pass --allow-missing."
        )
    return label
