"""Optical flow by each algorithm that a store can hold: TV-L1, and two of OpenCV to compare with.

Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003, doi
10.1007/3-540-45103-X_50, with the parameters of OpenCV's own example. Kroeger, Timofte, Dai, Van
Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, doi 10.1007/978-3-319-46493-0_29,
with OpenCV's preset "medium".
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.meta import Algorithm
from flow.tvl1 import Solver, TVL1Params, tvl1_video

PARAMETERS: dict[str, dict[str, float | int | str]] = {
    "farneback": {
        "pyr_scale": 0.5,
        "levels": 3,
        "winsize": 15,
        "iterations": 3,
        "poly_n": 5,
        "poly_sigma": 1.2,
        "flags": 0,
    },
    "dis": {"preset": "medium"},
}
"""What the algorithms beside TV-L1 are called with."""

SMALLEST_SIDE = 16
"""Pixels that DIS needs; on thinner images OpenCV 5.0 crashes or gives NaN."""

Calc = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]


def video_flow(
    frames: NDArray[np.uint8],
    algorithm: Algorithm = "tvl1",
    params: TVL1Params | None = None,
    solver: Solver = "auto",
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Flow between neighbouring frames, uint8 (T, H, W), in pixels: float32 (T - 1, H, W, 2).

    Args:
        frames: Grey values from 0 to 255.
        algorithm: "tvl1", "farneback" or "dis".
        params: Of TV-L1.
        solver: Of TV-L1.
        threads: Of the TV-L1 solver "cpu".

    Raises:
        InputError: Frames or a solver that the algorithm cannot take.
    """
    if algorithm == "tvl1":
        return tvl1_video(frames, params, solver, threads=threads)
    calc = _farneback() if algorithm == "farneback" else _dis(frames.shape[1:])
    flow = np.empty((max(0, len(frames) - 1), *frames.shape[1:], 2), np.float32)
    for index, field in enumerate(flow):
        field[...] = calc(frames[index], frames[index + 1])
    return flow


def library(algorithm: Algorithm, solver: str) -> str:
    """Name and version of what computes the flow."""
    if algorithm == "tvl1" and solver != "opencv":
        try:
            return f"twostream-flow {version('twostream-flow')}"
        except PackageNotFoundError:  # used from a folder of sources
            return "twostream-flow"
    import cv2

    return f"opencv {cv2.__version__}"


def _farneback() -> Calc:
    import cv2

    return partial(cv2.calcOpticalFlowFarneback, flow=None, **PARAMETERS["farneback"])


def _dis(size: tuple[int, ...]) -> Calc:
    import cv2

    if min(size) < SMALLEST_SIDE:
        raise InputError(
            f"DIS cannot take frames of {size[1]} x {size[0]} pixels; give sides of "
            f"{SMALLEST_SIDE} pixels or more, or another algorithm."
        )
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return partial(solver.calc, flow=None)
