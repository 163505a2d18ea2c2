"""Several processes: identity with one process, to rounding; laws of their shares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from flow.errors import InputError
from training_runs import train_command
from twostream.__main__ import main
from twostream.distributed import World, alone, joined, synchronise_batchnorm
from twostream.log import read_log
from twostream.models import p3d_small
from twostream.models.layers import BatchNorm
from twostream.runs import Checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 4


def command(data: Path, folder: Path, *more: str) -> list[str]:
    small = ["--clip-length", "2", "--crop", "48", "48", "--streams", "flow"]
    return train_command(data, folder, *small, "--device", "cpu", "--precision", "fp32", *more)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(folder / "flow" / "checkpoint.pt").model


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """The largest difference of a tensor over its norm."""
    assert one.keys() == two.keys()
    floats = [name for name, value in one.items() if value.is_floating_point()]
    return max(float((one[n] - two[n]).norm() / two[n].norm()) for n in floats if two[n].any())


def test_two_processes_train_as_one(demo_data: Path, tmp_path: Path) -> None:
    """Half of the clips each; BatchNorm frozen, or its statistics would be of half a batch each.

    The floor: one process with other clips at once, which only sums in another order.
    """
    assert main(command(demo_data, tmp_path / "start", "--steps", "2", "--batch", "8")) == 0
    weights = str(tmp_path / "start" / "flow" / "checkpoint.pt")
    more = ["--weights", weights, "--freeze-batchnorm", "--rates", "conv1.bn", "0"]
    more += ["--steps", str(STEPS), "--batch", "7", "--dropout", "0", "--rate", "0.003"]
    more += ["--ema", "0.9", "--validate-on", "held_out", "--held-out", "0.5"]
    one, parts, two = (tmp_path / name for name in ("one", "parts", "two"))
    assert main(command(demo_data, one, *more, "--clips-at-once", "7")) == 0
    assert main(command(demo_data, parts, *more, "--clips-at-once", "2")) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "-m", "--", "twostream"]
    done = subprocess.run(
        [*torchrun, *command(demo_data, two, *more, "--clips-at-once", "2")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"step {STEPS}/{STEPS}") == 1
    assert difference(state(one), state(tmp_path / "start")) > 1e-3
    floor = difference(state(parts), state(one))
    assert 0 < floor < 1e-4
    assert difference(state(two), state(one)) < 4 * floor
    for row, expected in zip(
        read_log(two / "flow/log.csv"), read_log(one / "flow/log.csv"), strict=True
    ):
        assert row.loss == pytest.approx(expected.loss, rel=1e-4)
        assert row.validation_loss == pytest.approx(expected.validation_loss, rel=1e-4)
        assert row.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-4)
        assert (row.step, row.clip_top1) == (expected.step, pytest.approx(expected.clip_top1))


def test_shares_are_disjoint_and_together_all() -> None:
    cpu = torch.device("cpu")
    shares = [World(cpu, rank, 3).share(range(7)) for rank in range(3)]
    assert sorted(place for share in shares for place in share) == list(range(7))
    assert alone("cpu").share(range(7)) == range(7)


def test_without_torchrun_there_is_one_process() -> None:
    with joined("cpu") as world:
        assert world == World(torch.device("cpu"), 0, 1)
        model = p3d_small(2, 2)
        assert world.spread(model) is model


def test_batchnorms_that_learn_take_statistics_over_all_processes() -> None:
    """Only their conversion can be tested without GPUs."""
    model = p3d_small(2, 2)
    model.freeze_batchnorm(except_first=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    synchronise_batchnorm(model)
    assert isinstance(model.conv1.bn, nn.SyncBatchNorm)
    rest = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    others = [module for module in rest if module is not model.conv1.bn]
    assert others
    assert all(isinstance(module, BatchNorm) and module.frozen for module in others)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_devices_that_cannot_be_shared_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twostream.distributed.choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="more processes than the 2 GPUs"), joined("cuda"):
        pass
    with pytest.raises(InputError, match="one for all processes"), joined("cuda:1"):
        pass
