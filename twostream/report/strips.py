"""Some frames of a video with their flow, small enough to stand in a page.

Where a folder holds the video and not its store file, the flow is computed.
"""

import base64
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flow.errors import InputError
from flow.moments import ComputedMoments, Moment, Source, StoredMoments
from flow.panels import panels
from flow.show import full_colour, spread
from flow.store import StoreFile
from twostream.data.source import find_paths

MOMENTS = 6
LARGEST = 120, 160  # height and width in pixels
QUALITY = 75


@dataclass(frozen=True)
class Picture:
    """A frame and its flow to the next, as data URIs of JPEG files.

    Attributes:
        number: Of the frame; the first one is 1.
        seconds: From the first frame; None where the rate is not known.
        frame: "" where the store holds flow alone.
        flow: In colour.
    """

    number: int
    seconds: float | None
    frame: str
    flow: str


@dataclass(frozen=True)
class Strip:
    """Pictures spread evenly over a video.

    Attributes:
        pictures: Six, of a short video fewer.
        full: Motion in pixels a frame that has the full colour.
        width: Of each picture, in pixels.
        height: Of each picture, in pixels.
    """

    pictures: tuple[Picture, ...]
    full: float
    width: int
    height: int


def make_strips(folder: Path | None, videos: Collection[str]) -> dict[str, Strip | str]:
    """The strip of each video, or a sentence that says why there is none.

    Args:
        folder: The store, or the folder of the videos; None where none is known.
        videos: Their ids.
    """
    if folder is None:
        return dict.fromkeys(videos, "No store is known; give it with --store.")
    if not folder.is_dir():
        return dict.fromkeys(videos, f"{folder} is not there; give the store with --store.")
    try:
        paths = find_paths(folder, videos)
    except InputError as problem:
        return dict.fromkeys(videos, str(problem))
    return {
        video: _strip(paths[video]) if video in paths else f"{folder} does not hold this video."
        for video in videos
    }


def _strip(path: Path) -> Strip | str:
    try:
        if path.suffix == ".zip":
            with StoreFile(path) as store:
                return _of(StoredMoments(store))
        return _of(ComputedMoments(path))
    except InputError as problem:
        return str(problem)


def _of(source: Source) -> Strip:
    moments = list(source.moments(spread(source.flows, MOMENTS)))
    full = full_colour(moments)
    pictures = tuple(_picture(moment, full, source.fps) for moment in moments)
    height, width = panels(moments[0], full, LARGEST)["flow"].shape[:2]
    return Strip(pictures, full, width, height)


def _picture(moment: Moment, full: float, fps: float) -> Picture:
    shown = panels(moment, full, LARGEST)
    return Picture(
        moment.number,
        (moment.number - 1) / fps if fps else None,
        _data_uri(shown["frame"]) if "frame" in shown else "",
        _data_uri(shown["flow"]),
    )


def _data_uri(picture: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
