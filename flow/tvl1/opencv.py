"""TV-L1 optical flow by OpenCV's CPU solver, ``cv2.optflow.DualTVL1OpticalFlow``.

OpenCV 5 warps to exact positions, as ``flow.tvl1.reference`` does; OpenCV 4 rounds them to 1/32
pixel.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.tvl1 import TVL1Params
from flow.tvl1.reference import pyramid_sizes

Field = NDArray[np.float32]


def solve(
    previous: Field, following: Field, params: TVL1Params, initial: Field | None = None
) -> Field:
    """Flow of each pair of images.

    Args:
        previous: float32 (N, H, W), grey values from 0 to 255.
        following: The same.
        params: The scheme and its parameters; ``sampling`` must be ``"opencv"``.
        initial: Flow to start from, float32 (N, H, W, 2), pixels; zero where not given.

    Returns:
        float32 (N, H, W, 2), pixels: channel 0 to the right, channel 1 downwards.

    Raises:
        InputError: Another sampling, images with a side of one pixel, or an OpenCV without TV-L1.
    """
    _, height, width = previous.shape
    if not hasattr(cv2, "optflow"):
        raise InputError(
            f"The installed OpenCV {cv2.__version__} has no TV-L1; "
            "leave opencv-contrib-python as the only OpenCV package."
        )
    if params.sampling != "opencv":
        raise InputError(
            f"The TV-L1 solver 'opencv' has no sampling {params.sampling!r}; "
            "give sampling 'opencv', or another solver."
        )
    if min(height, width) < 2:
        # OpenCV takes differences past the image there, and returns what lies in memory.
        raise InputError(
            f"The TV-L1 solver 'opencv' cannot take images of {width} x {height} pixels; "
            "give sides of 2 pixels or more, or another solver."
        )
    flows = np.zeros((*previous.shape, 2), np.float32) if initial is None else initial.copy()
    solver = _create(params, len(pyramid_sizes(height, width, params)), initial is not None)
    for I0, I1, u in zip(previous, following, flows, strict=True):
        # OpenCV multiplies by 255, which gives back exactly the value divided here.
        u[:] = solver.calc(I0 / 255, I1 / 255, u)
    return flows


def _create(params: TVL1Params, scales: int, use_initial_flow: bool) -> cv2.DenseOpticalFlow:
    """A solver for images that have exactly ``scales`` levels.

    Asked for more, OpenCV lowers its number for good, or fails where a level would be empty.
    """
    return cv2.optflow.DualTVL1OpticalFlow.create(
        tau=params.tau,
        lambda_=params.lambda_,
        theta=params.theta,
        nscales=scales,
        warps=params.warps,
        epsilon=params.epsilon,
        innnerIterations=params.inner_iterations,
        outerIterations=params.outer_iterations,
        scaleStep=params.scale_step,
        gamma=0,
        medianFiltering=params.median,
        useInitialFlow=use_initial_flow,
    )
