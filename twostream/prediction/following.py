"""The way through a video: its clips are answered as they become whole, its frames handed on."""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flow.errors import InputError
from flow.pipeline import ahead
from flow.progress import progress_bar
from flow.settings import Settings
from twostream.data.sampling import even_runs, positions
from twostream.experiments import Experiment
from twostream.fusion import Fusion, combine
from twostream.prediction.network import StreamNetwork
from twostream.prediction.parts import Frames, Part, count_frames, in_parts, with_flow
from twostream.prediction.result import Prediction, Window
from twostream.scores import log_of_mean, softmax

Logits = NDArray[np.float32]
Answers = dict[int, list[Logits]]
"""Logits (classes,) of each stream, by the first position of a clip."""


@dataclass(frozen=True)
class Clips:
    """Which clips of a video are answered.

    Attributes:
        tested: int64 (N, T); positions of the test clips.
        windows: int64 (W, T); of the windows, which cover the video: the test clips, where these
            do.
        long: Whether they do not.
    """

    tested: NDArray[np.int64]
    windows: NDArray[np.int64]
    long: bool

    @classmethod
    def of(cls, count: int, experiment: Experiment) -> "Clips":
        """Those of a video of ``count`` positions."""
        length, short = experiment.clip_length, experiment.short
        tested = even_runs(count, length, experiment.test_clips, short)
        long = count > length * experiment.test_clips
        windows = even_runs(count, length, math.ceil(count / length), short) if long else tested
        return cls(tested, windows, long)

    def distinct(self) -> dict[int, NDArray[np.int64]]:
        """All clips, each once, by their first positions in ascending order."""
        runs = {int(run[0]): run for run in (*self.tested, *self.windows)}
        return dict(sorted(runs.items()))


@dataclass(frozen=True)
class Shown:
    """A frame, and what is known of it.

    Attributes:
        index: Its place in the video, from 0.
        frame: uint8 (H, W, 3) RGB.
        flow: To the next frame, encoded uint8 (H, W, 2); None of the last frame, or without flow.
        window: Of all windows the one whose middle is nearest.
    """

    index: int
    frame: NDArray[np.uint8]
    flow: NDArray[np.uint8] | None
    window: Window


