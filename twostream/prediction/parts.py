"""A video in parts, one after the other: its frames, and the flow between them.

Whatever the length of the video, a few parts are in memory. The solver of the settings is never
"auto" here (``Settings.resolved``).
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flow.algorithms import video_flow
from flow.encoding import encode
from flow.errors import InputError
from flow.processors import usable_processors
from flow.scaling import scaled
from flow.settings import Settings
from flow.video import grey

CPU_PART = (16, 1 << 22)
"""Pairs of frames in a part at most, and pixels; but a pair for each processor at least."""

GPU_PART = (128, 1 << 24)
"""The same where a GPU solves, which takes hundreds of pairs at a time."""


class Frames(Protocol):
    """Frames uint8 (H, W, 3) RGB of one size, which can be gone through more than once."""

    @property
    def fps(self) -> float:
        """Frames a second; 0 where not known."""

    def __iter__(self) -> Iterator[NDArray[np.uint8]]: ...


@dataclass(frozen=True)
class FrameArray:
    """Frames that lie in memory.

    Attributes:
        frames: uint8 (T, H, W, 3) RGB.
        fps: Frames a second; 0 where not known.

    Raises:
        InputError: No such array, or a rate below 0.
    """

    frames: NDArray[np.uint8]
    fps: float = 0.0

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise InputError(
                f"The frames are {self.frames.dtype} {shape}; give uint8 (T, H, W, 3), RGB."
            )
        if not 0 <= self.fps < float("inf"):
            raise InputError(f"The rate is {self.fps} frames a second; give 0 or more.")

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self.frames)


@dataclass(frozen=True)
class Part:
    """Frames that follow each other, and the flow from each to the next.

    Attributes:
        first: The place of the first frame in the video, from 0.
        frames: uint8 (n + 1, H, W, 3) RGB; the last one begins the next part.
        flow: uint8 (n, H, W, 2), encoded; None where nobody asks for it.
    """

    first: int
    frames: NDArray[np.uint8]
    flow: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.frames) - 1


def count_frames(video: Iterable[object], step: int) -> int:
    """How many frames are taken of a video, by going to its end: headers are often wrong."""
    return sum(1 for _ in islice(video, 0, None, step))


def in_parts(video: Frames, settings: Settings, count: int) -> Generator[Part, None, None]:
    """The first ``count`` frames that are taken, at the size that they are taken at; no flow."""
    frames: list[NDArray[np.uint8]] = []
    first = 0
    # No more than were counted, though a recording may have gone on meanwhile.
    for frame in islice(video, 0, (count - 1) * settings.step + 1, settings.step):
        frames.append(scaled(frame, settings.short_side))
        if len(frames) > _pairs(frames[0].shape[0] * frames[0].shape[1], settings):
            yield Part(first, np.stack(frames))
            first += len(frames) - 1
            frames = frames[-1:]
    if len(frames) > 1:
        yield Part(first, np.stack(frames))


def with_flow(parts: Iterable[Part], settings: Settings) -> Generator[Part, None, None]:
    """The parts with their flow, computed and encoded as the settings say."""
    for part in parts:
        yield Part(part.first, part.frames, flow_images(part.frames, settings))


def flow_images(frames: NDArray[np.uint8], settings: Settings) -> NDArray[np.uint8]:
    """Encoded flow uint8 (T - 1, H, W, 2) between frames (T, H, W, 3)."""
    greys = np.stack([grey(frame) for frame in frames])
    threads = max(1, min(usable_processors(), len(greys) - 1))
    flow = video_flow(greys, settings.algorithm, settings.params, settings.solver, threads)
    return encode(flow, settings.bound, settings.encoding)


def _pairs(pixels: int, settings: Settings) -> int:
    """How many pairs of frames of so many pixels make a part."""
    most_pairs, most_pixels = GPU_PART if settings.solver == "cuda" else CPU_PART
    return max(usable_processors(), min(most_pairs, most_pixels // pixels))
