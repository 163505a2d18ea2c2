"""Quick extractions of tiny videos, whose motion is known."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import video_files
from flow import engines
from flow.errors import InputError
from flow.extract import Summary, extract
from flow.settings import Settings
from flow.tvl1 import TVL1Params

HEIGHT, WIDTH, FPS = 24, 32, 10
QUICK = Settings(
    solver="opencv",
    params=TVL1Params(scales=2, warps=2, inner_iterations=5, outer_iterations=1, median=1),
)


def places(count: int, seed: int) -> NDArray[np.float64]:
    """Where a texture is in each frame (count, 2): up to a pixel from where it was before."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).cumsum(axis=0)


def write_video(path: Path, count: int = 4, seed: int = 0, codec: str = "mjpeg") -> Path:
    """A video of a texture that moves as ``places`` says."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (4 * WIDTH, 4 * HEIGHT))
    frames = []
    for x, y in places(count, seed):
        shift = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(texture, shift, (4 * WIDTH, 4 * HEIGHT), borderMode=cv2.BORDER_WRAP)
        frames.append(moved[HEIGHT : 2 * HEIGHT, WIDTH : 2 * WIDTH])
    return video_files.write(path, frames, codec, rate=FPS)


def through_jpeg(frame: NDArray[np.uint8], quality: int = 95) -> NDArray[np.uint8]:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def run(videos: Path, store: Path, settings: Settings = QUICK, workers: int = 1) -> Summary:
    return extract(videos, store, settings, workers=workers, progress=False)


def in_this_process(
    function: Callable[[Any, engines.Tell], Any], tasks: Sequence[Any], workers: int
) -> Iterator[Any]:
    """Stands for ``engines.run``: the tasks one after the other, without another process."""
    for task in tasks:
        try:
            yield engines.Done(task, function(task, lambda units: None))
        except InputError as error:
            yield engines.Failed(task, str(error))
