"""The TV-L1 solver on the processor: the scheme of ``reference.py`` in C++, a pair a thread.

Every processor of x86-64 since 2009 runs it; one source is compiled for the levels v2 (SSE), v3
(AVX2) and v4 (AVX-512) of the architecture, and the best that the machine has is taken. The same
machine gives the same bits for any number of threads and any batch. Another level rounds
otherwise (vectors of another length, fused products), within the solver's numerical noise.

Memory: about 76 bytes a pixel and thread at five scales of 0.8 (40 for u, p and the warped images,
20 for two pyramids, 12 for the second image with its gradient, 4 for the median), and a margin of
about 64 bytes a row of each; beside them the result, 8 bytes a pixel and pair.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.processors import usable_processors
from flow.tvl1 import TVL1Params
from flow.tvl1.checks import as_c_int, check_pairs

try:
    from flow.tvl1 import _cpu
except ImportError as error:
    raise InputError(
        "The native TV-L1 solver is not built here; install the package with a C++ compiler at "
        "hand, or give another solver."
    ) from error

Image = TypeVar("Image", np.uint8, np.float32)


def solve(
    previous: NDArray[Image],
    following: NDArray[Image],
    params: TVL1Params,
    initial: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Flow of each pair of images.

    Args:
        previous: uint8 or float32 (N, H, W), grey values from 0 to 255.
        following: The same.
        params: The scheme and its parameters.
        initial: Flow to start from, float32 (N, H, W, 2), pixels; zero where not given.
        threads: How many pairs at a time; as many as the process may use processors if not given.

    Returns:
        float32 (N, H, W, 2), pixels: channel 0 to the right, channel 1 downwards.

    Raises:
        InputError: Arrays that do not fit together, or fewer than one thread.
        KeyboardInterrupt: Ctrl-C ends the work within a fraction of a second.
    """
    flow, _ = _solve(previous, following, params, initial, threads)
    return flow


def solve_video(
    frames: NDArray[Image], params: TVL1Params, threads: int | None = None
) -> NDArray[np.float32]:
    """Flow between neighbouring frames: uint8 or float32 (T, H, W) to float32 (T - 1, H, W, 2).

    The same bits as ``solve(frames[:-1], frames[1:], ...)``, with one pyramid a frame, not two.
    """
    flow, _ = _solve(frames[:-1], frames[1:], params, None, threads)
    return flow


def profile_video(
    frames: NDArray[Image], params: TVL1Params, threads: int | None = None
) -> "_cpu.Statistics":
    """Where the time of ``solve_video`` goes: seconds of each part, summed over the threads.

    With them ``pixel_iterations``, ``pixel_warps`` and ``pixel_medians``: how often a pixel of
    some level went through an iteration, a warp, and a median of both components.
    """
    _, statistics = _solve(frames[:-1], frames[1:], params, None, threads)
    return statistics


def _solve(
    previous: NDArray[Image],
    following: NDArray[Image],
    params: TVL1Params,
    initial: NDArray[np.float32] | None,
    threads: int | None,
    target: str | None = None,
) -> tuple[NDArray[np.float32], "_cpu.Statistics"]:
    check_pairs(previous, following, initial)
    if threads is not None and threads < 1:
        raise InputError(f"The number of threads is {threads}; give 1 or more.")
    flow = np.empty((*previous.shape, 2), np.float32)
    statistics = _cpu.solve(
        # Slices of one array stay views of it: the solver sees that they share images.
        np.ascontiguousarray(previous),
        np.ascontiguousarray(following),
        None if initial is None else np.ascontiguousarray(initial),
        flow,
        tau=float(params.tau),
        lambda_=float(params.lambda_),
        theta=float(params.theta),
        scale_step=float(params.scale_step),
        epsilon=float(params.epsilon),
        scales=as_c_int(params.scales),
        warps=as_c_int(params.warps),
        inner_iterations=as_c_int(params.inner_iterations),
        outer_iterations=as_c_int(params.outer_iterations),
        median=int(params.median),
        opencv_cuda=params.sampling == "opencv_cuda",
        threads=as_c_int(threads or usable_processors()),
        target=target or _cpu.targets()[0],
    )
    return flow, statistics
