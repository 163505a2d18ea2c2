"""Evaluation: known answer, oracle (plain NumPy counting), and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

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
