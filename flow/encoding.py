"""Flow fields as two-channel uint8 images, with exact laws.

Convention: scheme ``"symmetric"`` maps v pixels to ``128 + round(127 v / bound)``, clipped to
1..255. Zero is exactly 128; a horizontal mirror negates x as exactly ``256 - q``. Scheme
``"dense_flow"`` is the formula of the published extraction tools (yjxiong/dense_flow,
open-mmlab/denseflow): ``round(255 (v + bound) / (2 bound))``, halves to even, clipped to 0..255;
zero becomes 128, but its exact decoding is 127.5, so that a mirror is ``255 - q`` and moves zero.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError

Scheme = Literal["symmetric", "dense_flow"]


def encode(
    flow: NDArray[np.float32], bound: float = 20.0, scheme: Scheme = "symmetric"
) -> NDArray[np.uint8]:
    """Quantise flow in pixels to uint8 of the same shape; motion beyond ``bound`` is clipped."""
    _law(bound, scheme)
    # rint rounds halves to even, as OpenCV's cvRound does.
    if scheme == "symmetric":
        # Zero is added after rounding: else float32 breaks ties differently on its two sides.
        codes = np.clip(128 + np.rint(np.float32(127 / bound) * flow), 1, 255)
    else:
        moved = flow.astype(np.float64) + bound
        codes = np.clip(np.rint(255 * moved / (2 * bound)), 0, 255)
    return np.asarray(codes, np.uint8)


def decode(
    image: NDArray[np.uint8], bound: float = 20.0, scheme: Scheme = "symmetric"
) -> NDArray[np.float32]:
    """Flow in pixels, float32 of the same shape: the middle of what encodes to ``image``."""
    zero, gain = _law(bound, scheme)
    return ((image.astype(np.float32) - np.float32(zero)) / np.float32(gain)).astype(np.float32)


def flip(image: NDArray[np.uint8], scheme: Scheme = "symmetric") -> NDArray[np.uint8]:
    """Mirror a flow image (..., H, W, 2) left to right: x motion changes its sign.

    Under ``"symmetric"`` this is exactly the image of the mirrored flow, and its own inverse.
    """
    _law(1.0, scheme)
    flipped = image[..., ::-1, :].copy()
    total = 256 if scheme == "symmetric" else 255
    # The 0 that "symmetric" never writes (but JPEG may) goes to 255 and stays in uint8.
    flipped[..., 0] = np.minimum(total - flipped[..., 0].astype(np.int16), 255)
    return flipped


def resize(flow: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Flow (H, W, 2) in pixels at another size: sampled bilinearly, vectors scaled with the size.

    Half-pixel centres, as cv2.resize with INTER_LINEAR.
    """
    scaled: NDArray[np.float32] = _bilinear(_bilinear(flow, height, axis=0), width, axis=1)
    ratio = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    return np.asarray(scaled * ratio, np.float32)


def clipped_fraction(flow: NDArray[np.float32], bound: float = 20.0) -> float:
    """The share of the values that ``bound`` cuts off."""
    return float(np.mean(np.abs(flow) > bound)) if flow.size else 0.0


def _bilinear(field: NDArray[np.float32], size: int, axis: int) -> NDArray[np.float32]:
    length = field.shape[axis]
    centre = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    low = np.floor(centre).astype(np.intp)
    high = np.minimum(low + 1, length - 1)
    shape = [1] * field.ndim
    shape[axis] = size
    weight = (centre - low).astype(np.float32).reshape(shape)
    return np.asarray(field.take(low, axis) * (1 - weight) + field.take(high, axis) * weight)


def _law(bound: float, scheme: Scheme) -> tuple[float, float]:
    """The value of zero motion, and values a pixel; refuses what is no bound or no scheme."""
    if not 0 < bound < float("inf"):
        raise InputError(f"The flow bound is {bound}; give a number of pixels above 0.")
    if scheme not in get_args(Scheme):
        raise InputError(
            f"Encoding {scheme!r} is unknown; give one of {', '.join(get_args(Scheme))}."
        )
    return (128.0, 127 / bound) if scheme == "symmetric" else (127.5, 127.5 / bound)
