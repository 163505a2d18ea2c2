from typing import Any, TypedDict

from numpy.typing import NDArray

class Statistics(TypedDict):
    iterations_s: float
    warp_s: float
    median_s: float
    pyramid_s: float
    pixel_iterations: int
    pixel_warps: int
    pixel_medians: int

def targets() -> list[str]: ...
def solve(
    first: NDArray[Any],
    second: NDArray[Any],
    initial: NDArray[Any] | None,
    flow: NDArray[Any],
    *,
    tau: float,
    lambda_: float,
    theta: float,
    scale_step: float,
    epsilon: float,
    scales: int,
    warps: int,
    inner_iterations: int,
    outer_iterations: int,
    median: int,
    opencv_cuda: bool,
    threads: int,
    target: str,
) -> Statistics: ...
