"""The clips of each step: laws of the order, of its parts, and of the shares of processes."""

from dataclasses import replace

import pytest
import torch

from twostream.distributed import World
from twostream.experiments import demo
from twostream.feeding import Keys

ALONE = World(torch.device("cpu"))


def keys(batch: int, at_once: int, videos: int = 10, start: int = 0, world: World = ALONE) -> list:
    experiment = replace(demo(), batch=batch, clips_at_once=at_once, steps=5)
    return list(Keys(videos, experiment, start, world))


def test_a_step_of_more_clips_than_videos_takes_each_equally_often() -> None:
    parts = keys(batch=16, at_once=5)
    assert [len(part) for part in parts] == 5 * [5, 5, 5, 1]
    flat = [key for part in parts for key in part]
    assert sorted(flat) == [(epoch, video) for epoch in range(8) for video in range(10)]


def test_a_later_start_gives_the_same_steps() -> None:
    assert keys(batch=16, at_once=5, start=2) == keys(batch=16, at_once=5)[8:]


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_step(size: int) -> None:
    """Together the clips of one process's step, none twice."""
    whole = keys(batch=8, at_once=8)
    shares = [
        keys(batch=8, at_once=8, world=World(torch.device("cpu"), rank, size))
        for rank in range(size)
    ]
    for step, part in enumerate(whole):
        together = [key for share in shares for key in share[step]]
        assert sorted(together) == sorted(part)


def test_the_order_differs_between_epochs_and_seeds() -> None:
    epochs = [[video for _, video in part] for part in keys(batch=10, at_once=10)]
    assert len({tuple(epoch) for epoch in epochs}) == 5
