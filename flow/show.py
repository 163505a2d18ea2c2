"""Flow as colour: the hue is the direction, the saturation the length.

The colour wheel of Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A Database and Evaluation
Methodology for Optical Flow", IJCV 92 (2011), doi 10.1007/s11263-010-0390-2: motion to the right is
red, down yellow, left blue-green, up blue-violet, and none is white.
"""

import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.encoding import decode
from flow.errors import InputError
from flow.files import write_atomically
from flow.store import StoreFile
from flow.tvl1 import tvl1
from flow.video import Video, grey

# Steps from each of the six pure hues to the next, from red by way of yellow, green, cyan, blue and
# magenta: more of them where the eye tells more hues apart.
_STEPS = (15, 6, 4, 11, 13, 6)
_HUES = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0))

Pair = tuple[NDArray[np.uint8], NDArray[np.float32]]


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
    wheel = _wheel()
    # The angle goes once around the wheel, whose end is left to lie beside its beginning.
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = place.astype(np.intp)
    share = (place - low)[..., None]
    hue = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    painted = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.asarray(255 * painted * known, np.uint8)


def side_by_side(
    frame: NDArray[np.uint8], flow: NDArray[np.float32], maximum: float | None = None
) -> NDArray[np.uint8]:
    """A frame (H, W, 3) RGB and, to its right, its flow (H, W, 2) in colour: uint8 (H, 2 W, 3)."""
    return np.hstack([frame, colour(flow, maximum)])


def frame_and_flow(source: Path, number: int) -> Pair:
    """A frame of a video or of a store file, and its flow to the next: (H, W, 3) and (H, W, 2).

    The flow of a store file is what it holds, and that of a video is computed here.

    Args:
        source: A store file (.zip), or a video.
        number: Of the frame; the first one is 1, as in the names of a store file's members.

    Raises:
        InputError: No such frame, no frame after it, or a source that cannot be read.
    """
    if number < 1:
        raise InputError(f"The number of the frame is {number}; the first frame is 1.")
    pair = _from_store(source, number) if source.suffix == ".zip" else _from_video(source, number)
    if pair is None:
        raise InputError(f"{source} has no frame after frame {number}; give a smaller number.")
    return pair


def show(source: Path, out: Path, number: int = 1) -> float:
    """Write a frame beside its flow as a PNG file; the motion in pixels that has the full colour.

    That is the length which one vector in 200 exceeds: a few wild ones would pale all others.

    Raises:
        InputError: As ``frame_and_flow``; or a name or a folder that cannot be written to.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"{out} is no name for a PNG file; give one that ends in .png.")
    frame, flow = frame_and_flow(source, number)
    length = np.hypot(flow[..., 0], flow[..., 1])
    full = float(np.quantile(length, 0.995)) or float(length.max())
    picture = cv2.cvtColor(side_by_side(frame, flow, full), cv2.COLOR_RGB2BGR)
    try:
        write_atomically(out, cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); give another.") from error
    return full


def _from_store(source: Path, number: int) -> Pair | None:
    with StoreFile(source) as store:
        if number > store.meta.flows:
            return None
        image = store.flow_images([number - 1])[0]
        flow = decode(image, store.meta.bound, store.meta.encoding)
        return store.frames([number - 1])[0], flow


def _from_video(source: Path, number: int) -> Pair | None:
    frames = list(itertools.islice(Video(source), number - 1, number + 1))
    if len(frames) < 2:
        return None
    return frames[0], tvl1(grey(frames[0]), grey(frames[1]))


def _wheel() -> NDArray[np.float64]:
    """The 55 hues, (55, 3) RGB from 0 to 1."""
    parts = [
        np.linspace(start, end, steps, endpoint=False)
        for start, end, steps in zip(_HUES[:-1], _HUES[1:], _STEPS, strict=True)
    ]
    return np.concatenate(parts)
