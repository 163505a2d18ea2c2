"""The clips of each training step: which they are, in what parts, and who of many processes reads.

Which clips a step sees depends on the seed and the step alone, so that a training can go on from
any step, with other workers and on other machines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor
from torch.utils.data import DataLoader, Sampler

from twostream.data.annotations import Video
from twostream.data.clips import TrainingClips, batches, epoch_order, worker_context, worker_init
from twostream.distributed import World
from twostream.experiments import Experiment
from twostream.interruption import shielded
from twostream.runs import Run

Key = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """Clips that pass the network together.

    Attributes:
        clips: float32 (N, C, T, H, W).
        labels: int64 (N,).
        videos: int64 (N,); the place of each clip's video in the training list.
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


def read(loader: "DataLoader[Any]") -> Iterator[Any]:
    """What the loader gives, read by processes that leave Ctrl-C and SIGTERM to this one."""
    with shielded():
        started: Any = iter(loader)
    yield from batches(started)
