"""The clips that pass a network together: which they are, in what parts, and who reads them.

Which clips a training step sees depends on the seed and the step alone, so that a training can go
on from any step, with other workers and on other machines. Clips to test on come in the order of
their videos.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Sampler

from twostream.data.annotations import Video
from twostream.data.clips import (
    TestClips,
    TrainingClips,
    batches,
    epoch_order,
    worker_context,
    worker_init,
)
from twostream.distributed import World
from twostream.experiments import Experiment
from twostream.interruption import shielded
from twostream.protocols import Protocol
from twostream.runs import Run
from twostream.streams import Stream

Key = tuple[int, int]
TestKey = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """Clips that pass the network together.

    Attributes:
        clips: float32 (N, C, T, H, W).
        labels: int64 (N,).
        videos: int64 (N,); the place of each clip's video in the list.
    """

    clips: Tensor
    labels: Tensor
    videos: Tensor


class Keys(Sampler[list[Key]]):
    """Keys (epoch, video) of the parts of this process, from a step on.

    Epochs follow each other without a gap: a step of 128 clips from 80 videos takes all 80 once
    and 48 of them again.

    Args:
        videos: Videos on the training list.
        experiment: Tells the clips a step, and in what parts.
        start: Steps that are done.
        world: Whose share of each step is read.
    """

    def __init__(self, videos: int, experiment: Experiment, start: int, world: World) -> None:
        self.videos = videos
        self.experiment = experiment
        self.start = start
        self.world = world

    def __iter__(self) -> Iterator[list[Key]]:
        at_once = self.experiment.clips_at_once
        for step in range(self.start, self.experiment.steps):
            share = self.world.share(self._of_step(step))
            for first in range(0, len(share), at_once):
                yield list(share[first : first + at_once])

    def _of_step(self, step: int) -> list[Key]:
        draws = range(step * self.experiment.batch, (step + 1) * self.experiment.batch)
        keys = [divmod(draw, self.videos) for draw in draws]
        return [(epoch, self._order(epoch)[place]) for epoch, place in keys]

    def _order(self, epoch: int) -> tuple[int, ...]:
        return epoch_order(self.videos, self.experiment.seed, epoch)


def training_clips(run: Run, videos: tuple[Video, ...]) -> TrainingClips:
    """The data set that a run trains on."""
    experiment = run.experiment
    return TrainingClips(
        run.data.store,
        videos,
        run.stream,
        length=experiment.clip_length,
        geometry=experiment.geometry(),
        seed=experiment.seed,
        short=experiment.short,
        augmentation=experiment.augmentation(),
    )


def steps(
    clips: TrainingClips, experiment: Experiment, start: int, workers: int, world: World
) -> Iterator[list[Part]]:
    """The parts of each step that this process computes, from step ``start`` + 1 on."""
    loader = DataLoader(
        clips,
        batch_sampler=Keys(len(clips), experiment, start, world),
        num_workers=workers,
        worker_init_fn=worker_init,
        multiprocessing_context=worker_context(workers),
        pin_memory=world.device.type == "cuda",
        generator=Generator(),  # or it would draw from dropout's numbers
    )
    clips_a_step = len(world.share(range(experiment.batch)))
    parts: list[Part] = []
    for tensors, labels, videos in read(loader):
        parts.append(Part(tensors, labels, videos))
        if sum(len(part.labels) for part in parts) == clips_a_step:
            yield parts
            parts = []


def protocol_clips(
    store: Path, videos: tuple[Video, ...], stream: Stream, protocol: Protocol
) -> TestClips:
    """The data set of the clips that a protocol takes of each video, but for mirror images."""
    return TestClips(
        store,
        videos,
        stream,
        length=protocol.length,
        clips=protocol.clips,
        geometry=protocol.geometry,
        short=protocol.short,
        crops=protocol.places,
    )


def packed_loader(
    clips: TestClips,
    at_once: int,
    workers: int,
    *,
    places: Iterable[int] | None = None,
    pin: bool = False,
    stay: bool = False,
) -> "DataLoader[Any]":
    """What gives the clips of one video after the other, packed into parts of one size.

    Args:
        clips: Of which videos, and which clips.
        at_once: Crops of clips in a part; but one clip with all its crops at least.
        workers: Processes that read.
        places: Of the videos wanted, in this order; all where not given.
        pin: Into memory that a GPU copies from by itself.
        stay: Whether workers stay when all is read, to read it again.
    """
    places = range(len(clips)) if places is None else places
    counts = [(place, clips.count(place)) for place in places]
    return DataLoader(
        clips,
        batch_sampler=packed(counts, max(1, at_once // clips.crops)),
        collate_fn=_together,
        num_workers=workers,
        worker_init_fn=worker_init,
        multiprocessing_context=worker_context(workers),
        persistent_workers=stay and workers > 0,
        pin_memory=pin,
        generator=Generator(),  # or it would draw from the numbers of a training
    )


def packed(counts: Iterable[tuple[int, int]], most: int) -> list[list[TestKey]]:
    """Keys (video, first, stop) of all clips, in parts of ``most`` clips; the last may have less.

    Args:
        counts: Each video's place, and how many clips it has.
        most: 1 or more.
    """
    parts: list[list[TestKey]] = []
    room = 0
    for video, count in counts:
        first = 0
        while first < count:
            if room == 0:
                parts.append([])
                room = most
            stop = min(count, first + room)
            parts[-1].append((video, first, stop))
            room -= stop - first
            first = stop
    return parts


def _together(items: list[tuple[Tensor, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of several videos, with the label and the place of each."""
    counts = torch.tensor([len(clips) for clips, _, _ in items])
    labels, places = torch.tensor([item[1:] for item in items]).unbind(1)
    clips = torch.cat([item[0] for item in items])
    return clips, labels.repeat_interleave(counts), places.repeat_interleave(counts)


def read_parts(loader: "DataLoader[Any]") -> Iterator[Part]:
    """The parts that `packed_loader` reads."""
    for clips, labels, videos in read(loader):
        yield Part(clips, labels, videos)


def by_video(parts: Iterable[Part], of: Callable[[Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Each video's place and what ``of`` gives for all its clips, in the order of the videos.

    Args:
        parts: Of `read_parts`.
        of: Takes clips (N, C, T, H, W) to values (N, ...).
    """
    video = -1
    rows: list[Tensor] = []
    for part in parts:
        values = of(part.clips)
        for place in torch.unique_consecutive(part.videos).tolist():
            if place != video and rows:
                yield video, torch.cat(rows)
                rows = []
            video = place
            rows.append(values[part.videos == place])
    if rows:
        yield video, torch.cat(rows)


def read(loader: "DataLoader[Any]") -> Iterator[Any]:
    """What the loader gives, read by processes that leave Ctrl-C and SIGTERM to this one."""
    with shielded():
        started: Any = iter(loader)
    yield from batches(started)
