"""A video of flow: the panels of each moment side by side, in H.264, which every player plays."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flow.colour import wheel
from flow.errors import InputError
from flow.moments import Moment
from flow.panels import COLUMNS, INK, font, letter_size, panels

if TYPE_CHECKING:
    from av.video.stream import VideoStream

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""The containers by the ends of their names."""

_LARGEST = 960, 960  # height and width of a panel: many decoders take no more than 4096 in all
_GAP, _PAPER = 4, "#e0e0e0"
_BT709 = 1  # in ITU-T H.273, of primaries, transfer and matrix alike
_QUALITY = {"crf": "18"}  # hardly a difference to be seen


def side_by_side(moment: Moment, full: float) -> NDArray[np.uint8]:
    """The panels of a moment below a strip of headings: uint8 (h, w, 3) RGB, h and w even.

    Args:
        moment: What to show.
        full: Motion in pixels that has the full colour.
    """
    shown = panels(moment, full, _LARGEST)
    names = [name for name in COLUMNS if name in shown]
    height, width = shown["flow"].shape[:2]
    em = letter_size(len(names) * width)
    strip = round(1.6 * em)
    step = max(width, 11 * em) + _GAP
    # H.264 halves the size of the colours.
    size = _even(len(names) * step - _GAP), _even(strip + height)
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    middle, text = strip // 2, font(em)
    for column, name in enumerate(names):
        left = column * step
        image.paste(Image.fromarray(shown[name]), (left, strip))
        draw.text((left + _GAP, middle), name, INK, text, anchor="lm")
        if name == "flow":
            disc = Image.fromarray(wheel(round(1.3 * em)))
            image.paste(disc, (left + 3 * em, (strip - disc.height) // 2), disc)
            scale = left + round(4.8 * em), middle
            draw.text(scale, f"{full:.3g} px", INK, text, anchor="lm")
    draw.text((size[0] - _GAP, middle), f"frame {moment.number}", INK, text, anchor="rm")
    return np.asarray(image)


def check_codec() -> None:
    """Raise InputError where no H.264 can be written."""
    import av

    try:
        av.Codec("libx264", "w")
    except ValueError as error:
        raise InputError(
            "The PyAV that is installed cannot write H.264; install the one of PyPI "
            "(pip install --force-reinstall av), or give a name that ends in .png."
        ) from error


def write_video(
    path: Path,
    container: str,
    pictures: Iterable[NDArray[np.uint8]],
    fps: float,
    codec: str = "libx264",
    options: Mapping[str, str] = _QUALITY,
) -> None:
    """Write pictures as a video in 4:2:0 and BT.709, H.264 unless told otherwise.

    Args:
        path: An existing file that is written over.
        container: One of the values of ``FORMATS``.
        pictures: uint8 (h, w, 3) RGB, of one even height and width.
        fps: Pictures a second; 25 where it is 0.
        codec: FFmpeg's name of the encoder.
        options: Of the encoder.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    rate = Fraction(fps).limit_denominator(1001) or Fraction(25)
    # With its index in front, a browser begins before it has the whole file.
    layout = {} if container == "matroska" else {"movflags": "faststart"}
    # An absolute path: FFmpeg takes "a:b" for an address.
    with av.open(str(path.absolute()), "w", format=container, options=layout) as output:
        stream = cast("VideoStream", output.add_stream(codec, rate=rate, options=dict(options)))
        context = stream.codec_context
        context.pix_fmt = "yuv420p"
        context.color_primaries = context.color_trc = _BT709
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        for number, picture in enumerate(pictures):
            if number == 0:
                context.height, context.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _even(length: int) -> int:
    return length + length % 2
