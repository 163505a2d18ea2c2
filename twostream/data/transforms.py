"""From stored images to what a network takes: resize, crop, mirror, vary, normalise.

Convention: images are uint8 (T, H, W, 3) RGB or (T, H, W, 2) flow; a clip is float32 (C, T, H, W).
RGB becomes BGR, 0 to 255 minus `BGR_MEAN`; flow becomes 0 to 255 minus `FLOW_ZERO`, channel 0 to
the right and 1 downwards. Neither is divided: the inputs of the published P3D networks (Qiu, Yao,
Mei, ICCV 2017; their Caffe definitions).
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flow.errors import InputError
from twostream.data.jitter import jittered
from twostream.data.window import Box, Size, Window, crop_boxes, crop_window, random_box_window
from twostream.streams import CHANNELS, STREAMS, Stream

BGR_MEAN = (104.0, 117.0, 123.0)
# Both encodings store zero motion as 128, so that it reaches the network as exactly 0.
FLOW_ZERO = 128
# The value of each code. JPEG may turn the lowest code, 1, into 0; read as 1, a mirror stays exact.
_MOTION = np.maximum(np.arange(256, dtype=np.float32), 1) - FLOW_ZERO


@dataclass(frozen=True)
class Geometry:
    """The sizes, (height, width) in pixels, that images take; the defaults are the paper's.

    Attributes:
        resize: Size that images are resized to first (bilinear). One number is that of their
            shorter side, and their shape is kept. None leaves them as they are.
        crop: Size of the crop: at random in training, at the centre in testing.

    Raises:
        InputError: Sizes below 1, or a crop that does not fit into the resized image.
    """

    resize: tuple[int, int] | int | None = (182, 242)
    crop: tuple[int, int] = (160, 160)

    def __post_init__(self) -> None:
        resize = (self.resize,) * 2 if isinstance(self.resize, int) else self.resize
        for name, size in (("resize", resize), ("crop", self.crop)):
            if size is not None and (len(size) != 2 or min(size) < 1):
                raise InputError(f"The size {name} is {size}; give height and width, 1 or more.")
        if isinstance(self.resize, int):
            if min(self.crop) > self.resize:  # the other side depends on the video
                raise InputError(
                    f"The crop of {self.crop[0]}x{self.crop[1]} pixels does not fit into images "
                    f"with a short side of {self.resize}; give a smaller crop or a larger side."
                )
        elif self.resize is not None:
            self.room(*self.resize)

    @property
    def size(self) -> str:
        """What images are resized to, in words."""
        if self.resize is None:
            return "own size"
        if isinstance(self.resize, int):
            return f"short side {self.resize}"
        return f"{self.resize[0]}x{self.resize[1]}"

    def resized(self, height: int, width: int) -> Size:
        """The size that an image of this size takes."""
        if isinstance(self.resize, int):
            ratio = self.resize / min(height, width)
            return max(1, round(height * ratio)), max(1, round(width * ratio))
        return self.resize or (height, width)

    def room(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns by which an image (resized where so wanted) is larger than the crop."""
        rows, columns = height - self.crop[0], width - self.crop[1]
        if rows < 0 or columns < 0:
            raise InputError(
                f"The crop of {self.crop[0]}x{self.crop[1]} pixels does not fit into images of "
                f"{height}x{width} (height x width); give a smaller crop or a larger resize."
            )
        return rows, columns


@dataclass(frozen=True)
class Augmentation:
    """What varies in training clips beside the place of the crop, alike in all frames of a clip.

    Attributes:
        mirror: Mirror half of the clips. Off where left and right are different classes.
        scale: The least and the largest share of the picture's area that a clip shows, above 0 and
            up to 1: a box of that area and of an aspect from 3/4 to 4/3, resized to the crop
            (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6: 0.08 and 1).
            None: a crop of the picture.
        jitter: By how much the brightness, contrast and saturation of RGB vary, from 0 to 1: each
            by a factor from 1 - jitter to 1 + jitter. Flow is left as it is.

    Raises:
        InputError: Shares or a jitter that there cannot be.
    """

    mirror: bool = True
    scale: tuple[float, float] | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        scale = self.scale
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise InputError(
                f"The scale is {scale}; give the least and the largest share of the area, "
                "such as 0.5 and 1."
            )
        if not 0 <= self.jitter <= 1:
            raise InputError(f"The jitter is {self.jitter}; give a number from 0 to 1.")


