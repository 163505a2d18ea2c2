"""Which frames: known answers, and properties (hypothesis) of random and of even runs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import InputError
from twostream.data.sampling import even_runs, positions, random_run

COUNT = st.integers(1, 400)
LENGTH = st.integers(1, 70)
CLIPS = st.integers(1, 30)
SHORT = st.sampled_from(["repeat", "loop"])


def test_a_video_has_as_many_positions_as_flows():
    assert [positions(frames) for frames in (2, 3, 100)] == [1, 2, 99]
    with pytest.raises(InputError, match="1 frames has no motion"):
        positions(1)


@settings(derandomize=True, deadline=None)
@given(COUNT, LENGTH, st.integers(0, 2**32), SHORT)
def test_a_random_run_is_consecutive_and_in_range(count, length, seed, short):
    run = random_run(count, length, np.random.default_rng(seed), short)
    assert run.shape == (length,)
    assert run.min() >= 0
    assert run.max() <= count - 1
    if count >= length:
        np.testing.assert_array_equal(np.diff(run), 1)


def test_random_runs_take_every_start_equally_often():
    rng = np.random.default_rng(1)
    starts = np.array([random_run(12, 3, rng)[0] for _ in range(10_000)])
    share = np.bincount(starts, minlength=10) / len(starts)
    assert len(share) == 10
    # Five standard deviations of a share of 0.1 in 10,000 draws.
    np.testing.assert_allclose(share, 0.1, atol=5 * np.sqrt(0.1 * 0.9 / 10_000))


def test_short_videos_fill_the_run():
    rng = np.random.default_rng(0)
    assert random_run(3, 7, rng).tolist() == [0, 1, 2, 2, 2, 2, 2]
    assert random_run(3, 7, rng, "loop").tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert even_runs(3, 5, 2).tolist() == [[0, 1, 2, 2, 2]] * 2
    assert even_runs(3, 5, 2, "loop").tolist() == [[0, 1, 2, 0, 1]] * 2


def test_even_runs_known_starts():
    assert even_runs(100, 16, 1)[:, 0].tolist() == [42]
    assert even_runs(100, 16, 2)[:, 0].tolist() == [0, 84]
    assert even_runs(100, 16, 4)[:, 0].tolist() == [0, 28, 56, 84]
    assert even_runs(19, 16, 3)[:, 0].tolist() == [0, 1, 3]
    assert even_runs(16, 16, 3)[:, 0].tolist() == [0, 0, 0]


@settings(derandomize=True, deadline=None)
@given(COUNT, LENGTH, CLIPS)
def test_even_runs_spread_from_the_first_position_to_the_last(count, length, clips):
    runs = even_runs(count, length, clips)
    assert runs.shape == (clips, length)
    assert runs.min() >= 0
    assert runs.max() <= count - 1
    if count >= length:
        np.testing.assert_array_equal(np.diff(runs, axis=1), 1)
    if clips > 1:
        assert runs[0, 0] == 0
        assert runs[-1, -1] == count - 1 or length < count
        assert runs[-1].max() == count - 1
        # Start i is within a half of i (count - length) / (clips - 1), in whole numbers.
        off = runs[:, 0] * (clips - 1) - np.arange(clips) * max(count - length, 0)
        assert np.abs(2 * off).max() <= clips - 1
    elif count >= length:
        assert runs[0, 0] == (count - length) // 2


@settings(derandomize=True, deadline=None)
@given(COUNT, LENGTH, CLIPS)
def test_even_runs_cover_every_position_where_they_can(count, length, clips):
    covered = np.unique(even_runs(count, length, clips))
    # Neighbouring starts lie at most ceil((count - length) / (clips - 1)) apart.
    if clips > 1 and -(-(count - length) // (clips - 1)) <= length:
        assert len(covered) == count


@settings(derandomize=True, deadline=None)
@given(COUNT, LENGTH, CLIPS)
def test_even_runs_are_their_own_mirror_in_time(count, length, clips):
    if count < length:
        return
    starts = even_runs(count, length, clips)[:, 0]
    backwards = (count - length) - starts[::-1]
    odd = np.arange(clips) * 2 == clips - 1
    np.testing.assert_array_equal(starts[~odd], backwards[~odd])
    assert np.all(np.abs(starts[odd] - backwards[odd]) <= 1)
    np.testing.assert_array_equal(np.sort(starts), starts)


@pytest.mark.parametrize(
    ("count", "length", "clips", "short", "reason"),
    [
        (0, 16, 1, "repeat", "0 positions"),
        (9, 0, 1, "repeat", "clip length is 0"),
        (9, 16, 0, "repeat", "number of clips is 0"),
        (9, 16, 1, "mirror", "'mirror' is unknown"),
    ],
)
def test_numbers_that_make_no_sense(count, length, clips, short, reason):
    with pytest.raises(InputError, match=reason):
        even_runs(count, length, clips, short)
    if clips:
        with pytest.raises(InputError, match=reason):
            random_run(count, length, np.random.default_rng(0), short)


@pytest.mark.parametrize("module", ["sampling", "annotations"])
def test_importing_loads_neither_opencv_nor_torch(module):
    code = (
        f"import sys, twostream.data.{module}; "
        "print([name for name in ('cv2', 'torch', 'sklearn') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "[]", out.stderr
