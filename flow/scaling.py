"""Frames at another size, before anything else is done with them."""

import cv2
import numpy as np
from numpy.typing import NDArray


def scaled(frame: NDArray[np.uint8], short_side: int | None) -> NDArray[np.uint8]:
    """A frame (H, W, 3), its shorter side ``short_side`` pixels, its shape kept; None: as it is."""
    if short_side is None:
        return frame
    height, width = frame.shape[:2]
    ratio = short_side / min(height, width)
    # The mean of the pixels that become one, and between pixels where one becomes several.
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    smaller: NDArray[np.uint8] = cv2.resize(frame, size, interpolation=how)
    return smaller
