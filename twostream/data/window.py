"""Which part of a picture a clip shows: pure functions of numbers.

Convention: sizes are (height, width) in pixels; rows count downwards and columns to the right,
from 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from flow.errors import InputError

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


def crop_boxes(picture: Size, crop: Size, count: int) -> tuple[Box, ...]:
    """Where the crops of a test picture lie, in it.

    Where room is odd, the smaller half lies at the top and at the left of a centre.

    Args:
        picture: Size of the picture.
        crop: Size of each crop, which fits.
        count: 1: the centre. 3: along the longer side (the width where both are equal), at its
            start, centre and end, and at the centre of the other (Feichtenhofer et al., "SlowFast
            Networks for Video Recognition", ICCV 2019, section 4). 5: the four corners, and the
            centre (Krizhevsky, Sutskever, Hinton, NIPS 2012, section 4.1).

    Raises:
        InputError: Another count.
    """
    rows, columns = picture[0] - crop[0], picture[1] - crop[1]
    centre = rows // 2, columns // 2
    if count == 1:
        places = [centre]
    elif count == 3 and picture[1] >= picture[0]:
        places = [(rows // 2, left) for left in (0, columns // 2, columns)]
    elif count == 3:
        places = [(top, columns // 2) for top in (0, rows // 2, rows)]
    elif count == 5:
        places = [*((top, left) for top in (0, rows) for left in (0, columns)), centre]
    else:
        raise InputError(f"There are {count} crops to take of a picture; give 1, 3 or 5.")
    return tuple(Box(top, left, *crop) for top, left in places)


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