def train_view(
    images: NDArray[np.uint8],
    stream: Stream,
    geometry: Geometry,
    rng: np.random.Generator,
    augmentation: Augmentation | None = None,
) -> Tensor:
    """A random window of the whole clip, and half of the time its mirror image.

    With equal generators both streams see the same window and the same side, where their images are
    of one size: what RGB alone draws comes last.

    Args:
        images: uint8 (T, H, W, C).
        stream: What they are.
        geometry: The sizes.
        rng: Source of all that is random.
        augmentation: What varies; ``Augmentation()`` where not given.

    Returns:
        float32 (C, T, height, width) of the crop.
    """
    augmentation = augmentation or Augmentation()
    picture = _picture_size(images, stream)
    resize = geometry.resized(*picture)
    if augmentation.scale is None:
        rows, columns = geometry.room(*resize)
        top, left = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
        window = crop_window(picture, resize, Box(top, left, *geometry.crop))
    else:
        window = random_box_window(picture, resize, geometry.crop, augmentation.scale, rng)
    turn = bool(rng.random() < 0.5)
    window = replace(window, mirror=turn and augmentation.mirror)
    if stream == "flow":
        return _flow_clip(images, window)
    clip = _bgr_clip(images, window)
    if augmentation.jitter:
        clip = jittered(clip, augmentation.jitter, rng)
    return _centred(clip)


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
    picture = _picture_size(images, stream)
    resize = geometry.resized(*picture)
    geometry.room(*resize)
    (centre,) = crop_boxes(resize, geometry.crop, 1)
    return _view(images, stream, replace(crop_window(picture, resize, centre), mirror=mirror))


def crop_views(
    images: NDArray[np.uint8], stream: Stream, geometry: Geometry, crops: int = 1
) -> Tensor:
    """The crops of the clip that `twostream.data.window.crop_boxes` names: 1, 3 or 5.

    Returns:
        float32 (crops, C, T, height, width); the first of 1 is `test_view`.
    """
    if crops == 1:
        return test_view(images, stream, geometry)[None]
    picture = _picture_size(images, stream)
    resize = geometry.resized(*picture)
    geometry.room(*resize)
    boxes = crop_boxes(resize, geometry.crop, crops)
    whole = _view(images, stream, crop_window(picture, resize, Box(0, 0, *resize)))
    return torch.stack([whole[:, :, *box.slices] for box in boxes])


def mirrored(clips: Tensor, stream: Stream) -> Tensor:
    """Clips (..., C, T, H, W) mirrored left to right: motion to the right becomes motion left.

    For flow this is exactly the clip of the mirrored flow images (`flow.encoding.flip`).
    """
    flipped = clips.flip(-1)
    if stream == "flow":
        flipped[..., 0, :, :, :].neg_()
    return flipped


def _picture_size(images: NDArray[np.uint8], stream: Stream) -> tuple[int, int]:
    """Height and width of the images, which are checked to be of the stream."""
    if stream not in STREAMS:
        raise InputError(f"Stream {stream!r} is unknown; give one of {', '.join(STREAMS)}.")
    channels = CHANNELS[stream]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
        raise InputError(
            f"The {stream} images are {images.dtype} {images.shape}; "
            f"give uint8 (T, H, W, {channels})."
        )
    return images.shape[1], images.shape[2]


def _view(images: NDArray[np.uint8], stream: Stream, window: Window) -> Tensor:
    return _flow_clip(images, window) if stream == "flow" else _centred(_bgr_clip(images, window))


def _bgr_clip(images: NDArray[np.uint8], window: Window) -> NDArray[np.float32]:
    """BGR from 0 to 255, of the window."""
    clip = np.empty((3, len(images), window.crop.height, window.crop.width), np.float32)
    for t, image in enumerate(images):
        red, green, blue = cv2.split(_shown(image[window.box.slices], window))
        clip[0, t], clip[1, t], clip[2, t] = blue, green, red
    return clip


def _centred(clip: NDArray[np.float32]) -> Tensor:
    """A BGR clip minus the mean, in its own memory."""
    clip -= np.array(BGR_MEAN, np.float32).reshape(3, 1, 1, 1)
    return torch.from_numpy(clip)


def _flow_clip(images: NDArray[np.uint8], window: Window) -> Tensor:
    """Motion in codes, of the window; vectors are scaled with the size (`flow.encoding.resize`)."""
    clip = np.empty((2, len(images), window.crop.height, window.crop.width), np.float32)
    for t, image in enumerate(images):
        # Resized as floats around zero, since rounding would cost a share of small motion; x and y
        # apart, since OpenCV's arithmetic is a hundred times as exact on one channel as on two.
        for channel, codes in enumerate(cv2.split(image[window.box.slices])):
            clip[channel, t] = _shown(cv2.LUT(codes, _MOTION), window)
    wider, higher = window.stretch
    clip *= np.array([-wider if window.mirror else wider, higher], np.float32).reshape(2, 1, 1, 1)
    return torch.from_numpy(clip)


def _shown(image: NDArray[Any], window: Window) -> NDArray[Any]:
    """What the window shows of an image (h, w, ...) that is its box."""
    if image.shape[:2] != window.resize:
        image = cv2.resize(image, window.resize[::-1], interpolation=cv2.INTER_LINEAR)
    image = image[window.crop.slices]
    return cv2.flip(image, 1) if window.mirror else image