class Following:
    """The frames of a video in their order, each ``Shown``; behind the last one, the prediction.

    Args:
        name: Of the video.
        video: Its frames.
        networks: Of the streams.
        fusion: Of these.
        settings: Of the frames and the flow.
        progress: Whether to show on stderr how far the work is.

    Attributes:
        frames: Frames that are taken.
        fps: Frames a second of those; 0 where not known.
        clips: Which are answered.

    Raises:
        InputError: Here or in the loop: a video that is damaged or has one frame.
    """

    def __init__(
        self,
        name: str,
        video: Frames,
        networks: Sequence[StreamNetwork],
        fusion: Fusion,
        settings: Settings,
        progress: bool,
    ) -> None:
        self._name, self._video, self._networks = name, video, networks
        self._fusion, self._settings, self._progress = fusion, settings, progress
        self.fps = video.fps / settings.step
        self.frames = count_frames(video, settings.step)
        if self.frames < 2:
            raise InputError(f"{name} has one frame; give a video of two or more.")
        self.clips = Clips.of(positions(self.frames), networks[0].experiment)
        self._answers: Answers = {}

    def __iter__(self) -> Iterator[Shown]:
        self._answers = {}
        windows: dict[int, Window] = {}
        waiting: deque[tuple[int, NDArray[np.uint8], NDArray[np.uint8] | None]] = deque()
        nearest, shown = self._nearest(), 0
        with ExitStack() as stack:
            parts = stack.enter_context(
                closing(ahead(in_parts(self._video, self._settings, self.frames)))
            )
            if any(network.stream == "flow" for network in self._networks):
                parts = stack.enter_context(closing(ahead(with_flow(parts, self._settings))))
            bar = stack.enter_context(progress_bar(self.frames - 1, " frames", self._progress))
            for part, answers in answered(self._networks, parts, self.clips.distinct()):
                self._answers |= answers
                windows |= {start: self._window(start) for start in answers}
                waiting.extend(_frames_of(part, last=part.first + len(part) == self.frames - 1))
                while waiting and nearest[waiting[0][0]] in windows:
                    index, frame, flow = waiting.popleft()
                    yield Shown(index, frame, flow, windows[nearest[index]])
                    shown += 1
                bar.update(len(part))
        if shown < self.frames:
            raise InputError(f"{self._name} has become shorter meanwhile; start again.")

    def prediction(self) -> Prediction:
        """What the video is; once its frames have been gone through."""
        clips = [
            np.stack([self._answers[start][k] for start in self.clips.tested[:, 0].tolist()])
            for k in range(len(self._networks))
        ]
        videos = [_video_logits(each, self._fusion) for each in clips]
        alone = zip(self._networks, videos, self._fusion.temperatures, strict=True)
        return Prediction(
            self._name,
            self._networks[0].classes,
            softmax(combine(videos, self._fusion)),
            {network.stream: softmax(logits / heat) for network, logits, heat in alone},
            tuple(self._window(start) for start in self._starts()),
            self.frames,
            self.fps,
            self.clips.long,
        )

    def _starts(self) -> list[int]:
        """First positions of the windows, each once."""
        return sorted(set(self.clips.windows[:, 0].tolist()))

    def _window(self, start: int) -> Window:
        end = min(start + self.clips.windows.shape[1], self.frames)
        return Window(start, end, softmax(combine(self._answers[start], self._fusion)))

    def _nearest(self) -> NDArray[np.int64]:
        """The first position of the window whose middle is nearest to each frame."""
        starts = np.array(self._starts())
        between = (starts[1:] + starts[:-1] + self.clips.windows.shape[1] - 1) / 2
        chosen: NDArray[np.int64] = starts[np.searchsorted(between, np.arange(self.frames))]
        return chosen


def answered(
    networks: Sequence[StreamNetwork],
    parts: Iterable[Part],
    runs: Mapping[int, NDArray[np.int64]],
) -> Generator[tuple[Part, Answers], None, None]:
    """Each part of a video, with the answers to the clips that end in it.

    Args:
        networks: One a stream.
        parts: Of the video, in their order.
        runs: Positions (T,) of each clip by its first one, in ascending order.
    """
    waiting = deque(runs.items())
    views: dict[int, list[Tensor]] = {}
    for part in parts:
        seen = [network.views(_images(part, network)) for network in networks]
        for k in range(len(part)):
            views[part.first + k] = [view[:, k] for view in seen]
        answers: Answers = {}
        while waiting and int(waiting[0][1].max()) in views:
            start, run = waiting.popleft()
            answers[start] = [
                network.logits(torch.stack([views[int(t)][k] for t in run], dim=1))
                for k, network in enumerate(networks)
            ]
        needed = waiting[0][0] if waiting else math.inf
        for passed in [position for position in views if position < needed]:
            del views[passed]
        yield part, answers


def _images(part: Part, network: StreamNetwork) -> NDArray[np.uint8]:
    """What a stream takes of a part: an image a position."""
    if network.stream == "rgb":
        return part.frames[:-1]
    assert part.flow is not None  # it has gone through `with_flow`
    return part.flow


def _frames_of(
    part: Part, last: bool
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """The frames of a part that do not begin the next one: place, frame and flow."""
    for k, frame in enumerate(part.frames if last else part.frames[:-1]):
        flow = part.flow[k] if part.flow is not None and k < len(part) else None
        yield part.first + k, frame, flow


def _video_logits(clips: Logits, fusion: Fusion) -> Logits:
    """A stream's logits (classes,) of a video by those of its clips (N, classes), as in `fuse`."""
    if fusion.rule == "logits":
        return np.asarray(clips.mean(axis=0, dtype=np.float64), np.float32)
    return log_of_mean(softmax(clips), np.ones(len(clips)))
