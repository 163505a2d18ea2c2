"""What a prediction says of a video."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A class, and its probability from 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Window:
    """What one clip says.

    Attributes:
        start: Its first frame, from 0, of those that were taken.
        end: The frame behind its last one.
        probabilities: float64 (classes,).
    """

    start: int
    end: int
    probabilities: Probabilities

    def __repr__(self) -> str:
        return f"Window({self.start} to {self.end}, {len(self.probabilities)} classes)"


@dataclass(frozen=True)
class Span:
    """A time over which one class is the most probable.

    Attributes:
        start: Its first frame, from 0.
        end: The frame behind its last one.
        label: The class.
        probability: Its mean over the windows that begin in this time.
    """

    start: int
    end: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a run says of a video.

    Attributes:
        video: Its name.
        classes: Names.
        probabilities: float64 (classes,); of all streams together.
        streams: The same of each stream alone, by its name.
        windows: In the order of time; they cover the video.
        frames: Frames that were taken of the video.
        fps: Frames a second of those; 0 where not known.
        long: Whether there is more of the video than its test clips see, so that the windows say
            more than they do.
    """

    video: str
    classes: tuple[str, ...]
    probabilities: Probabilities
    streams: Mapping[str, Probabilities]
    windows: tuple[Window, ...]
    frames: int
    fps: float
    long: bool

    def __repr__(self) -> str:
        return f"Prediction({self.video!r}, {self.frames} frames, {self.top(1)[0]})"

    def top(self, count: int = 5) -> tuple[Choice, ...]:
        """The most probable classes of the video, the first one first."""
        return top(self.classes, self.probabilities, count)

    def seconds(self, frame: int) -> float | None:
        """When a frame is shown; None where the rate is not known."""
        return frame / self.fps if self.fps else None

    def timeline(self) -> tuple[Span, ...]:
        """The most probable class over time; each window counts up to where the next begins."""
        ends = [window.start for window in self.windows[1:]] + [self.frames]
        best = [int(window.probabilities.argmax()) for window in self.windows]
        spans = []
        for place, group in groupby(range(len(best)), key=best.__getitem__):
            members = list(group)
            mean = np.mean([self.windows[k].probabilities[place] for k in members])
            start = self.windows[members[0]].start
            spans.append(Span(start, ends[members[-1]], self.classes[place], float(mean)))
        return tuple(spans)


def top(classes: tuple[str, ...], probabilities: Probabilities, count: int) -> tuple[Choice, ...]:
    """The ``count`` most probable classes, or all where there are fewer.

    Raises:
        InputError: Less than one.
    """
    if count < 1:
        raise InputError(f"The {count} best classes are asked for; give 1 or more.")
    # Of equal ones the first in the list comes first, on every machine.
    order = np.argsort(-probabilities, kind="stable")[:count]
    return tuple(Choice(classes[place], float(probabilities[place])) for place in order)
