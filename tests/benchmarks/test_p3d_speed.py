"""The benchmark of the networks: its plain form computes the same; a smoke test of a run."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from twostream.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks/p3d_speed.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("plain_p3d")


@pytest.mark.parametrize("name", ["p3d_small", "p3d_resnet18", "p3d_resnext50"])
@torch.no_grad()
def test_plain_is_the_same_network(benchmark: ModuleType, name: str) -> None:
    torch.manual_seed(0)
    model, clip = MODELS[name](5, 3).eval(), torch.randn(1, 3, 6, 40, 44)
    plain = benchmark.plain(model)
    torch.testing.assert_close(plain(clip), model(clip), rtol=1e-4, atol=1e-5)
    convolutions = [m for m in plain.modules() if isinstance(m, torch.nn.Conv3d)]
    assert {type(module) for module in convolutions} == {torch.nn.Conv3d}


def test_a_small_run(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    sizes = ("--batches", "2", "--train-batch", "2", "--rounds", "2", "--clip", "2", "32", "32")
    command = [sys.executable, SCRIPT, "--models", "p3d_small", *sizes, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    inference, training = json.loads(out.read_text())["results"]
    assert (inference["stage"], training["stage"]) == ("inference", "training step")
    assert {"plain", "ours, fp32"} <= set(inference["seconds_a_batch"])
    assert {"plain", "ours, fp32", "ours, fp32, recomputing"} <= set(training["seconds_a_batch"])
    for result in (inference, training):
        assert all(len(seconds) == 2 for seconds in result["seconds_a_batch"].values())
        assert min(result["peak_gflops"]["float32"]) > 0
        assert result["gmac_a_clip"] > 0
