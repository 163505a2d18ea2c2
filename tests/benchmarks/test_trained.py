"""The record of trained runs: its accuracies are those of `evaluate`, its recipe the run's."""

import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import trained

from flow.errors import InputError
from training_runs import untrained
from twostream.__main__ import main
from twostream.experiments import demo, modern
from twostream.fusion_study import Study
from twostream.log import Epoch
from twostream.runs import Data, Run
from twostream.scores import Scores, join


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
    assert found["flow"] == Scores.load(run / "flow" / "scores.npz").source.flow != ""
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
        "weights_of_run": None,
    }


def test_chosen_weights_are_told_beside_equal_ones(run: Path, tmp_path: Path) -> None:
    """Of runs that tell how each stream does on videos of the training list."""
    for path in run.glob("group-*/*/scores.npz"):
        others = [
            each / path.parent.name for each in run.glob("group-*") if each != path.parents[1]
        ]
        unseen = join([Scores.load(each / "scores.npz") for each in sorted(others)], "x")
        source = replace(unseen.source, split=Scores.load(path).source.split, checkpoint="")
        replace(unseen, source=source).save(path.with_name("unseen.npz"))
    found = trained.record("Demo", run)["top1_by_video"]
    assert list(found) == ["rgb", "flow", "equal", "chosen"]
    assert main(["fuse", str(run), "--choose", "--out", str(tmp_path / "fused.npz")]) == 0
    study = Study.from_json((tmp_path / "fused.json").read_text())
    top1 = {row.name: row.top1 for row in study.rows}
    for name in ("equal", "chosen"):
        assert found[name]["mean"] == pytest.approx(top1[f"{name}, softmax"])


def test_the_nearest_recipe_is_told(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"abc")
    found = trained.recipe(replace(modern(), steps=1000, weights=weights), "rgb")
    assert (found["name"], found["changes"]) == ("modern", {"steps": 1000})
    assert (found["weights"], found["weights_sha256"][:8]) == ("w.safetensors", "ba7816bf")
    assert trained.recipe(demo(), "rgb")["changes"] == {}


def test_weights_of_a_run_are_told_with_its_recipe(demo_data: Path, tmp_path: Path) -> None:
    data = Data(demo_data / "annotations.csv", demo_data / "store", split="column")
    untrained(tmp_path / "run" / "flow", data, "flow", steps=7)
    found = trained.recipe(replace(modern(), weights=tmp_path / "run"), "flow")
    before = found["weights_of_run"]
    assert (before["lists"], before["name"]) == ("annotations.csv", "demo")
    assert before["changes"]["steps"] == 7
    assert (found["weights"], found["weights_sha256"]) == ("run", None)


def test_what_is_not_scored_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "flow" / "scores.npz").unlink()
    with pytest.raises(InputError, match="has not the scores of all its streams; score it"):
        trained.record("Demo", run)
    with pytest.raises(InputError, match="holds no run of a stream"):
        trained.record("Demo", tmp_path / "no")


def test_held_out_videos_are_counted_over_all_splits(demo_data: Path, tmp_path: Path) -> None:
    data = Data(demo_data / "annotations.csv", demo_data / "store", split="groups")
    names = [field.name for field in fields(Epoch)]
    for number, (split, top1) in enumerate(zip(data.splits(), (1.0, 0.5, 0.75), strict=True)):
        folder = tmp_path / f"group-g0{number + 1}" / "rgb"
        untrained(folder, split)
        experiment = replace(demo(), validate_on="held_out", held_out=0.4)
        (folder / "run.json").write_text(Run(experiment, split, "rgb").to_json())
        values = {"step": 7, "validation_top1": top1, "validation_loss": number}
        rows = [[values.get(name, 0) for name in names], [0 for _ in names]][::-1]
        text = "\n".join(",".join(map(str, row)) for row in [names, *rows])
        (folder / "log.csv").write_text(text + "\n")
    found = trained.record("Tried", tmp_path)
    # Two groups of 12 videos are left to train on, of which one is held out.
    expected = {"steps": 7, "videos": 36, "right": 12 + 6 + 9, "loss": 1.0}
    assert found["held_out"] == {"rgb": expected}
    assert found["top1_by_video"] == {}
    (folder / "log.csv").unlink()
    with pytest.raises(InputError, match="no validation at its end; train the run to its end"):
        trained.record("Tried", tmp_path)
