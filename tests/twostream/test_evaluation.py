"""Evaluation: known answers, oracles (scikit-learn, plain counting), laws, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    top_k_accuracy_score,
)

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.evaluation import accuracy, evaluate
from twostream.scores import Scores, Source

CLASSES = ("x", "y", "z")
TEST = (Video("v1", 0, "g1"), Video("v2", 1, "g1"), Video("v3", 1, "g2"), Video("v4", 1, "g2"))
ANNOTATIONS = Annotations("mine", "column", CLASSES, (Video("t1", 2, "g9"),), TEST)


def make(ids: tuple[str, ...] = ("v3", "v1", "v4", "v2")) -> Scores:
    """Right for v1, v2 and v3, wrong for v4, which is taken for z."""
    best = {"v1": 0, "v2": 1, "v3": 1, "v4": 2}
    logits = np.zeros((len(ids), 3), np.float32)
    for row, name in enumerate(ids):
        logits[row, best[name]] = 1
    wrong = np.roll(logits, 1, axis=1)
    clips = np.stack([logits, wrong], axis=1)
    return Scores(ids, CLASSES, logits, clips, Source("mine", "column", "rgb", "p", "c", "s"))


def test_known_answer_whatever_the_order() -> None:
    result = evaluate(make(), ANNOTATIONS)
    assert result.video.top1 == pytest.approx(3 / 4)
    assert result.video.mean_class == pytest.approx((1 + 2 / 3) / 2)  # z has no test video
    assert result.video.top5 == 1.0
    assert result.confusion.tolist() == [[1, 0, 0], [0, 2, 1], [0, 0, 0]]
    np.testing.assert_allclose(result.class_accuracy, [1, 2 / 3, np.nan])


def test_clips_are_counted_alone() -> None:
    # Of two clips the second is shifted by a class: wrong wherever the first is right, and for v4
    # (taken for z by the first) it says x.
    assert evaluate(make(), ANNOTATIONS).clip.top1 == pytest.approx(3 / 8)


def test_against_plain_counting() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, 12)).astype(np.float32)
    labels = rng.integers(0, 9, 200)  # three classes never occur
    result = accuracy(labels, logits)
    order = np.argsort(-logits, axis=1)
    right = order[:, 0] == labels
    assert result.top1 == pytest.approx(right.mean())
    assert result.top5 == pytest.approx((order[:, :5] == labels[:, None]).any(axis=1).mean())
    assert result.mean_class == pytest.approx(
        np.mean([right[labels == k].mean() for k in np.unique(labels)])
    )


def test_one_video_of_one_class() -> None:
    result = accuracy(np.array([1]), np.array([[0.0, 1.0]], np.float32))
    assert (result.top1, result.top5, result.mean_class) == (1.0, 1.0, 1.0)


@settings(max_examples=50)
@given(st.integers(0, 2**16), st.integers(1, 30), st.integers(1, 9), st.integers(1, 9))
def test_against_scikit_learn(seed: int, videos: int, classes: int, occurring: int) -> None:
    """One video, one class, classes without videos, fewer than five classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, min(classes, occurring), videos)
    logits = rng.normal(size=(videos, classes)).astype(np.float32)
    result = accuracy(labels, logits)
    assert result.top1 == pytest.approx(accuracy_score(labels, logits.argmax(axis=1)))
    # scikit-learn warns of predicted classes that never occur; counted by hand they are no classes.
    right = logits.argmax(axis=1) == labels
    shares = [right[labels == label].mean() for label in set(labels.tolist())]
    assert result.mean_class == pytest.approx(np.mean(shares))
    if len(set(labels)) > 1 and set(logits.argmax(axis=1)) <= set(labels):
        expected = balanced_accuracy_score(labels, logits.argmax(axis=1))
        assert result.mean_class == pytest.approx(expected)
    if classes > 5:
        expected = top_k_accuracy_score(labels, logits, k=5, labels=range(classes))
        assert result.top5 == pytest.approx(expected)
    else:
        assert result.top5 == 1


@pytest.mark.parametrize(("videos", "classes"), [(1, 1), (7, 1), (1, 6), (40, 6), (3, 20)])
def test_a_whole_evaluation_against_scikit_learn(videos: int, classes: int) -> None:
    rng = np.random.default_rng(videos)
    labels, names = rng.integers(0, classes, videos), tuple(f"class {k}" for k in range(classes))
    listed = tuple(Video(f"v{row}", int(label), "g") for row, label in enumerate(labels))
    clips = rng.normal(size=(videos, 3, classes)).astype(np.float32)
    source = Source("mine", "column", "rgb", "p", "c", "s")
    ids = tuple(video.id for video in listed)
    scores = Scores(ids, names, clips.mean(axis=1), clips, source)
    result = evaluate(scores, Annotations("mine", "column", names, (), listed[::-1]))
    predictions = scores.logits.argmax(axis=1)
    assert result.video.top1 == pytest.approx(accuracy_score(labels, predictions))
    by_clip = accuracy_score(labels.repeat(3), clips.reshape(-1, classes).argmax(axis=1))
    assert result.clip.top1 == pytest.approx(by_clip)
    assert 0 <= result.calibration_error <= 1
    if classes > 1:
        expected = confusion_matrix(labels, predictions, labels=range(classes))
        np.testing.assert_array_equal(result.confusion, expected)
    else:
        assert result.confusion.tolist() == [[videos]]


@given(st.integers(0, 2**16), st.integers(1, 9), st.integers(1, 3))
def test_of_equal_logits_the_first_class_is_best(seed: int, classes: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 20)
    logits = rng.integers(0, levels, (20, classes)).astype(np.float32)
    ranks = [
        sorted(range(classes), key=lambda k: (-row[k], k)).index(label)
        for row, label in zip(logits, labels, strict=True)
    ]
    result = accuracy(labels, logits)
    assert result.top1 == pytest.approx(np.mean([rank == 0 for rank in ranks]))
    assert result.top5 == pytest.approx(np.mean([rank < 5 for rank in ranks]))
    assert result.top1 <= result.top5


def test_the_calibration_error_is_by_video() -> None:
    # At a difference of 1 among three classes the best has e / (e + 2): 3 of 4 are right at that.
    confidence = np.e / (np.e + 2)
    expected = pytest.approx(abs(3 / 4 - confidence), abs=1e-6)
    assert evaluate(make(), ANNOTATIONS).calibration_error == expected


def test_missing_videos_are_refused_unless_allowed() -> None:
    with pytest.raises(InputError, match="1 of 4 test videos are not scored, 'v2' first"):
        evaluate(make(("v3", "v1", "v4")), ANNOTATIONS)
    assert evaluate(make(("v3", "v1", "v4")), ANNOTATIONS, allow_missing=True).video.top1 < 0.7


def test_other_videos_splits_and_classes_are_refused() -> None:
    scores = make()
    with pytest.raises(InputError, match="not on the test list"):
        evaluate(replace(scores, video_ids=("v3", "v1", "v4", "t1")), ANNOTATIONS)
    with pytest.raises(InputError, match="split"):
        evaluate(scores, replace(ANNOTATIONS, split="group:g1"))
    with pytest.raises(InputError, match="differ in their classes"):
        evaluate(replace(scores, classes=("x", "z", "y")), ANNOTATIONS)
