"""The images of a clip straight from its video, with its flow computed in memory.

They are those that a store file made with the same settings holds, but for what JPEG changes there.
A clip takes many times as long as from a store: it decodes its video from the start, since a jump
into it is not sure to give the same frames in every format, and computes its flow anew.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.algorithms import video_flow
from flow.encoding import encode
from flow.errors import InputError
from flow.scaling import scaled
from flow.settings import Settings
from flow.sources import open_video, origin
from flow.video import grey
from twostream.streams import Stream

_PAIRS = 16  # of frames, whose flow is in memory as floats at a time
_OF_FILES = ("codec", "quality", "rgb")  # settings that only say how a store keeps images


@dataclass(frozen=True)
class Decoded:
    """One stream of a video file, or of a folder of images; see ``twostream.data.source.Source``.

    Attributes:
        path: The video.
        stream: "rgb" or "flow".
        settings: Which frames are taken, at which size, and how flow is computed and encoded. The
            solver is not "auto".

    Raises:
        InputError: On reading: a video that is damaged, has one frame, or is no video.
    """

    path: Path
    stream: Stream
    settings: Settings

    @property
    def frames(self) -> int:
        """How many frames are taken; the first time, the video is decoded to its end."""
        return _count(self.path, self.settings.step)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames (len(indices), H, W, 3) RGB, or flow images (len(indices), H, W, 2)."""
        distinct, rows = np.unique(indices, return_inverse=True)
        images = self._frames(distinct) if self.stream == "rgb" else self._flow_images(distinct)
        return images[rows]

    def description(self) -> str:
        """What the images come from and how they are made, as JSON."""
        made = {k: v for k, v in self.settings.recorded().items() if k not in _OF_FILES}
        values = {"origin": origin(self.path), "version": self.settings.version(), **made}
        return json.dumps(values, indent=1) + "\n"

    def _frames(self, ascending: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames by their indices; nothing behind the last of them is decoded."""
        step, wanted = self.settings.step, set(ascending.tolist())
        taken = islice(open_video(self.path), 0, int(ascending[-1]) * step + 1, step)
        frames = [
            scaled(frame, self.settings.short_side)
            for index, frame in enumerate(taken)
            if index in wanted
        ]
        if len(frames) < len(wanted):
            raise InputError(f"{self.path} has become shorter meanwhile; start again.")
        return np.stack(frames)

    def _flow_images(self, ascending: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Flow images by their indices; flow t goes from frame t to frame t + 1."""
        needed = np.union1d(ascending, ascending + 1)
        greys = np.stack([grey(frame) for frame in self._frames(needed)])
        places = np.searchsorted(needed, ascending)
        return np.concatenate(
            [self._encoded_flow(greys[run[0] : run[-1] + 2]) for run in _runs(places)]
        )

    def _encoded_flow(self, greys: NDArray[np.uint8]) -> NDArray[np.uint8]:
        settings = self.settings
        # One thread: each processor has a worker of its own.
        flow = video_flow(greys, settings.algorithm, settings.params, settings.solver, threads=1)
        return encode(flow, settings.bound, settings.encoding)


def _runs(ascending: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Numbers that follow each other, not too many at a time."""
    for run in np.split(ascending, np.flatnonzero(np.diff(ascending) != 1) + 1):
        for start in range(0, len(run), _PAIRS):
            yield run[start : start + _PAIRS]


@cache
def _count(path: Path, step: int) -> int:
    """How many frames are taken; what a header says of it is often wrong."""
    frames = sum(1 for _ in islice(open_video(path), 0, None, step))
    if frames < 2:
        raise InputError(f"{path} has one frame; give a video of two or more.")
    return frames
