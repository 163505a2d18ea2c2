"""Oracle, properties, known answers: the bootstrap of means and the sign-flip test."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from flow.errors import InputError
from twostream.statistics import (
    EXACT_GROUPS,
    bootstrap_accuracy,
    bootstrap_difference,
    bootstrap_mean,
    sign_flip,
)


def by_scipy(sums: np.ndarray) -> float:
    found = permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    return float(found.pvalue)


@pytest.mark.parametrize("seed", range(5))
def test_scipy_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums = rng.normal(0.3, 1, 9)
    assert sign_flip(sums, np.arange(9)) == pytest.approx(by_scipy(sums), abs=1e-12)


def test_videos_of_a_group_count_as_one() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(0.2, 1, 40), np.repeat(np.arange(8), 5)
    sums = values.reshape(8, 5).sum(axis=1)
    assert sign_flip(values, groups) == sign_flip(sums, np.arange(8))
    order = rng.permutation(40)
    assert sign_flip(values[order], groups[order]) == sign_flip(values, groups)


def test_random_signs_come_near_the_exact_ones() -> None:
    rng = np.random.default_rng(1)
    sums = rng.normal(0.4, 1, EXACT_GROUPS + 2)
    assert sign_flip(sums, np.arange(len(sums))) == pytest.approx(by_scipy(sums), abs=0.015)


def test_known_answers() -> None:
    groups = np.arange(5)
    assert sign_flip(np.ones(5), groups) == 2 / 32
    assert sign_flip(np.zeros(5), groups) == 1
    assert sign_flip([1, -1, 0, 0, 0], groups) == 1
    assert sign_flip(-np.ones(5), groups) == 2 / 32
    assert 0 < sign_flip(np.ones(60), np.arange(60)) < 0.001


def test_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(2)
    ps = [sign_flip(rng.normal(size=10), np.arange(10)) for _ in range(400)]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.085  # 0.05 expected, deviation 0.011


def test_bootstrap_of_truths_is_that_of_the_accuracy() -> None:
    rng = np.random.default_rng(3)
    right, other = rng.random((2, 60)) < 0.7
    groups = rng.integers(0, 9, 60)
    assert bootstrap_mean(right.astype(float), groups) == bootstrap_accuracy(right, groups)
    gain = right.astype(float) - other.astype(float)
    assert bootstrap_mean(gain, groups) == bootstrap_difference(right, other, groups)


@pytest.mark.parametrize("values", [[], [[1.0]], [float("nan")], [float("inf")]])
def test_refusals(values: list[float]) -> None:
    for test in (sign_flip, bootstrap_mean):
        with pytest.raises(InputError, match="give finite ones"):
            test(values, ["a"])
    with pytest.raises(InputError, match="groups"):
        sign_flip([1.0, 2.0], ["a"])
