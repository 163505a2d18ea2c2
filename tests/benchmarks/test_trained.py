"""The record of trained runs: its accuracies are those of `evaluate`, its recipe the run's."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trained

from flow.errors import InputError
from training_runs import untrained
from twostream.__main__ import main
from twostream.experiments import demo, modern
from twostream.runs import Data


@pytest.fixture
def run(demo_data: Path, tmp_path: Path) -> Path:
    """A scored and fused run of both streams on three groups of the demo data."""
    data = Data(demo_data / "annotations.csv", demo_data / "store", split="groups")
    for number, split in enumerate(data.splits()):
        for stream in ("rgb", "flow"):
            folder = tmp_path / "run" / f"group-g0{number + 1}" / stream
            untrained(folder, split, stream, clip_length=2, crop=(32, 32), test_clips=1)  # type: ignore[arg-type]
    for command in ("score", "fuse"):
        quick = ["--workers", "0", "--device", "cpu"] if command == "score" else []
        assert main([command, str(tmp_path / "run"), *quick]) == 0
    return tmp_path / "run"


def test_a_record_says_what_evaluate_says(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["evaluate", str(run), "--report", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("top-1 by video"))
    out = tmp_path / "record.json"
    monkeypatch.setattr(sys, "argv", ["trained.py", f"Demo, a = b={run}", "--out", str(out)])
    assert trained.main() == 0
    (found,) = json.loads(out.read_text())["results"]
    means = [f"{each['mean']:.1%}" for each in found["top1_by_video"].values()]
    assert row.split()[-3:] == means
    intervals = [
        each["low"] <= each["mean"] <= each["high"] for each in found["top1_by_video"].values()
    ]
    assert all(intervals)
    assert (found["title"], found["split"], found["groups"]) == ("Demo, a = b", "groups", 3)
    assert found["videos"] == 36
    assert found["recipe"]["flow"] == {
        "name": "demo",
        "changes": {
            "clip_length": 2,
            "crop": [32, 32],
            "test_clips": 1,
            "precision": "fp32",
        },
        "weights": None,
        "weights_sha256": None,
    }


def test_the_nearest_recipe_is_told(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"abc")
    found = trained.recipe(replace(modern(), steps=1000, weights=weights))
    assert (found["name"], found["changes"]) == ("modern", {"steps": 1000})
    assert (found["weights"], found["weights_sha256"][:8]) == ("w.safetensors", "ba7816bf")
    assert trained.recipe(demo())["changes"] == {}


def test_what_is_not_scored_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "fused.npz").unlink()
    with pytest.raises(InputError, match=r"fused\.npz is not there; score and fuse the run"):
        trained.record("Demo", run)
    with pytest.raises(InputError, match="holds no run of a stream"):
        trained.record("Demo", tmp_path / "no")
