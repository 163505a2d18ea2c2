"""Which frames of a video make a clip: pure functions of numbers.

Convention: a position t stands for frame t (RGB) and for the flow from frame t to frame t + 1. A
video of n frames has n - 1 flows, so both streams count n - 1 positions: with the same draw, a run
of T frames and one of T flows start at the same frame. The last frame only ends the last flow.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError

Short = Literal["repeat", "loop"]


def positions(frames: int) -> int:
    """The number of positions that a video of ``frames`` frames has, the same for RGB and flow."""
    if frames < 2:
        raise InputError(f"A video of {frames} frames has no motion; give at least 2 frames.")
    return frames - 1


def random_run(
    count: int, length: int, rng: np.random.Generator, short: Short = "repeat"
) -> NDArray[np.int64]:
    """One random run of consecutive positions, every start equally likely (training).

    Args:
        count: Positions in the video.
        length: Positions in the run.
        rng: Source of the start.
        short: How a video with fewer positions fills the run: ``"repeat"`` holds its last one,
            ``"loop"`` starts over from its first.

    Returns:
        int64 (length,), from 0 to count - 1.
    """
    _check(count, length, short)
    start = int(rng.integers(max(count - length, 0) + 1))
    return _fill(start + np.arange(length), count, short)


def even_runs(count: int, length: int, clips: int, short: Short = "repeat") -> NDArray[np.int64]:
    """Evenly spread runs of consecutive positions (testing).

    The first run starts at the first position and the last one ends at the last; a single one is
    centred. Starts are rounded so that played backwards the runs are the same, save the middle one
    of an odd number, which may lie half a position off its centre. Runs overlap or coincide where
    the video is short.

    Returns:
        int64 (clips, length), from 0 to count - 1.
    """
    _check(count, length, short)
    if clips < 1:
        raise InputError(f"The number of clips is {clips}; give 1 or more.")
    last = max(count - length, 0)
    half = clips // 2
    # The nearest integers to i * last / (clips - 1), in whole numbers so that nothing depends on
    # floating-point halves.
    early = (2 * np.arange(half) * last + clips - 1) // (2 * max(clips - 1, 1))
    middle = np.full(clips % 2, last // 2)
    starts = np.concatenate([early, middle, (last - early)[::-1]])
    return _fill(starts[:, None] + np.arange(length), count, short)


def _fill(run: NDArray[np.int64], count: int, short: Short) -> NDArray[np.int64]:
    """Positions beyond the end, which only a short video's run has, brought back into it."""
    return np.minimum(run, count - 1) if short == "repeat" else run % count


def _check(count: int, length: int, short: Short) -> None:
    if count < 1:
        raise InputError(f"The video has {count} positions to sample from; give at least 1.")
    if length < 1:
        raise InputError(f"The clip length is {length}; give 1 or more.")
    if short not in get_args(Short):
        raise InputError(f"Filling {short!r} is unknown; give one of {', '.join(get_args(Short))}.")
