"""What the CUDA kernel is told: the layout of ``kernels/cuda_problem.h``."""

import ctypes

from flow.encoding import Scheme
from flow.tvl1 import TVL1Params
from flow.tvl1.checks import as_c_int

ENCODINGS: tuple[Scheme, ...] = ("symmetric", "dense_flow")
COUNTS = ("iterations", "computed", "medians")
"""What a pair's counts say, in pixels of its levels; the header explains them."""


class Problem(ctypes.Structure):
    """Pairs of images of one size, where they lie on the device, and what to do with them."""

    _fields_ = [
        ("frames", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("initial", ctypes.c_void_p),
        ("flow", ctypes.c_void_p),
        ("encoded", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("next", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("slot_floats", ctypes.c_longlong),
        ("tau", ctypes.c_double),
        ("lambda_", ctypes.c_double),
        ("theta", ctypes.c_double),
        ("scale_step", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("bound", ctypes.c_double),
        ("warps", ctypes.c_int),
        ("inner_iterations", ctypes.c_int),
        ("outer_iterations", ctypes.c_int),
        ("median", ctypes.c_int),
        ("opencv_cuda", ctypes.c_int),
        ("levels", ctypes.c_int),
        ("pairs", ctypes.c_int),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("float_frames", ctypes.c_int),
        ("encoding", ctypes.c_int),
        ("padding", ctypes.c_int),
    ]


assert ctypes.sizeof(Problem) == 192, "kernels/cuda_problem.h has another layout"


def scheme_fields(params: TVL1Params) -> dict[str, float | int]:
    """The fields of ``Problem`` that say the scheme."""
    return {
        "tau": params.tau,
        "lambda_": params.lambda_,
        "theta": params.theta,
        "scale_step": params.scale_step,
        "epsilon": params.epsilon,
        "warps": as_c_int(params.warps),
        "inner_iterations": as_c_int(params.inner_iterations),
        "outer_iterations": as_c_int(params.outer_iterations),
        "median": params.median,
        "opencv_cuda": int(params.sampling == "opencv_cuda"),
    }


def slot_floats(sizes: list[tuple[int, int]]) -> int:
    """Floats of the workspace that a block of threads needs, for (height, width) of each level."""
    height, width = sizes[0]
    pixels = height * width
    pyramid = sum(rows * columns for rows, columns in sizes)
    parts = [2 * pixels] * 2 + [4 * pixels] * 4 + [pyramid] * 2 + [3 * width]
    return sum(-(-part // 32) * 32 for part in parts)
