"""A contact sheet of flow: a row for each moment, a column for each of its panels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flow.colour import wheel
from flow.moments import Moment
from flow.panels import COLUMNS, EDGE, INK, PALE_INK, font, letter_size, panels, shorten

_HEADINGS = {"frame": "frame", "flow": "flow", "x": "x (bright: right)", "y": "y (bright: down)"}
_SEVERAL, _SINGLE = (300, 400), (640, 640)  # height and width of a panel at most


@dataclass(frozen=True)
class Layout:
    """Where things lie on a sheet, in pixels.

    Attributes:
        names: Of the columns.
        column: Width of each.
        heights: Of the panels of each row.
    """

    names: tuple[str, ...]
    column: int
    heights: tuple[int, ...]

    @property
    def em(self) -> int:
        """Size of the lettering, which the other lengths go by."""
        return letter_size(len(self.names) * self.column)

    @property
    def head(self) -> int:
        """Height of what is above the first row."""
        return 14 * self.em

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        width = max(self.left(len(self.names)), 46 * self.em)
        return width, self.top(len(self.heights)) - self.em

    def left(self, column: int) -> int:
        return self.em + column * (self.column + self.em)

    def top(self, row: int) -> int:
        """Of the panels; their label stands above."""
        return self.head + sum(self.heights[:row]) + (row + 1) * 2 * self.em


def sheet(
    title: str, details: str, rows: Sequence[tuple[str, Moment]], full: float
) -> NDArray[np.uint8]:
    """Put moments under each other: uint8 (h, w, 3) RGB.

    Args:
        title: Above all.
        details: Below the title.
        rows: What is written above each row, and what is shown in it.
        full: Motion in pixels that has the full colour.
    """
    largest = _SINGLE if len(rows) == 1 else _SEVERAL
    shown = [panels(moment, full, largest) for _, moment in rows]
    layout = layout_of(shown)
    image = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(image)
    em = layout.em
    within = layout.size[0] - 2 * em
    _write(draw, (em, em), title, round(1.3 * em), within)
    _write(draw, (em, round(2.8 * em)), details, em, within, PALE_INK)
    _draw_legend(image, em, full, sorted({moment.bound for _, moment in rows}))
    for column, name in enumerate(layout.names):
        _write(draw, (layout.left(column), layout.head - em), _HEADINGS[name], em, layout.column)
    for row, (label, _) in enumerate(rows):
        top = layout.top(row)
        _write(draw, (em, top - round(1.4 * em)), label, em, within, PALE_INK)
        for column, name in enumerate(layout.names):
            if name in shown[row]:
                _paste(image, shown[row][name], (layout.left(column), top))
    return np.asarray(image)


def layout_of(shown: Sequence[dict[str, NDArray[np.uint8]]]) -> Layout:
    """The layout of a sheet with these panels, row by row."""
    sizes = [row["flow"].shape for row in shown]
    names = tuple(name for name in COLUMNS if any(name in row for row in shown))
    return Layout(names, max(160, *(size[1] for size in sizes)), tuple(size[0] for size in sizes))


def _draw_legend(image: Image.Image, em: int, full: float, bounds: Sequence[float]) -> None:
    """The wheel with the motion of its full colour, and the greys with what they stand for."""
    draw = ImageDraw.Draw(image)
    top, disc = round(4.8 * em), round(6.4 * em)
    colours = Image.fromarray(wheel(disc))
    image.paste(colours, (em, top), colours)
    draw.ellipse((em, top, em + disc - 1, top + disc - 1), outline=EDGE)
    middle = top + disc // 2
    left = 2 * em + disc
    rim = f"full colour: {full:.3g} px a frame"
    _write(draw, (left, middle - round(1.3 * em)), rim, em, image.width)
    _write(draw, (left, middle + round(0.2 * em)), "no motion: white", em, image.width, PALE_INK)
    left += round(font(em).getlength(rim)) + 3 * em
    ramp = np.repeat(np.linspace(0, 255, 16 * em).astype(np.uint8)[None], em, axis=0)
    _write(draw, (left, middle - 2 * em), "x and y, as they are stored", em, image.width)
    _paste(image, np.repeat(ramp[..., None], 3, axis=-1), (left, middle - em // 2))
    bound = " or ".join(f"{bound:g}" for bound in bounds)
    for place, anchor, text in (
        (0, "lt", f"\N{MINUS SIGN}{bound}"),
        (8 * em, "mt", "0"),
        (16 * em, "rt", f"{bound} px"),
    ):
        draw.text((left + place, middle + em), text, PALE_INK, font(em), anchor=anchor)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    pixels: int,
    width: float,
    ink: str = INK,
) -> None:
    draw.text(place, shorten(text, pixels, width), ink, font(pixels))


def _paste(image: Image.Image, picture: NDArray[np.uint8], place: tuple[int, int]) -> None:
    left, top = place
    height, width = picture.shape[:2]
    ImageDraw.Draw(image).rectangle((left - 1, top - 1, left + width, top + height), outline=EDGE)
    image.paste(Image.fromarray(picture), place)
