"""TV-L1 optical flow (Zach, Pock, Bischof 2007): parameters, and the choice of a solver.

Convention: a flow field is float32 (H, W, 2); channel 0 is the motion to the right and channel 1
the motion downwards, in pixels, so that ``previous[y, x]`` matches
``following[y + flow[y, x, 1], x + flow[y, x, 0]]``.
"""

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError

Sampling = Literal["opencv", "opencv_cuda"]
Solver = Literal["auto", "reference", "opencv", "cpu", "cuda"]


@dataclass(frozen=True)
class TVL1Params:
    """Parameters of the TV-L1 scheme; the defaults are those of OpenCV's CPU solver.

    The term ``gamma`` of OpenCV (an illumination field) is left out: it is 0 by default there, and
    no published two-stream work uses it.

    Attributes:
        tau: Time step of the dual ascent (Zach et al., section 2.3; stable up to 0.25).
        lambda_: Weight of the data term against the smoothness term; larger is less smooth.
        theta: Coupling between the flow and its auxiliary field, "tightness".
        scales: Pyramid levels at most; none with a side below 16 pixels is added.
        scale_step: Size of each level over the one before, between 0 and 1.
        warps: Linearisations of the second image per level.
        epsilon: Stop a warp's iterations when the mean squared update is at most its square.
        inner_iterations: Iterations between two median filters.
        outer_iterations: Median filters per warp at most, each before its inner iterations.
        median: Side of the median filter of the flow: 1 (off), 3 or 5.
        sampling: How images are read between pixels. ``"opencv"``: warp by cubic convolution with
            A = -0.75, zero outside; resize with half-pixel centres. ``"opencv_cuda"``: warp by
            Catmull-Rom (A = -0.5), clamped at the border; resize from x times the scale.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    scales: int = 5
    scale_step: float = 0.8
    warps: int = 5
    epsilon: float = 0.01
    inner_iterations: int = 30
    outer_iterations: int = 10
    median: int = 5
    sampling: Sampling = "opencv"

    @classmethod
    def opencv_cuda(cls) -> "TVL1Params":
        """The scheme of OpenCV's CUDA solver: 300 iterations a warp, no median filter."""
        return cls(inner_iterations=300, outer_iterations=1, median=1, sampling="opencv_cuda")

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if field.type is float and not (number and 0 < value < float("inf")):
                raise InputError(
                    f"TV-L1 parameter {field.name} is {value!r}; give a number above 0."
                )
            if field.type is int and not (
                number and isinstance(value, Integral) and int(value) >= 1
            ):
                raise InputError(
                    f"TV-L1 parameter {field.name} is {value!r}; give a whole number from 1."
                )
        if self.scale_step >= 1:
            raise InputError(
                f"TV-L1 parameter scale_step is {self.scale_step}; give a number below 1."
            )
        if self.median not in (1, 3, 5):
            raise InputError(f"TV-L1 parameter median is {self.median}; give 1 (off), 3 or 5.")
        if self.sampling not in get_args(Sampling):
            raise InputError(
                f"TV-L1 parameter sampling is {self.sampling!r}; "
                f"give one of {', '.join(get_args(Sampling))}."
            )


def choose_solver(solver: Solver = "auto") -> str:
    """The name of the solver that ``solver`` means on this machine."""
    if solver not in get_args(Solver):
        raise InputError(
            f"Solver {solver!r} is unknown; give one of {', '.join(get_args(Solver))}."
        )
    if solver == "auto":
        return "cuda" if _has_gpu() else "cpu"
    return solver


def _has_gpu() -> bool:
    try:  # PyTorch takes seconds to load: not where there is no driver
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    from flow.tvl1.cuda_kernel import why_unavailable

    return why_unavailable() is None


def tvl1(
    previous: NDArray[np.uint8] | NDArray[np.float32],
    following: NDArray[np.uint8] | NDArray[np.float32],
    params: TVL1Params | None = None,
    solver: Solver = "auto",
    *,
    initial: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Optical flow from ``previous`` to ``following``.

    Args:
        previous: Grey image (H, W) or images (N, H, W); uint8 from 0 to 255 or float32 from 0 to 1.
        following: The same shape and dtype.
        params: The scheme and its parameters; OpenCV's CPU defaults where not given.
        solver: ``"reference"`` (NumPy), ``"opencv"``, ``"cpu"`` (native), ``"cuda"`` (the first
            GPU; ``flow.tvl1.cuda`` has more), or ``"auto"``: the fastest that this machine has.
        initial: Flow to start from, float32 of the result's shape; zero where not given.
        threads: Pairs that ``"cpu"`` solves at a time, one a processor where not given; the other
            solvers take what they take.

    Returns:
        float32 (H, W, 2) or (N, H, W, 2), pixels: channel 0 to the right, channel 1 downwards.

    Raises:
        InputError: Shapes, dtypes or values that do not fit, or a solver that is not available.
    """
    first = _as_batch(previous, "previous")
    second = _as_batch(following, "following")
    if previous.shape != following.shape or previous.dtype != following.dtype:
        raise InputError(
            f"The images differ: {previous.dtype} {previous.shape} and "
            f"{following.dtype} {following.shape}; give two of one shape and dtype."
        )
    start = None
    if initial is not None:
        if initial.shape != (*previous.shape, 2) or initial.dtype != np.float32:
            raise InputError(
                f"The initial flow is {initial.dtype} {initial.shape}; "
                f"give float32 {(*previous.shape, 2)}."
            )
        if not np.isfinite(initial).all():
            raise InputError("The initial flow has NaN or infinity in it; give finite numbers.")
        start = np.ascontiguousarray(initial.reshape(*first.shape, 2))
    result = _load(solver, threads)(first, second, params or TVL1Params(), start)
    return result.reshape(*previous.shape, 2)


def tvl1_video(
    frames: NDArray[np.uint8] | NDArray[np.float32],
    params: TVL1Params | None = None,
    solver: Solver = "auto",
    *,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Optical flow between neighbouring frames: grey (T, H, W) to float32 (T - 1, H, W, 2).

    The same as ``tvl1(frames[:-1], frames[1:], ...)``; ``"cpu"`` then builds one pyramid a frame,
    and each frame goes to the GPU of ``"cuda"`` once.
    """
    if frames.ndim != 3:
        raise InputError(f"The frames have shape {frames.shape}; give grey frames (T, H, W).")
    solve = _load(solver, threads)
    if len(frames) < 2:
        return np.zeros((0, *frames.shape[1:], 2), np.float32)
    images = _as_batch(frames, "video")
    return solve(images[:-1], images[1:], params or TVL1Params(), None)


def _as_batch(images: NDArray[np.uint8] | NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """The images as float32 (N, H, W) from 0 to 255."""
    if images.ndim not in (2, 3) or 0 in images.shape:
        raise InputError(
            f"The {name} image has shape {images.shape}; give grey (H, W) or (N, H, W)."
        )
    if images.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"The {name} image is {images.dtype}; give uint8 (0 to 255) or float32 (0 to 1)."
        )
    batch = images if images.ndim == 3 else images[None]
    if images.dtype == np.uint8:
        return np.ascontiguousarray(batch, dtype=np.float32)
    if not np.isfinite(batch).all():
        raise InputError(f"The {name} image has NaN or infinity in it; give finite numbers.")
    if batch.min() < -0.5 or batch.max() > 1.5:  # some overshoot is left to whoever resized it
        raise InputError(
            f"The {name} image has values from {batch.min():g} to {batch.max():g}; "
            "give float32 from 0 to 1, or uint8 from 0 to 255."
        )
    return np.ascontiguousarray(batch * np.float32(255))


def _load(solver: Solver, threads: int | None) -> Callable[..., NDArray[np.float32]]:
    """The function ``solve(previous, following, params, initial)`` of a solver's module."""
    name = choose_solver(solver)
    if importlib.util.find_spec(f"flow.tvl1.{name}") is None:
        raise InputError(f"The TV-L1 solver {name!r} is not built here; give another solver.")
    solve: Callable[..., NDArray[np.float32]] = importlib.import_module(f"flow.tvl1.{name}").solve
    return partial(solve, threads=threads) if name == "cpu" else solve
