"""Frames with their flow, one after the other: read from a store file, or computed of a video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flow.encoding import decode, encode
from flow.errors import InputError
from flow.progress import progress_bar
from flow.sources import open_video
from flow.store import StoreFile
from flow.tvl1 import tvl1
from flow.video import grey

_BOUND = 20.0
_PAIRS, _PIXELS = 32, 1 << 22  # of a video that are in memory at a time: so many at most


@dataclass(frozen=True)
class Moment:
    """A frame and its flow to the next.

    Attributes:
        number: Of the frame; the first one is 1.
        frame: uint8 (H, W, 3) RGB; None where the store holds flow alone.
        flow: float32 (H, W, 2), pixels; x to the right, y downwards.
        image: The flow as it is stored, uint8 (H, W, 2); 128 is no motion.
        bound: Motion in pixels that ``image`` can hold.
    """

    number: int
    frame: NDArray[np.uint8] | None
    flow: NDArray[np.float32]
    image: NDArray[np.uint8]
    bound: float

    def __post_init__(self) -> None:
        fit = self.frame is None or self.frame.shape == (*self.size, 3)
        if not (fit and self.flow.shape == self.image.shape == (*self.size, 2)):
            raise ValueError(f"the shapes of {self} do not fit together")
        if self.number < 1 or self.bound <= 0:
            raise ValueError(f"the number and the bound of {self} are not above 0")

    def __repr__(self) -> str:
        frame = self.frame if self.frame is None else self.frame.shape
        return (
            f"Moment(number={self.number}, frame={frame}, flow={self.flow.shape}, "
            f"image={self.image.shape}, bound={self.bound})"
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.flow.shape[0], self.flow.shape[1]


class Source(Protocol):
    """What has moments."""

    path: Path
    fps: float
    size: tuple[int, int]

    @property
    def flows(self) -> int:
        """How many moments there are: frames but for the last."""

    def moments(self, numbers: Sequence[int]) -> Iterator[Moment]:
        """The moments of the frames of these numbers, which rise.

        Raises:
            InputError: No such frame, no frame after it, or damage.
        """


class StoredMoments:
    """The moments of a store file, as ``Source``: its frames and flow images are read."""

    def __init__(self, store: StoreFile) -> None:
        self.path = store.path
        self.fps = store.meta.fps
        self.size = store.meta.height, store.meta.width
        self.flows = store.meta.flows
        self._store = store

    def moments(self, numbers: Sequence[int]) -> Iterator[Moment]:
        meta = self._store.meta
        for number in numbers:
            _check_number(self.path, number, meta.flows)
            frame = self._store.frames([number - 1])[0] if meta.rgb else None
            image = self._store.flow_images([number - 1])[0]
            flow = decode(image, meta.bound, meta.encoding)
            yield Moment(number, frame, flow, image, meta.bound)


class ComputedMoments:
    """The moments of a video, as ``Source``: its flow is computed, some pairs at a time."""

    def __init__(self, path: Path, progress: bool = False) -> None:
        self._video = open_video(path)
        self._progress = progress
        self.path, self.fps, self.size = path, self._video.fps, self._video.size

    @cached_property
    def flows(self) -> int:
        # Only decoding tells: a header's number is wrong in many videos.
        frames = 0
        with progress_bar(None, " frames", self._progress) as bar:
            for _ in self._video:
                frames += 1
                bar.update()
        _check_number(self.path, 1, frames - 1)
        return frames - 1

    def moments(self, numbers: Sequence[int]) -> Iterator[Moment]:
        _check_number(self.path, numbers[0])
        height, width = self.size
        pairs_at_once = max(1, min(_PAIRS, _PIXELS // (height * width)))
        wanted: list[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]] = []
        number = 0
        pairs = islice(pairwise(self._video), numbers[-1])
        for number, (frame, following) in enumerate(pairs, start=1):
            if number in numbers:
                wanted.append((number, frame, following))
            if len(wanted) == pairs_at_once:
                yield from _solve(wanted)
                wanted = []
        if wanted:
            yield from _solve(wanted)
        _check_number(self.path, numbers[-1], number)


def _solve(pairs: Sequence[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]) -> Iterator[Moment]:
    numbers, frames, following = zip(*pairs, strict=True)
    flows = tvl1(np.stack([grey(f) for f in frames]), np.stack([grey(f) for f in following]))
    for number, frame, flow in zip(numbers, frames, flows, strict=True):
        yield Moment(number, frame, flow, encode(flow, _BOUND), _BOUND)


def _check_number(path: Path, number: int, flows: int | None = None) -> None:
    if number < 1:
        raise InputError(f"The number of the frame is {number}; the first frame is 1.")
    if flows == 0:
        raise InputError(f"{path} has one frame; give a video of two or more.")
    if flows is not None and number > flows:
        raise InputError(
            f"{path} has no frame after frame {number}; give a number from 1 to {flows}."
        )
