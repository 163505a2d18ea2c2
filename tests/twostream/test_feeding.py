"""Laws of the clips of each step and of its shares, and of how clips to test on are packed."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twostream.distributed import World
from twostream.experiments import demo
from twostream.feeding import Keys, Part, by_video, packed

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


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 50))
def test_packed_parts_are_full_and_hold_every_clip_once_in_order(
    counts: list[int], most: int
) -> None:
    parts = packed(enumerate(counts), most)
    keys = [key for part in parts for key in part]
    clips = [(video, clip) for video, first, stop in keys for clip in range(first, stop)]
    assert clips == [(video, clip) for video, count in enumerate(counts) for clip in range(count)]
    sizes = [sum(stop - first for _, first, stop in part) for part in parts]
    assert all(size == most for size in sizes[:-1])
    assert all(0 < size <= most for size in sizes[-1:])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 12))
def test_parts_are_put_together_by_video(counts: list[int], size: int) -> None:
    places = torch.tensor([2 * place for place, count in enumerate(counts) for _ in range(count)])
    values = torch.arange(len(places))
    parts = [
        Part(values[first : first + size], places[first : first + size], places[first:][:size])
        for first in range(0, len(places), size)
    ]
    found = list(by_video(parts, lambda clips: -clips))
    assert [place for place, _ in found] == [2 * place for place in range(len(counts))]
    for (_, rows), expected in zip(found, values.split(counts) if counts else (), strict=True):
        assert torch.equal(rows, -expected)
