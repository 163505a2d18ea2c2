"""The annotated video of a prediction, as a file."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.files import atomic
from flow.pipeline import ahead
from twostream.prediction import Predictor
from twostream.prediction.drawing import Painter
from twostream.prediction.following import Following
from twostream.prediction.result import Prediction

if TYPE_CHECKING:
    from av.video.stream import VideoStream

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""The containers by the ends of their names."""

CODECS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libopenh264": {"b": "4000000"},
    "mpeg4": {"b": "8000000"},
}
"""Encoders, the first that this PyAV has, with their options: H.264, which every player plays."""

_BT709 = 1  # in ITU-T H.273, of primaries, transfer and matrix alike


def annotate(
    predictor: Predictor, video: Path | NDArray[np.uint8], out: Path, progress: bool = False
) -> Prediction:
    """Predict, and write the video with its flow in colour beside it and bars of the top classes.

    Drawing and encoding go on while the next frames are answered.

    Args:
        predictor: Of the run.
        video: As for ``Predictor``.
        out: The file to write, whole or not at all: .mp4, .mov or .mkv.
        progress: Whether to show on stderr how far the work is.

    Raises:
        InputError: As ``Predictor``, and for a file that cannot be written.
    """
    container = FORMATS.get(out.suffix.lower())
    if container is None:
        raise InputError(f"{out} is no name of a video; give one that ends in .mp4, .mov or .mkv.")
    if isinstance(video, Path) and out.exists() and video.exists() and out.samefile(video):
        raise InputError(f"{out} would be written over itself; give another name.")
    following = predictor.follow(video, progress=progress)
    try:
        with (
            atomic(out) as file,
            closing(ahead(_pictures(predictor, following))) as pictures,
        ):
            # FFmpeg opens by its name what it goes through twice.
            write_video(Path(file.name), container, pictures, following.fps)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); give another.") from error
    return following.prediction()


def _pictures(predictor: Predictor, following: Following) -> Iterator[NDArray[np.uint8]]:
    settings = predictor.settings
    painter = Painter(
        predictor.classes,
        following.frames,
        following.fps,
        settings.bound,
        settings.encoding,
        with_flow="flow" in predictor.streams,
    )
    for shown in following:
        yield painter.picture(shown)


def write_video(
    path: Path, container: str, pictures: Iterable[NDArray[np.uint8]], fps: float
) -> None:
    """Write pictures as a video in 4:2:0 and BT.709.

    Args:
        path: An existing file that is written over.
        container: One of the values of ``FORMATS``.
        pictures: uint8 (h, w, 3) RGB, of one even height and width.
        fps: Pictures a second; 25 where it is 0.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    codec = choose_codec()
    rate = Fraction(fps).limit_denominator(1001) or Fraction(25)
    # With its index in front, a browser begins before it has the whole file.
    options = {} if container == "matroska" else {"movflags": "faststart"}
    # An absolute path: FFmpeg takes "a:b" for an address.
    with av.open(str(path.absolute()), "w", format=container, options=options) as output:
        added = output.add_stream(codec, rate=rate, options=CODECS[codec])
        stream = cast("VideoStream", added)
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


def choose_codec() -> str:
    """The first of ``CODECS`` that can be written here.

    Raises:
        InputError: None can.
    """
    import av

    for name in CODECS:
        try:
            av.Codec(name, "w")
        except ValueError:
            continue
        return name
    raise InputError(
        "The PyAV that is installed cannot write videos; install the one of PyPI "
        "(pip install --force-reinstall av)."
    )
