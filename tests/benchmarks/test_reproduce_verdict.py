"""When a number counts as reproduced. Properties; known answers at the edge of the tolerance."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reproduce_verdict import NOT_REPRODUCED, NOTHING, REPRODUCED, Measured, verdict

from flow.errors import InputError

numbers = st.floats(-1e6, 1e6)
distances = st.floats(0, 1e3)


@given(numbers, distances, numbers, st.tuples(distances, distances))
def test_an_interval_over_videos_decides_nothing(
    published: float, tolerance: float, value: float, width: tuple[float, float]
) -> None:
    alone = verdict(published, tolerance, Measured(value))
    assert alone in (REPRODUCED, NOT_REPRODUCED)
    assert (
        verdict(published, tolerance, Measured(value, (value - width[0], value + width[1])))
        == alone
    )


@given(numbers, distances, numbers, distances)
def test_a_larger_tolerance_never_loses_a_number(
    published: float, tolerance: float, value: float, more: float
) -> None:
    if verdict(published, tolerance, Measured(value)) == REPRODUCED:
        assert verdict(published, tolerance + more, Measured(value)) == REPRODUCED


@given(numbers, st.floats(1e-3, 1e3), st.floats(0, 0.99), st.floats(1.01, 10))
def test_within_is_reproduced_and_beyond_is_not(
    published: float, tolerance: float, inside: float, outside: float
) -> None:
    for sign in (-1, 1):
        near, far = (published + sign * part * tolerance for part in (inside, outside))
        assert verdict(published, tolerance, Measured(near)) == REPRODUCED
        if abs(far - published) > tolerance + 2e-9 * max(1.0, abs(published)):
            assert verdict(published, tolerance, Measured(far)) == NOT_REPRODUCED


@given(st.floats(0.1, 10), st.floats(0.01, 1), st.lists(st.floats(0, 20), min_size=3, max_size=3))
def test_a_noisy_number_is_told_by_its_whole_interval(
    published: float, tolerance: float, values: list[float]
) -> None:
    low, value, high = sorted(values)
    said = verdict(published, tolerance, Measured(value, (low, high), noisy=True))
    ends = {verdict(published, tolerance, Measured(end)) for end in (low, high)}
    if said == REPRODUCED:
        assert ends == {REPRODUCED}
    elif said == NOT_REPRODUCED:
        assert ends == {NOT_REPRODUCED}
        assert high < published or low > published
    else:
        assert said.startswith("undecided")
        assert low <= published + 1.001 * tolerance
        assert high >= published - 1.001 * tolerance


@pytest.mark.parametrize(
    ("value", "said"),
    [(84.2, REPRODUCED), (83.1, REPRODUCED), (83.0999, NOT_REPRODUCED), (85.31, NOT_REPRODUCED)],
)
def test_the_edge_belongs_to_the_tolerance(value: float, said: str) -> None:
    assert verdict(84.2, 1.1, Measured(value)) == said


def test_counts_must_be_equal() -> None:
    assert verdict(66_492_240, 0, Measured(66_492_240)) == REPRODUCED
    assert verdict(66_492_240, 0, Measured(66_492_241)) == NOT_REPRODUCED


def test_without_a_published_number_there_is_no_verdict() -> None:
    assert verdict(None, None, Measured(50.0)) == NOTHING


@pytest.mark.parametrize(
    ("value", "interval"), [(math.nan, None), (1.0, (2.0, 1.0)), (1.0, (0.0, math.inf))]
)
def test_no_measurement(value: float, interval: tuple[float, float] | None) -> None:
    with pytest.raises(InputError, match="is no measurement"):
        Measured(value, interval)
