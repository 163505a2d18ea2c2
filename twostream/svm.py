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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from twostream.calibration import Floats, Labels
from twostream.data.annotations import Annotations, Video
from twostream.feature_folder import Features
from twostream.fusion import fuse
from twostream.fusion_choice import choose_likely
from twostream.linear_svm import (
    GRID,
    INNER_FOLDS,
    Choice,
    choose,
    decisions,
    refuse_unlearnable,
)
from twostream.scores import Scores, Source


@dataclass(frozen=True)
class Fold:
    """One stream on one split.

    Attributes:
        scores: Of the test videos; the logits are decision values times the factor.
        held_out: The same of the training videos, each by inner folds.
        choice: What the training videos chose.
        labels: int64 (V,); of the training videos.
    """

    scores: Scores
    held_out: Scores
    choice: Choice
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
    labels, groups = _labels_and_groups(annotations.train)
    _check(features, annotations)
    title = f"{annotations.name} split {annotations.split}"
    refuse_unlearnable(labels, groups, grid, inner_folds, title)
    train, train_clips = _inputs(features, annotations.train)
    test, test_clips = _inputs(features, annotations.test)
    train, train_clips, test, test_clips = _rotated(train, train_clips, test, test_clips)
    classes = len(annotations.classes)
    choice, inner, inner_clips = choose(
        train, train_clips, labels, groups, grid, inner_folds, classes, annotations.split
    )
    unknown = np.concatenate([test, test_clips.reshape(-1, test.shape[1])])
    found = decisions(train, labels, unknown, choice.c, classes)

    def as_scores(listed: Sequence[Video], by_video: Floats, by_clip: Floats) -> Scores:
        return Scores(
            video_ids=tuple(video.id for video in listed),
            classes=annotations.classes,
            logits=(choice.factor * by_video).astype(np.float32),
            clip_logits=(choice.factor * by_clip).astype(np.float32),
            source=_source(features, annotations),
        )

    by_clip = found[len(test) :].reshape(len(test), -1, classes)
    return Fold(
        as_scores(annotations.test, found[: len(test)], by_clip),
        as_scores(annotations.train, inner, inner_clips),
        choice,
        labels,
    )


def fuse_fold(streams: Sequence[Fold]) -> tuple[Scores, tuple[float, ...]]:
    """The sum of the streams' logits, each times a factor that the training videos chose.

    Returns:
        The scores, and the factors.

    Raises:
        InputError: As ``twostream.fusion.fuse``, or streams of other training videos.
    """
    known = [dict(zip(each.held_out.video_ids, each.labels, strict=True)) for each in streams]
    if any(labels != known[0] for labels in known):
        raise InputError("The streams have not been trained on the same videos; train them alike.")
    fusion = choose_likely([stream.held_out for stream in streams], streams[0].labels)
    scores = [stream.scores for stream in streams]
    fused = fuse(scores, fusion.weights, fusion.rule, fusion.temperatures)
    return fused, tuple(w / t for w, t in zip(fusion.weights, fusion.temperatures, strict=True))


def _check(features: Features, annotations: Annotations) -> None:
    title = f"{annotations.name} split {annotations.split}"
    if not annotations.test:
        raise InputError(f"{title} has no test videos; give a split that has some.")
    seen = sorted(set(features.meta.trained_on) & {video.id for video in annotations.test})
    if seen:
        raise InputError(
            f"The {features.meta.stream} features are of a network that was trained on {len(seen)} "
            f"of the test videos of {title}, {seen[0]!r} first; take those of another network."
        )


def _inputs(features: Features, listed: Sequence[Video]) -> tuple[Floats, Floats]:
    """What the SVM takes of videos (V, D) and of their clips (V, N, D)."""
    row = {video: index for index, video in enumerate(features.video_ids)}
    values = features.values[[row[video.id] for video in listed]]
    joined = values.reshape(len(values), -1, values.shape[-1])
    return descriptors(joined), descriptors(values.swapaxes(1, 2))


def _rotated(known: Floats, *others: Floats) -> tuple[Floats, ...]:
    """All in axes of the space of ``known`` (V, D), of which it has V at most.

    An SVM's weights lie in that space, so that it decides the same, in a fraction of the time.
    """
    if len(known) >= known.shape[1]:
        return known, *others
    axes = np.linalg.svd(known, full_matrices=False)[2]
    return tuple(each @ axes.T for each in (known, *others))


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
        flow=meta.flow,
    )
