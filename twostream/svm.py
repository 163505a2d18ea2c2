"""The P3D author's SVM protocol: a linear SVM on the pooled features of each video.

Of a video, the features of its clips and of their mirror images are averaged; then signed square
root, L2 norm, and a linear SVM, one class against the rest (Qiu, Yao, Mei, ICCV 2017, section 4.3,
with the author's answers at github.com/ZhaofanQiu/pseudo-3d-residual-networks).

The paper leaves C open, and how streams are joined. Here both come from the training videos alone,
by cross-validation over whole groups of them. It gives each training video the decision values of
an SVM that has seen nothing of its group. For one stream they tell C, and the factor that makes
their softmax a probability (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
section 4.2): no ranking of classes changes, and the values of different folds become comparable.
For several streams they tell the factor of each in the sum, which is smaller where a stream is
seldom right or says again what another one says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.model_selection import GroupKFold
from sklearn.svm import LinearSVC

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.feature_folder import Features
from twostream.fusion import fuse
from twostream.scores import Scores, Source

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

GRID = (0.1, 1.0, 10.0, 100.0)
INNER_FOLDS = 10
FACTORS = (0.01, 1000.0)


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


@dataclass(frozen=True)
class Fold:
    """One stream on one split.

    Attributes:
        scores: Of the test videos; the logits are decision values times the factor.
        choice: What the training videos chose.
        inner: float64 (V, C); the same of the training videos, each by inner folds.
        labels: int64 (V,); of the training videos.
    """

    scores: Scores
    choice: Choice
    inner: Floats
    labels: Labels


def descriptors(values: NDArray[np.float32]) -> Floats:
    """Means over clips, signed square root, L2 norm: (..., N, D) -> float64 (..., D)."""
    mean = values.mean(axis=-2, dtype=np.float64)
    root = np.sign(mean) * np.sqrt(np.abs(mean))
    norm = np.linalg.norm(root, axis=-1, keepdims=True)
    return np.asarray(root / np.where(norm > 0, norm, 1))


def train_and_score(
    features: Features,
    annotations: Annotations,
    grid: Sequence[float] = GRID,
    inner_folds: int = INNER_FOLDS,
) -> Fold:
    """Train on the training videos of a split and score its test videos.

    Args:
        features: Of all videos of the split, and maybe of others.
        annotations: The split.
        grid: Values of C to choose from.
        inner_folds: Of whole groups of the training videos; fewer where there are fewer groups.

    Raises:
        InputError: Training videos of one class or one group alone, a test video that the network
            was trained on, or a C that is none.
    """
    _check(features, annotations, grid, inner_folds)
    row = {video: index for index, video in enumerate(features.video_ids)}
    train, test = (
        features.values[[row[video.id] for video in side]]
        for side in (annotations.train, annotations.test)
    )
    videos, classes = len(test), len(annotations.classes)
    joined = test.reshape(videos, -1, test.shape[-1])
    by_clip = descriptors(test.swapaxes(1, 2))
    inputs = np.concatenate([descriptors(joined), by_clip.reshape(-1, test.shape[-1])])
    known, unknown = _rotated(descriptors(train.reshape(len(train), -1, train.shape[-1])), inputs)
    labels, groups = _labels_and_groups(annotations.train)
    choice, inner = _choose(known, labels, groups, grid, inner_folds, classes, annotations.split)
    decisions = _decisions(known, labels, unknown, choice.c, classes) * choice.factor
    scores = Scores(
        video_ids=tuple(video.id for video in annotations.test),
        classes=annotations.classes,
        logits=decisions[:videos].astype(np.float32),
        clip_logits=decisions[videos:].reshape(videos, -1, classes).astype(np.float32),
        source=_source(features, annotations),
    )
    return Fold(scores, choice, inner * choice.factor, labels)


def fuse_fold(streams: Sequence[Fold]) -> tuple[Scores, tuple[float, ...]]:
    """The sum of the streams' logits, each times a factor that the training videos chose.

    Returns:
        The scores, and the factors.

    Raises:
        InputError: As ``twostream.fusion.fuse``, or streams of other splits.
    """
    first = streams[0]
    fused = fuse([stream.scores for stream in streams])
    for stream in streams:
        same = stream.scores.video_ids == fused.video_ids
        if not same or not np.array_equal(stream.labels, first.labels):
            raise InputError("The streams are not of one split in one order; train them alike.")
    factors, _ = calibrate([stream.inner for stream in streams], first.labels)
    pairs = list(zip(factors.astype(np.float32), streams, strict=True))
    added = replace(
        fused,
        logits=sum(factor * stream.scores.logits for factor, stream in pairs),
        clip_logits=sum(factor * stream.scores.clip_logits for factor, stream in pairs),
    )
    return added, tuple(factors.tolist())


def _check(
    features: Features, annotations: Annotations, grid: Sequence[float], inner_folds: int
) -> None:
    title = f"{annotations.name} split {annotations.split}"
    if not grid or not all(0 < c < np.inf for c in grid):
        raise InputError(f"The values of C are {list(grid)}; give numbers above 0.")
    if inner_folds < 2:
        raise InputError(f"There are {inner_folds} inner folds; give 2 or more.")
    for name in ("label", "group"):
        different = {getattr(video, name) for video in annotations.train}
        if len(different) < 2:
            raise InputError(
                f"The training videos of {title} have {len(different)} {name}s; an SVM needs 2."
            )
    if not annotations.test:
        raise InputError(f"{title} has no test videos; give a split that has some.")
    seen = sorted(set(features.meta.trained_on) & {video.id for video in annotations.test})
    if seen:
        raise InputError(
            f"The {features.meta.stream} features are of a network that was trained on {len(seen)} "
            f"of the test videos of {title}, {seen[0]!r} first; take those of another network."
        )


def _choose(
    x: Floats,
    labels: Labels,
    groups: NDArray[np.str_],
    grid: Sequence[float],
    inner_folds: int,
    classes: int,
    split: str,
) -> tuple[Choice, Floats]:
    """The C with the best probabilities for unseen groups, and its decision values (V, C) there."""
    folds = list(GroupKFold(min(inner_folds, len(set(groups)))).split(x, groups=groups))
    found = []
    for c in sorted(grid):
        decisions = np.empty((len(x), classes))
        for train, test in folds:
            decisions[test] = _decisions(x[train], labels[train], x[test], c, classes)
        factors, loss = calibrate([decisions], labels)
        accuracy = float(np.mean(decisions.argmax(axis=1) == labels))
        found.append((Choice(split, c, float(factors[0]), accuracy, loss), decisions))
    return min(found, key=lambda pair: pair[0].inner_loss)


def calibrate(streams: Sequence[Floats], labels: Labels) -> tuple[Floats, float]:
    """The factors with which the sum of decision values has the most likely softmax, and its loss.

    One video of each class is added in thought to those of each video's own, as by Platt
    ("Probabilistic outputs for support vector machines", 1999, section 2.2): where all are right
    the factors stay finite.

    Args:
        streams: Of each its decision values, float64 (V, C).
        labels: int64 (V,).

    Returns:
        A factor for each stream, from 0.01 to 1000, and the mean cross-entropy in nats.
    """
    stacked = np.stack(streams)
    videos, classes = stacked.shape[1:]
    targets = np.full((videos, classes), 1 / (videos + classes))
    targets[np.arange(videos), labels] = (videos + 1) / (videos + classes)

    def loss(factors: Floats) -> tuple[float, Floats]:
        logs = log_softmax(np.tensordot(factors, stacked, axes=1), axis=1)
        slope = np.tensordot(stacked, np.exp(logs) - targets, axes=2) / videos
        return -float((targets * logs).sum()) / videos, slope

    # The loss is convex in the factors: there is one minimum.
    start, bounds = np.ones(len(stacked)), [FACTORS] * len(stacked)
    best = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", tol=1e-12)
    return np.asarray(best.x), float(best.fun)


def _decisions(x: Floats, labels: Labels, unknown: Floats, c: float, classes: int) -> Floats:
    """Decision values (V, C) of ``unknown`` (V, D) by an SVM trained on ``x``.

    A class without a training video gets the lowest value of the others, less 1.
    """
    present = np.unique(labels)
    decisions = np.full((len(unknown), classes), -np.inf)
    if len(present) == 1:
        decisions[:, present] = 0.0
    else:
        svm = LinearSVC(C=c, max_iter=100_000, random_state=0).fit(x, labels)
        values = svm.decision_function(unknown)
        # Of two classes scikit-learn gives the second one's; the first one's SVM is its mirror.
        decisions[:, present] = np.stack([-values, values], axis=1) if values.ndim == 1 else values
    lowest = decisions[:, present].min(axis=1, keepdims=True) - 1
    filled: Floats = np.maximum(decisions, lowest)
    return filled


def _rotated(known: Floats, unknown: Floats) -> tuple[Floats, Floats]:
    """Both in axes of the space of ``known`` (V, D), of which it has V at most.

    An SVM's weights lie in that space, so that it decides the same, in a fraction of the time.
    """
    if len(known) >= known.shape[1]:
        return known, unknown
    axes = np.linalg.svd(known, full_matrices=False)[2]
    return known @ axes.T, unknown @ axes.T


def _labels_and_groups(videos: Sequence[Video]) -> tuple[Labels, NDArray[np.str_]]:
    labels = np.array([video.label for video in videos], np.int64)
    return labels, np.array([video.group for video in videos])


def _source(features: Features, annotations: Annotations) -> Source:
    meta = features.meta
    return Source(
        dataset=annotations.name,
        split=annotations.split,
        stream=meta.stream,
        protocol=f"linear SVM on {meta.layer} of {meta.clips}",
        checkpoint=meta.weights,
        store=features.store,
    )
