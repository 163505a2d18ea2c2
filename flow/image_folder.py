"""The frames of a folder of images.

The images in a folder are one video where their names are one series: the same but for the number
of the frame, and no number left out. Images without any number in their names are in the order of
the names.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError, unreadable

# OpenCV prints past Python to stderr; whoever wants to see it sets this beforehand.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2

_KINDS = "bmp jpeg jpg pgm png ppm tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())
"""What ends the name of an image, in lower case."""

_NUMBER = re.compile("([0-9]+)")  # splits a name into text, number, text, number ... text


class ImageFolder:
    """The images in a folder, in the order of their numbers, as uint8 (H, W, 3) RGB.

    Each loop reads anew. An image is turned as its EXIF data ask for; grey becomes RGB, 16 bits
    become 8, and transparency is dropped.

    Args:
        path: The folder. Hidden images, other files and further folders in it do not matter.
        keep_readable: End the video in front of the first image that is missing or damaged instead
            of raising an error, where there is one in front of it.

    Attributes:
        path: The folder.
        decoder: What decodes it, with its version.
        fps: 0, since images state no rate.
        size: Height and width of the frames in pixels.
        damage: Why the video ends early, to be read after its name; None where it does not. Known
            for certain when a loop has ended.

    Raises:
        InputError: No such folder, no images in it, several series of them, or an image that is
            missing, damaged or of another size: when opened or in the loop.
    """

    def __init__(self, path: Path, keep_readable: bool = False) -> None:
        self.path = path
        self.decoder = f"opencv {cv2.__version__}"
        self.fps = 0.0
        self._keep_readable = keep_readable
        images = list_images(path)
        if not images:
            raise InputError(f"{path} has no images in it; give a video or a folder of images.")
        count, self._gap = _find_gap(path, images)
        if self._gap and not keep_readable:
            raise InputError(f"{path} {self._gap}; add it, or number the images without a gap.")
        self.damage = self._gap
        self._images = images[:count]
        first = _decode(images[0])
        if first is None:
            raise self._error(_damage(images[0]))
        self.size: tuple[int, int] = first.shape[:2]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self.damage = self._gap
        for path in self._images:
            image = _decode(path)
            if image is None:
                if not self._keep_readable:
                    raise self._error(_damage(path))
                self.damage = _damage(path)
                return
            self._check_size(path, image)
            yield image

    def _check_size(self, path: Path, image: NDArray[np.uint8]) -> None:
        if image.shape[:2] != self.size:
            (height, width), (first_height, first_width) = image.shape[:2], self.size
            raise InputError(
                f"{path} has {width} x {height} pixels and {self._images[0].name} has "
                f"{first_width} x {first_height}; make all images of a folder of one size."
            )

    def _error(self, damage: str) -> InputError:
        return InputError(f"{self.path} {damage}; copy it again from its source.")


def list_images(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, 9 before 10; hidden ones left out.

    Raises:
        InputError: The folder cannot be read, or a name in it is not UTF-8.
    """
    try:
        images = [path for path in folder.iterdir() if is_image(path) and not path.is_dir()]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}; make it readable.") from error
    for path in (folder, *images):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"{path} has a name that is not UTF-8; rename it.") from None
    return sorted(images, key=lambda path: (_parts(path.name), path.name))


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image, by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _parts(name: str) -> list[str | int]:
    return [int(part) if i % 2 else part for i, part in enumerate(_NUMBER.split(name))]


def _find_gap(folder: Path, images: list[Path]) -> tuple[int, str | None]:
    """How many images come before the first that is missing, and what to say of it."""
    place = _place_of_number(folder, images)
    numbers = [int(_NUMBER.split(image.stem)[place]) for image in images] if place else []
    for i, (number, following) in enumerate(pairwise(numbers)):
        if number == following:
            names = f"{images[i].name} and {images[i + 1].name}"
            raise InputError(f"{folder} has {names} for one frame; remove one of them.")
        if number + 1 < following:
            parts = _NUMBER.split(images[i].stem)
            parts[place] = str(number + 1).zfill(len(parts[place]))
            more = numbers[-1] - numbers[0] - len(numbers)
            name = "".join(parts) + images[i].suffix
            return i + 1, f"lacks {name}" + (f" and {more:,} more images" if more else "")
    return len(images), None


def _place_of_number(folder: Path, images: list[Path]) -> int:
    """Where the number of the frame stands among the parts of each name; 0 where none has any.

    It is the last number that is not the same in all names.
    """
    rows = [_NUMBER.split(image.stem) for image in images]
    if all(len(row) == 1 for row in rows):
        return 0
    places = range(1, min(len(row) for row in rows), 2)
    place = max((i for i in places if len({row[i] for row in rows}) > 1), default=-2)
    series = sorted({_series(row, place) for row in rows})
    if len(series) > 1:
        shown = ", ".join(series[:3]) + (", ..." if len(series) > 3 else "")
        raise InputError(
            f"{folder} has {len(series)} series of images ({shown}); give each a folder of its "
            "own, or take over another tool's flow with python -m flow import."
        )
    return place


def _series(row: list[str], place: int) -> str:
    """The parts of a name without the number of the frame."""
    return "".join([*row[:place], "#", *row[place:][1:]]) if len(row) > 1 else row[0]


def _damage(image: Path) -> str:
    return f"has a damaged image, {image.name}"


def _decode(path: Path) -> NDArray[np.uint8] | None:
    """An image as uint8 (H, W, 3) RGB; None where it is damaged."""
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
    except (cv2.error, MemoryError):  # an empty file, or a header that states too many pixels
        return None
    decoded: NDArray[np.uint8] | None = image
    return decoded
