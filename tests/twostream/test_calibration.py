"""Calibration: known answers, oracles (scikit-learn, SciPy, a plain loop), and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from flow.errors import InputError
from twostream.calibration import calibrate, calibration_error, temperature


def test_the_factor_is_found_again() -> None:
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=(20_000, 4))
    chances = softmax(3.0 * decisions, axis=1)
    labels = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    (factor,), loss = calibrate([decisions], labels)
    # Over 30 data sets the deviation is 0.035: four of it.
    assert factor == pytest.approx(3.0, abs=0.14)
    truth = -log_softmax(3.0 * decisions, axis=1)[np.arange(20_000), labels].mean()
    assert loss == pytest.approx(truth, abs=1e-2)


def test_no_other_factor_has_a_smaller_loss() -> None:
    rng = np.random.default_rng(0)
    decisions, labels = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    decisions[np.arange(30), labels] += 1
    targets = np.full((30, 3), 1 / 33)
    targets[np.arange(30), labels] = 31 / 33
    factors = np.geomspace(0.01, 1000, 2000)
    losses = [-(targets * log_softmax(f * decisions, axis=1)).sum() / 30 for f in factors]
    (factor,), loss = calibrate([decisions], labels)
    assert factor == pytest.approx(factors[np.argmin(losses)], rel=0.01)
    assert loss <= min(losses) + 1e-9


def test_where_all_are_right_the_factor_is_finite() -> None:
    decisions = np.where(np.eye(3, dtype=bool)[[0, 1, 2, 0, 1, 2]], 1.0, -1.0)
    (factor,), _ = calibrate([decisions], np.array([0, 1, 2, 0, 1, 2]))
    # softmax (7 / 9 to 1 / 9): a difference of log 7 over one of 2.
    assert factor == pytest.approx(np.log(7) / 2, rel=1e-3)


def test_factors_of_two_streams_are_found_again_and_a_repeated_stream_shares_its_own() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 20_000, 4))
    chances = softmax(3.0 * one + 0.5 * two, axis=1)
    labels = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    factors, _ = calibrate([one, two], labels)
    # Over 30 data sets the deviations are 0.03 and 0.013: four of each.
    assert factors[0] == pytest.approx(3.0, abs=0.12)
    assert factors[1] == pytest.approx(0.5, abs=0.05)
    (alone,), loss = calibrate([one], labels)
    twice, same = calibrate([one, one], labels)
    assert twice.sum() == pytest.approx(alone, rel=1e-4)
    assert same == pytest.approx(loss, rel=1e-9)


def test_the_temperature_is_that_of_scikit_learn_and_scipy() -> None:
    """Without the videos that are added in thought, which are few among 5000."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(5000, 6))
    chances = softmax(logits / 2.5, axis=1)
    labels = (chances.cumsum(axis=1) < rng.random((5000, 1))).sum(axis=1)
    found = minimize_scalar(
        lambda t: log_loss(labels, softmax(logits / t, axis=1), labels=range(6)),
        bounds=(0.1, 20),
        method="bounded",
        options={"xatol": 1e-6},
    )
    # One video of each class in thought among 5000 pulls towards equal chances.
    assert temperature(logits, labels) == pytest.approx(found.x, rel=0.01)
    assert temperature(7 * logits, labels) == pytest.approx(7 * temperature(logits, labels))


def plain_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Equation 3 of Guo et al., bin by bin and video by video."""
    error = 0.0
    for m in range(bins):
        sure, right = [], []
        for row, label in zip(probabilities, labels, strict=True):
            confidence = max(row)
            if m / bins < confidence <= (m + 1) / bins:
                sure.append(confidence)
                right.append(float(list(row).index(confidence) == label))
        if sure:
            gap = abs(sum(right) / len(right) - sum(sure) / len(sure))
            error += gap * len(sure) / len(labels)
    return error


@given(st.integers(0, 2**16), st.integers(1, 40), st.integers(1, 20), st.floats(0.1, 10))
def test_the_calibration_error_is_that_of_a_plain_loop(
    seed: int, videos: int, classes: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    probabilities = softmax(scale * rng.normal(size=(videos, classes)), axis=1)
    labels = rng.integers(0, classes, videos)
    expected = plain_error(probabilities, labels, 15)
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_known_calibration_errors() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration_error(sure, np.array([0, 0])) == 0
    assert calibration_error(sure, np.array([1, 1])) == 1
    # Half of them right at a confidence of 0.8, in one bin: 0.3.
    four = np.tile([0.8, 0.2], (4, 1))
    assert calibration_error(four, np.array([0, 0, 1, 1])) == pytest.approx(0.3)
    # 0.6 right and 0.9 wrong, in two bins: (0.4 + 0.9) / 2.
    two = np.array([[0.6, 0.4], [0.9, 0.1]])
    assert calibration_error(two, np.array([0, 1])) == pytest.approx(0.65)
    # In one bin they make up for each other: 0.5 of them right at 0.75.
    assert calibration_error(two, np.array([0, 1]), bins=1) == pytest.approx(0.25)


def test_a_confidence_between_two_bins_is_in_the_lower_one() -> None:
    edges = np.array([[0.5, 0.3, 0.2], [0.45, 0.35, 0.2]])  # of 2 bins: the lower one, both
    assert calibration_error(edges, np.array([0, 1]), bins=2) == pytest.approx(0.5 - 0.475)


def test_no_video_is_no_calibration() -> None:
    with pytest.raises(InputError, match="no video"):
        calibration_error(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(InputError, match="no held-out video"):
        calibrate([np.zeros((0, 3))], np.zeros(0, int))
