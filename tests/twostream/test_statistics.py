"""Statistics: oracle (scipy), known answers, coverage on simulated groups, and what is refused."""

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from flow.errors import InputError
from twostream.data.annotations import Video
from twostream.scores import Scores, Source
from twostream.statistics import (
    answers,
    bootstrap_accuracy,
    bootstrap_difference,
    compare,
    left_out,
    mcnemar,
    over_splits,
)


def simulated(rng: np.random.Generator, groups: int, each: int = 5) -> tuple[np.ndarray, ...]:
    """Videos of groups that differ: the chance of each group is from Beta(2.4, 0.6), mean 0.8."""
    chances = rng.beta(2.4, 0.6, groups)
    right = rng.random((groups, each)) < chances[:, None]
    return right.ravel(), np.repeat(np.arange(groups), each)


def uneven(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classifiers on 60 videos in groups of 1 to 11."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(12), rng.permutation([1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 6, 11]))
    return rng.random(60) < 0.7, rng.random(60) < 0.6, groups


def ratio(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
    return sums.sum(axis=axis) / counts.sum(axis=axis)


@pytest.mark.parametrize("paired", [False, True])
def test_intervals_are_those_of_scipy_over_groups(paired: bool) -> None:
    first, second, groups = uneven(1)
    values = first.astype(float) - second * paired
    data = np.bincount(groups, values), np.bincount(groups)
    expected = scipy_bootstrap(
        data,
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=100_000,
        confidence_level=1 - 2 * left_out(len(data[1])),
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    got = (
        bootstrap_difference(first, second, groups, resamples=100_000)
        if paired
        else bootstrap_accuracy(first, groups, resamples=100_000)
    )
    # Over 20 seeds the ends lie in a range of 0.004; one video of the 60 is 0.017.
    np.testing.assert_allclose(got, expected, atol=0.005)


def coverage(groups_of: Callable[[np.ndarray], np.ndarray], groups: int) -> float:
    """How often the interval holds the true 0.8, of 400 data sets."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        right, group = simulated(rng, groups)
        low, high = bootstrap_accuracy(right, groups_of(group), resamples=500)
        held.append(low <= 0.8 <= high)
    return float(np.mean(held))


def test_an_interval_by_group_holds_the_truth_and_one_by_video_does_not() -> None:
    by_group = coverage(lambda group: group, groups=40)
    by_video = coverage(lambda group: np.arange(len(group)), groups=40)
    assert 0.92 <= by_group <= 0.98  # 400 data sets: deviation 0.011
    assert by_video < 0.85


@pytest.mark.parametrize(("groups", "least"), [(5, 0.87), (10, 0.915)])
def test_an_interval_of_few_groups_holds_the_truth_nearly_as_often(
    groups: int, least: float
) -> None:
    # 0.893 and 0.935 of 400 data sets; plain percentiles hold it in 0.808 and 0.900.
    assert least <= coverage(lambda group: group, groups) <= 0.98


def test_what_is_left_out_grows_to_the_normal_share() -> None:
    shares = [left_out(groups) for groups in (2, 3, 5, 10, 100, 100_000)]
    assert shares == sorted(shares)
    # Phi(-sqrt(10 / 9) 2.262), by tables
    assert left_out(10) == pytest.approx(0.00855, abs=5e-5)
    assert shares[-1] == pytest.approx(0.025, rel=1e-3)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test_of_scipy(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(values) for values in zip(*pairs, strict=True))
    alone, either = int((first & ~second).sum()), int((first != second).sum())
    expected = binomtest(alone, either).pvalue if either else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_mcnemar_of_10_against_2() -> None:
    first = np.array([True] * 10 + [False] * 2 + [True] * 88)
    # 2 (1 + 12 + 66) / 2**12
    assert mcnemar(first, np.array([False] * 10 + [True] * 90)) == pytest.approx(158 / 4096)


def test_the_order_of_the_videos_changes_nothing_and_names_may_be_any() -> None:
    first, second, groups = uneven(2)
    names = np.array([f"group {number}" for number in groups])
    order = np.random.default_rng(0).permutation(60)
    assert bootstrap_accuracy(first, names) == bootstrap_accuracy(first[order], names[order])
    assert bootstrap_difference(first, second, names) == bootstrap_difference(
        first[order], second[order], names[order]
    )


def test_a_difference_turned_round_has_the_other_sign() -> None:
    first, second, groups = uneven(3)
    low, high = bootstrap_difference(first, second, groups)
    other = bootstrap_difference(second, first, groups)
    np.testing.assert_allclose(other, (-high, -low), atol=1e-12)
    assert bootstrap_difference(first, first, groups) == (0, 0)


def test_where_all_are_right_there_is_no_width() -> None:
    assert bootstrap_accuracy(np.ones(9, bool), np.arange(9)) == (1, 1)


VIDEOS = {name: Video(name, label, name[0]) for name, label in (("a1", 0), ("a2", 1), ("b1", 1))}


def scores(best: dict[str, int]) -> Scores:
    logits = np.eye(2, dtype=np.float32)[list(best.values())]
    source = Source("mine", "groups", "rgb", "p", "c", "s")
    return Scores(tuple(best), ("x", "y"), logits, logits[:, None], source)


def test_scores_are_compared_by_the_names_of_their_videos() -> None:
    first, second = scores({"a1": 0, "a2": 0, "b1": 1}), scores({"b1": 1, "a1": 1, "a2": 0})
    assert answers(first, VIDEOS)[0].tolist() == [True, False, True]
    assert answers(second, VIDEOS)[1].tolist() == ["b", "a", "a"]
    found = compare(first, second, VIDEOS)
    assert found.difference == pytest.approx(1 / 3)
    assert (found.only_first, found.only_second, found.p) == (1, 0, 1.0)
    # Group a (one of two better) twice, or b (no difference) twice, or both.
    assert found.interval == pytest.approx((0, 1 / 2))


def test_scores_of_other_videos_are_refused() -> None:
    with pytest.raises(InputError, match="different videos"):
        compare(scores({"a1": 0, "a2": 0}), scores({"a1": 0, "b1": 0}), VIDEOS)
    with pytest.raises(InputError, match="1 scored videos are not on the list, 'c1' first"):
        answers(scores({"a1": 0, "c1": 0}), VIDEOS)


@pytest.mark.parametrize(
    ("right", "groups", "resamples", "message"),
    [
        ([], [], 10, "give bool"),
        ([0, 1], [0, 1], 10, "give bool"),
        ([[True], [False]], [0, 1], 10, "give bool"),
        ([True, False], [0], 10, "2 answers and 1 groups"),
        ([True, False], [0, 0], 10, "1 groups"),
        ([True, False], [0, 1], 0, "0 resamples"),
    ],
)
def test_what_tells_nothing_is_refused(
    right: list[bool], groups: list[int], resamples: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bootstrap_accuracy(right, groups, resamples)


def test_answers_to_other_lists_are_refused() -> None:
    with pytest.raises(InputError, match="2 and 3 answers"):
        mcnemar([True, False], [True, False, True])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_over_splits_is_the_mean_and_the_sample_deviation_of_the_standard_library(
    values: list[float],
) -> None:
    found = over_splits(values)
    assert found.mean == pytest.approx(statistics.mean(values), abs=1e-12)
    assert found.deviation == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert found.splits == len(values)


def test_over_three_splits() -> None:
    found = over_splits([0.80, 0.82, 0.87])
    # Differences -0.03, -0.01, 0.04; squares 0.0026 in sum, over 3 - 1.
    assert (found.mean, found.deviation) == pytest.approx((0.83, math.sqrt(0.0013)))


def test_one_split_has_no_deviation_and_none_has_no_mean() -> None:
    assert over_splits([0.5]).mean == 0.5
    assert math.isnan(over_splits([0.5]).deviation)
    for values in ([], [0.5, float("nan")], [float("inf")]):
        with pytest.raises(InputError, match="finite number for each"):
            over_splits(values)
