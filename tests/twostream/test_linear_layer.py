"""Oracle: scikit-learn's pipeline, and layers fitted by hand. Known answers for too few groups."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from twostream.linear_layer import INVERSE_PENALTIES, LinearLayer, Unseen, best_layer, unseen_logits
from twostream.scores import softmax

PENALTY = 0.01
Features = list[NDArray[np.float32]]


def made(videos: int, classes: int, *, clear: float = 1.0) -> tuple[Features, NDArray[np.int64]]:
    """Videos of one to three clips with 7 features, in some of which the class shows."""
    rng = np.random.default_rng(videos)
    labels = np.arange(videos) % classes
    centres = clear * rng.normal(size=(classes, 7))
    features = [
        (3 + centres[label] + rng.normal(size=(1 + i % 3, 7)) * np.arange(1, 8)).astype(np.float32)
        for i, label in enumerate(labels)
    ]
    return features, labels


@pytest.mark.parametrize("penalty", INVERSE_PENALTIES)
@pytest.mark.parametrize("classes", [2, 5])
def test_it_is_logistic_regression_on_standardised_clips(classes: int, penalty: float) -> None:
    features, labels = made(40, classes)
    clips = np.concatenate(features)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=500))
    model.fit(clips, np.repeat(labels, [len(each) for each in features]))
    expected = model.predict_proba(clips)
    got = softmax(LinearLayer.fitted(features, labels, classes, penalty)(clips))
    # Deviations of 1 to 7 are taken 0.001 larger, so that a feature that never varies is 0.
    assert np.abs(got - expected).max() < 1e-3


def test_a_class_without_videos_has_no_chance() -> None:
    """Nor where the features tell the others hardly apart."""
    features, labels = made(40, 3, clear=0.1)
    logits = LinearLayer.fitted(features, labels * 2, 6, PENALTY)(np.concatenate(features))
    chances = softmax(logits)
    assert (chances[:, [1, 3, 5]] < np.exp(-9)).all()
    assert (chances[:, [0, 2, 4]] > 0.1).all()


def test_each_video_is_scored_by_a_layer_of_the_other_groups() -> None:
    features, labels = made(40, 4)
    groups = np.array([f"g{i % 3}" for i in range(40)])
    found = unseen_logits(features, labels, groups, 4, PENALTY)
    assert found is not None
    for group in set(groups):
        others = [i for i in range(40) if groups[i] != group]
        layer = LinearLayer.fitted([features[i] for i in others], labels[others], 4, PENALTY)
        for i in np.flatnonzero(groups == group):
            np.testing.assert_array_equal(found[i], layer(features[i]))


def test_what_tells_groups_alone_tells_nothing_of_another_group() -> None:
    """With groups on both sides nearly all clips would be right."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{i}" for i in range(20)], 5)
    labels = np.repeat(rng.permutation(np.arange(20) % 2), 5)
    centres = np.repeat(rng.normal(size=(20, 50)), 5, axis=0)
    features = list((centres + 0.1 * rng.normal(size=(100, 50))).astype(np.float32)[:, None])
    found = unseen_logits(features, labels, groups, 2, PENALTY)
    assert found is not None
    right = np.mean(np.concatenate(found).argmax(axis=1) == labels)
    assert right < 0.75
    layer = LinearLayer.fitted(features, labels, 2, PENALTY)
    assert np.mean(layer(np.concatenate(features)).argmax(axis=1) == labels) > 0.95


def test_too_few_groups_or_classes_leave_nothing_to_be_scored_by() -> None:
    features, labels = made(20, 2)
    assert unseen_logits(features, labels, np.array(["g"] * 20), 2, PENALTY) is None
    by_class = np.array([f"g{label}" for label in labels])
    assert unseen_logits(features, labels, by_class, 2, PENALTY) is None
    layer, unseen = best_layer(features, labels, by_class, 2)
    assert unseen is None
    np.testing.assert_array_equal(
        layer.weight, LinearLayer.fitted(features, labels, 2, 0.01).weight
    )


@pytest.mark.parametrize(("noise", "best"), [(8.0, 0.001), (0.1, 0.1)])
def test_the_penalty_is_the_one_that_suits_other_groups(noise: float, best: float) -> None:
    """Weak where the features tell all, strong where noise would be learned."""
    rng = np.random.default_rng(1)
    labels, groups = np.arange(120) % 3, np.array([f"g{i // 12}" for i in range(120)])
    features = [
        (np.eye(3, 40)[label] + noise / 8 * rng.normal(size=(2, 40))).astype(np.float32)
        for label in labels
    ]
    layer, unseen = best_layer(features, labels, groups, 3)
    assert unseen is not None
    assert unseen.inverse_penalty == best
    expected = unseen_logits(features, labels, groups, 3, best)
    assert expected is not None
    for got, wanted in zip(unseen.logits, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    same = LinearLayer.fitted(features, labels, 3, best)
    np.testing.assert_array_equal(layer.weight, same.weight)


def test_videos_right_stand_above_the_likelihood() -> None:
    labels = np.array([0, 1])
    sure = [np.array([[9.0, 0.0]]), np.array([[0.1, 0.0]])]
    right = [np.array([[0.1, 0.0]]), np.array([[0.0, 0.1]])]
    surely = [np.array([[9.0, 0.0]]), np.array([[0.0, 9.0]])]
    stands = [Unseen(0.1, logits).standing(labels) for logits in (sure, right, surely)]
    assert stands == sorted(stands)
    assert [right for right, _ in stands] == [0.5, 1.0, 1.0]
    mean = softmax(np.array([[9.0, 0.0], [0.0, 1.0]])).mean(axis=0)
    clips = [np.array([[9.0, 0.0], [0.0, 1.0]])]
    _, likelihood = Unseen(0.1, clips).standing(np.array([0]))
    assert likelihood == pytest.approx(np.log(mean[0]))
