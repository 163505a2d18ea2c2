"""Flow as colour: the hue is the direction, the saturation the length.

The colour wheel of Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A Database and Evaluation
Methodology for Optical Flow", IJCV 92 (2011), doi 10.1007/s11263-010-0390-2: motion to the right is
red, down yellow, left blue-green, up blue-violet, and none is white.
"""

import numpy as np
from numpy.typing import NDArray

# Steps from each of the six pure hues to the next, from red by way of yellow, green, cyan, blue and
# magenta: more of them where the eye tells more hues apart.
_STEPS = (15, 6, 4, 11, 13, 6)
_HUES = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0))


def colour(flow: NDArray[np.float32], maximum: float | None = None) -> NDArray[np.uint8]:
    """Paint flow (H, W, 2) as uint8 (H, W, 3) RGB.

    Args:
        flow: Pixels; x to the right, y downwards. What is not finite becomes black.
        maximum: The length in pixels that has the full colour, longer motion being darker; the
            longest in this flow where not given.
    """
    known = np.asarray(np.isfinite(flow).all(axis=-1, keepdims=True))
    x, y = np.moveaxis(np.where(known, flow, 0).astype(np.float64), -1, 0)
    length = np.hypot(x, y)[..., None]
    length /= (length.max(initial=0) if maximum is None else maximum) or 1
    hues = _hues()
    # The angle goes once around the wheel, whose end is left to lie beside its beginning.
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(hues) - 1)
    low = place.astype(np.intp)
    share = (place - low)[..., None]
    hue = (1 - share) * hues[low] + share * hues[(low + 1) % len(hues)]
    painted = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.asarray(255 * painted * known, np.uint8)


def wheel(diameter: int) -> NDArray[np.uint8]:
    """The legend: a disc, uint8 (diameter, diameter, 4) RGBA, transparent around it.

    Each place has the colour of the motion from the centre to it; the rim has the full colour.
    """
    radius = diameter / 2
    across = (np.arange(diameter) + 0.5 - radius) / radius
    motion = np.stack(np.meshgrid(across, across), axis=-1).astype(np.float32)
    length = np.hypot(motion[..., 0], motion[..., 1])
    # The pixels on the rim are as opaque as the share of them that lies inside.
    inside = np.clip((1 - length) * radius + 0.5, 0, 1)
    motion /= np.maximum(length, 1)[..., None]
    # What rounding makes longer than 1 is not to be dark.
    return np.dstack([colour(motion, 1 + 1e-6), (255 * inside).astype(np.uint8)])


def _hues() -> NDArray[np.float64]:
    """The 55 hues of the wheel, (55, 3) RGB from 0 to 1."""
    parts = [
        np.linspace(start, end, steps, endpoint=False)
        for start, end, steps in zip(_HUES[:-1], _HUES[1:], _STEPS, strict=True)
    ]
    return np.concatenate(parts)
