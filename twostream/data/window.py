"""Which part of a picture a clip shows: pure functions of numbers.

Convention: sizes are (height, width) in pixels; rows count downwards and columns to the right,
from 0.
"""

import math
from dataclasses import dataclass

import numpy as np

Size = tuple[int, int]

LARGEST_ASPECT = 4 / 3
"""Of a random box, width over height; the smallest is its inverse."""

_TRIES = 10  # at a box that fits, as torchvision.transforms.RandomResizedCrop


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and its columns."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


@dataclass(frozen=True)
class Window:
    """A box of the picture, resized, of that a crop, and that as it is or mirrored left to right.

    Attributes:
        box: In the picture.
        resize: The size that the box is resized to.
        crop: In the resized box.
        mirror: Left to right.
    """

    box: Box
    resize: Size
    crop: Box
    mirror: bool = False

    @property
    def stretch(self) -> tuple[float, float]:
        """By how much resizing makes the box (wider, higher)."""
        return self.resize[1] / self.box.width, self.resize[0] / self.box.height


def crop_window(picture: Size, resize: Size, crop: Box) -> Window:
    """A crop of the picture, which is resized as a whole before."""
    if resize == picture:
        return Window(crop, (crop.height, crop.width), Box(0, 0, crop.height, crop.width))
    return Window(Box(0, 0, *picture), resize, crop)


def random_box_window(
    picture: Size, resize: Size, crop: Size, scale: tuple[float, float], rng: np.random.Generator
) -> Window:
    """A random box of the picture, resized to the crop.

    As torchvision's RandomResizedCrop: the share of the area is uniform, and so is the logarithm of
    the aspect. Where no such box fits in ten tries, it is the largest one at the centre of an
    aspect that is allowed.

    Args:
        picture: Size of the picture.
        resize: Size that pictures are resized to where they are shown as a whole. The aspect of the
            box is that of its pixels then, so that training and testing distort alike.
        crop: Size of the result.
        scale: The least and the largest share of the area, above 0 and up to 1.
        rng: Source of the box.
    """
    height, width = picture
    square = (width / resize[1]) / (height / resize[0])  # aspect of what is resized to a square
    smallest, largest = square / LARGEST_ASPECT, square * LARGEST_ASPECT
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            top = int(rng.integers(height - rows + 1))
            left = int(rng.integers(width - columns + 1))
            break
    else:
        aspect = min(max(width / height, smallest), largest)
        rows = max(1, min(height, round(width / aspect)))
        columns = max(1, min(width, round(height * aspect)))
        top, left = (height - rows) // 2, (width - columns) // 2
    return Window(Box(top, left, rows, columns), crop, Box(0, 0, *crop))
