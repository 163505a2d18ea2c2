"""The checkpoints of a folder: laws of what is kept, and what is there at any moment."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flow.errors import InputError
from twostream import checkpoints as module
from twostream.checkpoints import Checkpoints, to_test
from twostream.experiments import demo
from twostream.runs import Checkpoint, Data, Run

RUN = Run(demo(), Data(Path("l"), Path("s")), "flow")


def checkpoint(step: int) -> Checkpoint:
    state = {"fc.weight": torch.full((2,), float(step))}
    training = {"trainer": {"best": None, "momentum": [1.5]}}
    return Checkpoint(RUN, "d/l", ("a", "b"), ("v/1",), ("v/1",), "0f", step, state, training)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_checkpoint_survives_its_file(tmp_path: Path) -> None:
    written = checkpoint(3)
    written.save(tmp_path / "c.pt")
    read = Checkpoint.load(tmp_path / "c.pt")
    assert torch.equal(read.model["fc.weight"], written.model["fc.weight"])
    assert replace(read, model={}) == replace(written, model={})


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (1, {"checkpoint.pt"}),
        (3, {"checkpoint.pt", "checkpoint-8.pt", "checkpoint-9.pt"}),
    ],
)
def test_the_newest_are_kept(tmp_path: Path, keep: int, kept: set[str]) -> None:
    saved = Checkpoints(tmp_path, keep=keep)
    for step in range(1, 11):
        saved.save(checkpoint(step))
    assert names(tmp_path) == kept
    for name in kept - {"checkpoint.pt"}:
        assert f"-{Checkpoint.load(tmp_path / name).step}.pt" in name
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 10


def test_older_ones_are_kept_by_a_process_that_goes_on(tmp_path: Path) -> None:
    Checkpoints(tmp_path, keep=2).save(checkpoint(1))
    later = Checkpoints(tmp_path, keep=2)
    before = later.load()
    assert before is not None
    assert before.step == 1
    later.save(checkpoint(2))
    assert names(tmp_path) == {"checkpoint.pt", "checkpoint-1.pt"}


def test_older_ones_are_kept_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    saved = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        saved.save(checkpoint(step))
    assert Checkpoint.load(tmp_path / "checkpoint-1.pt").step == 1


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-mine.pt").write_bytes(b"")
    saved = Checkpoints(tmp_path)
    for step in (1, 2):
        saved.save(checkpoint(step))
    assert names(tmp_path) == {"checkpoint.pt", "checkpoint-mine.pt"}


def test_the_best_stays_until_there_is_a_better_one(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)
    saved.save(checkpoint(1))
    assert to_test(tmp_path) == tmp_path / "checkpoint.pt"
    for step, best in ((2, True), (3, False), (4, True), (5, False)):
        saved.save(checkpoint(step), best)
    assert Checkpoint.load(tmp_path / "best.pt").step == 4
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 5
    assert to_test(tmp_path) == tmp_path / "best.pt"


def test_they_are_due_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    saved = Checkpoints(tmp_path, minutes=2)
    assert not saved.due(epoch_ends=True)
    now[0] += 11
    assert saved.due(epoch_ends=True)
    assert not saved.due(epoch_ends=False)
    now[0] += 110
    assert saved.due(epoch_ends=False)
    saved.save(checkpoint(1))
    assert not saved.due(epoch_ends=True)
    assert Checkpoints(tmp_path, minutes=0).due(epoch_ends=False)


def test_a_damaged_newest_tells_of_an_older_one(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        saved.save(checkpoint(step))
    (tmp_path / "checkpoint.pt").write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"to go on from step 1, copy .*checkpoint-1\.pt over it"):
        Checkpoints(tmp_path).load()


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every -1 minutes"):
        Checkpoints(tmp_path, minutes=-1)
    with pytest.raises(InputError, match="0 checkpoints to keep"):
        Checkpoints(tmp_path, keep=0)
    assert Checkpoints(tmp_path).load() is None
