"""The annotated video of a prediction, as a file."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.files import atomic
from flow.pipeline import ahead
from flow.side_by_side import FORMATS, write_video
from twostream.prediction import Predictor
from twostream.prediction.drawing import Painter
from twostream.prediction.following import Following
from twostream.prediction.result import Prediction

CODECS = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libopenh264": {"b": "4000000"},
    "mpeg4": {"b": "8000000"},
}
"""Encoders, the first that this PyAV has, with their options: H.264, which every player plays."""


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
    codec = choose_codec()
    following = predictor.follow(video, progress=progress)
    try:
        with (
            atomic(out) as file,
            closing(ahead(_pictures(predictor, following))) as pictures,
        ):
            # FFmpeg opens by its name what it goes through twice.
            write_video(Path(file.name), container, pictures, following.fps, codec, CODECS[codec])
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
