"""From stored images to what a network takes: resize, crop, mirror, normalise.

Convention: images are uint8 (T, H, W, 3) RGB or (T, H, W, 2) flow; a clip is float32 (C, T, H, W).
RGB becomes BGR, 0 to 255 minus `BGR_MEAN`; flow becomes 0 to 255 minus `FLOW_ZERO`, channel 0 to
the right and 1 downwards. Neither is divided: the inputs of the published P3D networks (Qiu, Yao,
Mei, ICCV 2017; their Caffe definitions).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flow.errors import InputError
from twostream.streams import CHANNELS, STREAMS, Stream

BGR_MEAN = (104.0, 117.0, 123.0)
# Both encodings store zero motion as 128, so that it reaches the network as exactly 0.
FLOW_ZERO = 128
# The value of each code. JPEG may turn the lowest code, 1, into 0; read as 1, a mirror stays exact.
_MOTION = np.maximum(np.arange(256, dtype=np.float32), 1) - FLOW_ZERO


@dataclass(frozen=True)
class Geometry:
    """The sizes, each (height, width) in pixels, that images take; the defaults are the paper's.

    Attributes:
        resize: Size that images are resized to first (bilinear); None leaves them as they are.
        crop: Size of the crop: at random in training, at the centre in testing.

    Raises:
        InputError: Sizes below 1, or a crop that does not fit into the resized image.
    """

    resize: tuple[int, int] | None = (182, 242)
    crop: tuple[int, int] = (160, 160)

    def __post_init__(self) -> None:
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and (len(size) != 2 or min(size) < 1):
                raise InputError(f"The size {name} is {size}; give height and width, 1 or more.")
        if self.resize is not None:
            self.room(*self.resize)

    def room(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns by which an image (resized where so wanted) is larger than the crop."""
        rows, columns = height - self.crop[0], width - self.crop[1]
        if rows < 0 or columns < 0:
            raise InputError(
                f"The crop of {self.crop[0]}x{self.crop[1]} pixels does not fit into images of "
                f"{height}x{width} (height x width); give a smaller crop or a larger resize."
            )
        return rows, columns


def train_view(
    images: NDArray[np.uint8],
    stream: Stream,
    geometry: Geometry,
    rng: np.random.Generator,
    *,
    mirror: bool = True,
) -> Tensor:
    """A random crop of the whole clip, and half of the time its mirror image.

    What is drawn from ``rng`` depends on the sizes alone, so that with equal generators both
    streams see the same window and the same side.

    Args:
        images: uint8 (T, H, W, C).
        stream: What they are.
        geometry: The sizes.
        rng: Source of the window and of the side.
        mirror: False where left and right are different classes.

    Returns:
        float32 (C, T, height, width) of the crop.
    """
    rows, columns = _room(images, stream, geometry)
    top, left = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
    turn = bool(rng.random() < 0.5)
    clip = _window(images, stream, geometry, top, left)
    return mirrored(clip, stream) if turn and mirror else clip


def test_view(
    images: NDArray[np.uint8],
    stream: Stream,
    geometry: Geometry,
    *,
    mirror: bool = False,  # noqa: PT028 - a view of a test video, not a test
) -> Tensor:
    """The centre crop of the clip, or its mirror image.

    Where the room around the crop is odd, the smaller half lies at the top and at the left.

    Returns:
        float32 (C, T, height, width) of the crop.
    """
    rows, columns = _room(images, stream, geometry)
    clip = _window(images, stream, geometry, rows // 2, columns // 2)
    return mirrored(clip, stream) if mirror else clip


def mirrored(clips: Tensor, stream: Stream) -> Tensor:
    """Clips (..., C, T, H, W) mirrored left to right: motion to the right becomes motion left.

    For flow this is exactly the clip of the mirrored flow images (`flow.encoding.flip`).
    """
    flipped = clips.flip(-1)
    if stream == "flow":
        flipped[..., 0, :, :, :].neg_()
    return flipped


def _room(images: NDArray[np.uint8], stream: Stream, geometry: Geometry) -> tuple[int, int]:
    if stream not in STREAMS:
        raise InputError(f"Stream {stream!r} is unknown; give one of {', '.join(STREAMS)}.")
    channels = CHANNELS[stream]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
        raise InputError(
            f"The {stream} images are {images.dtype} {images.shape}; "
            f"give uint8 (T, H, W, {channels})."
        )
    return geometry.room(*(geometry.resize or images.shape[1:3]))


def _window(
    images: NDArray[np.uint8], stream: Stream, geometry: Geometry, top: int, left: int
) -> Tensor:
    """The crop from (top, left) on of the resized images, as a normalised clip."""
    height, width = images.shape[1:3]
    size = geometry.resize or (height, width)
    rows, columns = slice(top, top + geometry.crop[0]), slice(left, left + geometry.crop[1])
    if stream == "rgb":
        planes = _resized(images, size)[:, rows, columns].transpose(3, 0, 1, 2)
        clip = planes[::-1].astype(np.float32, order="C")
        clip -= np.array(BGR_MEAN, np.float32).reshape(3, 1, 1, 1)
    else:
        # Resized as floats around zero, since rounding would cost a share of small motion.
        planes = _resized(_centred(images), size)[:, rows, columns].transpose(3, 0, 1, 2)
        clip = np.ascontiguousarray(planes)
        # Vectors are scaled with the size, as by `flow.encoding.resize`.
        clip *= np.array([size[1] / width, size[0] / height], np.float32).reshape(2, 1, 1, 1)
    return torch.from_numpy(clip)


def _centred(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    frames, height, width, _ = images.shape
    centred: NDArray[np.float32] = cv2.LUT(images.reshape(frames * height, width, 2), _MOTION)
    return centred.reshape(images.shape)


def _resized(images: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if size == images.shape[1:3]:
        return images
    resized = np.empty((len(images), *size, images.shape[3]), images.dtype)
    for image, target in zip(images, resized, strict=True):
        cv2.resize(image, size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return resized
