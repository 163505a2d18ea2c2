"""The picture of a moment: the frame, its flow in colour beside it, and bars of the top classes."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flow.colour import colour, wheel
from flow.encoding import Scheme, decode
from flow.panels import letter_size, panel_size
from twostream.prediction.following import Shown
from twostream.prediction.lettering import font_for, shortened
from twostream.prediction.result import top
from twostream.prediction.words import clock

PAPER, INK, PALE = "#16181c", "#f2f2f2", "#9aa0a8"
BEST, OTHER, TRACK = "#4f9dff", "#5b6675", "#2a2e35"

ROWS = 5
"""Classes that are shown, at most."""

_LARGEST = 720, 720  # height and width of a panel
_NARROWEST = 26  # widths of a letter, so that the bars have room beside the names
_GROWTH = 1.1  # by which motion exceeds the full colour before the scale follows it


class Painter:
    """Draws the moments of one video, in their order, at one size.

    The colours of flow get their scale from the fastest motion so far: the length that one vector
    in 200 exceeds.

    Args:
        classes: Names.
        frames: Of the video.
        fps: Frames a second; 0 where not known.
        bound: Motion in pixels that the encoded flow holds.
        encoding: Of the flow.
        with_flow: Whether there is flow to show.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        frames: int,
        fps: float,
        bound: float,
        encoding: Scheme,
        with_flow: bool,
    ) -> None:
        self._classes, self._frames, self._fps = classes, frames, fps
        self._bound, self._encoding, self._with_flow = bound, encoding, with_flow
        self._names = 0  # width of their column
        self._full, self._table = 0.0, np.zeros((256, 256, 3), np.uint8)
        self._flow: NDArray[np.uint8] | None = None

    def picture(self, shown: Shown) -> NDArray[np.uint8]:
        """uint8 (h, w, 3) RGB, of which h and w are even: H.264 halves the size of the colours."""
        height, width = panel_size(shown.frame.shape[0], shown.frame.shape[1], _LARGEST)
        panels = [_fitted(shown.frame, height, width)]
        if self._with_flow:
            panels.append(self._flow_panel(shown, height, width))
        em = letter_size(len(panels) * width)
        total = max(len(panels) * width, _NARROWEST * em)
        rows = min(ROWS, len(self._classes))
        size = _even(total), _even(height + round((1.6 * rows + 2.4) * em))
        image = Image.new("RGB", size, PAPER)
        left = (size[0] - len(panels) * width) // 2
        for place, panel in enumerate(panels):
            image.paste(Image.fromarray(panel), (left + place * width, 0))
        draw = ImageDraw.Draw(image)
        self._draw_heading(image, draw, shown.index, height + round(1.1 * em), em)
        self._draw_bars(draw, shown, height + round(2.0 * em), em)
        return np.asarray(image)

    def _draw_heading(
        self, image: Image.Image, draw: ImageDraw.ImageDraw, index: int, middle: int, em: int
    ) -> None:
        """When it is, and what the full colour of the flow is."""
        now, end = (clock(frame, self._fps) for frame in (index, self._frames))
        heading = f"{now} of {end}" if self._fps else f"frame {index + 1} of {self._frames}"
        draw.text((em, middle), heading, PALE, font_for(heading, em), anchor="lm")
        if not self._with_flow:
            return
        scale = f"{self._full:.1f} px a frame"
        right, font = image.width - em, font_for(scale, em)
        draw.text((right, middle), scale, PALE, font, anchor="rm")
        disc = Image.fromarray(wheel(round(1.3 * em)))
        place = round(right - font.getlength(scale) - 0.5 * em) - disc.width
        image.paste(disc, (place, middle - disc.height // 2), disc)

    def _draw_bars(self, draw: ImageDraw.ImageDraw, shown: Shown, upper: int, em: int) -> None:
        width = draw.im.size[0]
        names = self._name_width(em, round(0.45 * width))
        begin, end = names + 2 * em, width - round(5.5 * em)
        for row, choice in enumerate(top(self._classes, shown.window.probabilities, ROWS)):
            middle = upper + round((row + 0.5) * 1.6 * em)
            name = shortened(choice.label, em, names)
            draw.text((em, middle), name, INK, font_for(name, em), anchor="lm")
            upper_left, lower = (begin, middle - em // 3), middle + em // 3
            draw.rectangle((*upper_left, end, lower), TRACK)
            length = round((end - begin) * choice.probability)
            if length > 0:
                fill = BEST if row == 0 else OTHER
                draw.rectangle((*upper_left, begin + length, lower), fill)
            share = f"{choice.probability:.1%}"
            draw.text((width - em, middle), share, INK, font_for(share, em), anchor="rm")

    def _name_width(self, em: int, most: int) -> int:
        """Of the column of names: as wide as the longest one needs, as far as there is room."""
        if not self._names:
            names = (shortened(name, em, most) for name in self._classes)
            widest = max(font_for(name, em).getlength(name) for name in names)
            self._names = max(6 * em, math.ceil(widest))
        return self._names

    def _flow_panel(self, shown: Shown, height: int, width: int) -> NDArray[np.uint8]:
        if shown.flow is not None:
            self._flow = shown.flow
        if self._flow is None:
            return np.full((height, width, 3), 255, np.uint8)
        codes = self._flow  # the last frame has no flow: it keeps that of the one before
        if height < codes.shape[0]:
            codes = _fitted(codes, height, width)
        self._follow_scale(codes)
        return _fitted(self._table[codes[..., 1], codes[..., 0]], height, width)

    def _follow_scale(self, codes: NDArray[np.uint8]) -> None:
        """Paint all codes anew where motion has become faster than the full colour."""
        flow = decode(codes, self._bound, self._encoding)
        # A step of the codes is what noise alone reaches.
        fast = max(
            float(np.quantile(np.hypot(flow[..., 0], flow[..., 1]), 0.995)), self._bound / 127
        )
        if fast > self._full * _GROWTH or not self._full:
            self._full = fast
            y, x = np.mgrid[:256, :256].astype(np.uint8)
            motion = decode(np.stack([x, y], axis=-1), self._bound, self._encoding)
            self._table = colour(motion, fast * (1 + 1e-5))


def _fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The image at another size: the mean of pixels that become one, or between pixels."""
    if image.shape[:2] == (height, width):
        return image
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    resized: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=how)
    return resized


def _even(length: int) -> int:
    return length + length % 2
