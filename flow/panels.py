"""What pictures of flow are put together from: the panels of one moment, and lettering."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.colour import colour
from flow.moments import Moment

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Pixel = TypeVar("Pixel", np.uint8, np.float32)

COLUMNS = ("frame", "flow", "x", "y")
INK, PALE_INK, EDGE = "#202020", "#707070", "#b0b0b0"

_ROOMY = 360  # pixels of the longer side up to which a panel is enlarged, by a whole number


def panels(moment: Moment, full: float, largest: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
    """The pictures of a moment by the names of their columns, each uint8 (h, w, 3) RGB.

    Where the store has no frames there is none; x and y are the images that it holds.

    Args:
        moment: What to show.
        full: Motion in pixels that has the full colour.
        largest: Height and width that a panel may have; larger pictures are shrunk.
    """
    height, width = size = panel_size(*moment.size, largest)
    fitted = {} if moment.frame is None else {"frame": _shrink(moment.frame, size)}
    fitted["flow"] = colour(_shrink(moment.flow, size), full)
    for name, image in zip("xy", np.moveaxis(_shrink(moment.image, size), -1, 0), strict=True):
        fitted[name] = np.repeat(image[..., None], 3, axis=-1)
    return {
        name: cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
        for name, picture in fitted.items()
    }


def panel_size(height: int, width: int, largest: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which a picture is shown: its own where it is neither small nor large.

    A small one is enlarged by a whole number, so that its pixels stay what they are.
    """
    most = min(largest[0] / height, largest[1] / width)
    factor = most if most < 1 else max(1, min(int(most), _ROOMY // max(height, width)))
    return max(1, round(height * factor)), max(1, round(width * factor))


@lru_cache
def font(pixels: int) -> "FreeTypeFont":
    """DejaVu Sans, which comes with matplotlib, in a size."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    path = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    # The basic layout draws the same whatever else is installed.
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)


def letter_size(width: int) -> int:
    """Of text in a picture of that width, in pixels: a wide one is looked at from further away."""
    return max(16, width // 90)


def shorten(text: str, pixels: int, width: float) -> str:
    """The text, without its middle where it is wider than ``width`` in the font of that size."""
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    kept, short = len(text), text
    while font(pixels).getlength(short) > width and kept > 0:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def _shrink(image: NDArray[Pixel], size: tuple[int, int]) -> NDArray[Pixel]:
    height, width = size
    if height >= image.shape[0] and width >= image.shape[1]:
        return image
    shrunk: NDArray[Pixel] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk
