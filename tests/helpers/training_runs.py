"""Runs for tests, and what it means that two of them are the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from twostream.experiments import demo
from twostream.log import read_log
from twostream.runs import Checkpoint, Data, Run
from twostream.streams import Stream


def train_command(data: Path, folder: Path, *more: str) -> list[str]:
    """Train the demo experiment on stored demo data into ``folder``, reading in this process."""
    lists, store = str(data / "annotations.csv"), str(data / "store")
    paths = ["--lists", lists, "--store", store, "--run", str(folder)]
    return ["train", "demo", *paths, "--workers", "0", *more]


def assert_equal(one: Any, two: Any) -> None:
    """Equal to the last bit, at every depth; but for times, which never repeat."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds", "waited"}:
            assert_equal(one[name], two[name])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for first, second in zip(one, two, strict=True):
            assert_equal(first, second)
    else:
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def assert_same_training(one: Path, two: Path, *checkpoints: str) -> None:
    """The checkpoints of these names, and the logs, of two runs of one stream are the same."""
    for name in checkpoints:
        first, second = (Checkpoint.load(folder / name) for folder in (one, two))
        assert_equal(first.model, second.model)
        assert_equal(first.training, second.training)
        assert first.step == second.step
    rows = [read_log(folder / "log.csv") for folder in (one, two)]
    timeless = [[replace(r, clips_per_second=0, waiting=0) for r in side] for side in rows]
    assert timeless[0] == timeless[1]


def untrained(
    folder: Path, data: Data, stream: Stream = "rgb", held_out: int = 0, **changes: Any
) -> Path:
    """The checkpoint of a network as it starts, written as if it was trained.

    ``held_out`` of its training videos count as such; ``changes`` are those to the demo's recipe.
    """
    run = Run(replace(demo(), precision="fp32", **changes), data, stream)
    annotations, _ = data.annotations("train")
    torch.manual_seed(0)
    model = run.build(len(annotations.classes))
    ids = tuple(sorted(video.id for video in annotations.train))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(run.to_json())
    path = folder / "checkpoint.pt"
    Checkpoint(
        run,
        annotations.name,
        annotations.classes,
        trained_on=ids,
        held_out=ids[:held_out],
        list_sha256="",
        step=1,
        model=model.state_dict(),
        training={},
    ).save(path)
    return path
