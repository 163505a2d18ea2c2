"""The whole path in small, by the commands that a user types; and what wrong usage says."""

import json
from pathlib import Path

import pandas as pd
import pytest

from training_runs import train_command
from twostream import demo
from twostream.__main__ import main
from twostream.runs import Checkpoint
from twostream.scores import Scores


@pytest.fixture(scope="module")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both streams on the small demo data, trained for three steps and scored."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    small = ["--steps", "3", "--batch", "8", "--clip-length", "4", "--crop", "48", "48"]
    assert main(train_command(demo_data, folder, *small)) == 0
    assert main(["score", str(folder), "--workers", "0"]) == 0
    return folder


def test_from_videos_to_a_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(run / stream / "scores.npz") for stream in ("rgb", "flow")]
    fused = str(run / "fused.npz")
    assert main(["fuse", *files, "--out", fused]) == 0
    assert main(["evaluate", *files, fused, "--report", str(run / "report")]) == 0
    printed = capsys.readouterr().out
    assert "12 of 12 test videos" in printed
    for title in ("top-1 by video", "top-5 by clip", "mean-class by video"):
        assert title in printed
    assert (run / "report" / "index.html").is_file()
    table = pd.read_csv(run / "report" / "summary.csv", index_col=0)
    streams = ["rgb", "flow", "rgb+flow"]
    assert [name for name in table.columns if name in streams] == streams


def test_the_run_holds_its_whole_experiment(run: Path) -> None:
    values = json.loads((run / "flow" / "run.json").read_text())
    assert values["stream"] == "flow"
    assert values["experiment"]["steps"] == 3
    assert values["experiment"]["crop"] == [48, 48]


def test_weights_decide_between_the_streams(run: Path) -> None:
    files = [str(run / stream / "scores.npz") for stream in ("rgb", "flow")]
    out = run / "weighted.npz"
    assert main(["fuse", *files, "--weights", "0", "1", "--out", str(out)]) == 0
    best = Scores.load(out).logits.argmax(axis=1)
    assert (best == Scores.load(run / "flow" / "scores.npz").logits.argmax(axis=1)).all()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "{tmp}/none"], "checkpoint.pt is not there"),
        (["fuse", "{tmp}/none.npz", "--out", "{tmp}/f.npz"], "none.npz is not there"),
        (["fuse", "--out", "{tmp}/f.npz"], "0 streams"),
        (["evaluate", "--report", "{tmp}/r"], "No score file is given"),
        (
            ["train", "demo", "--lists", "{tmp}/l.csv", "--store", "{tmp}/s", "--run", "{tmp}/r"],
            "/s is no folder",
        ),
        (
            ["train", "demo", "--lists", "{tmp}/l.csv", "--store", "{tmp}", "--run", "{tmp}/r"],
            "l.csv",
        ),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(
    command: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part.format(tmp=tmp_path) for part in command]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_value_that_cannot_be_is_one_sentence_too(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_command(demo_data, tmp_path, "--dropout", "1.5")) == 2
    assert "dropout is 1.5" in capsys.readouterr().err


def test_all_folds_are_trained_each_in_its_folder(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--steps", "1", "--batch", "4", "--clip-length", "2", "--crop", "32", "32"]
    command = train_command(demo_data, tmp_path / "r", *small, "--streams", "rgb")
    assert main([*command, "--split", "groups"]) == 0
    folders = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert folders == ["group-g01", "group-g02", "group-g03"]
    for folder in folders:
        trained_on = Checkpoint.load(tmp_path / "r" / folder / "rgb" / "checkpoint.pt").trained_on
        assert len(trained_on) == 24
        assert not any(name.endswith(folder.removeprefix("group-")) for name in trained_on)
    assert main([*command, "--split", "folds:9"]) == 2
    assert "has 3 groups" in capsys.readouterr().err


def test_what_is_missing_in_the_last_fold_is_told_before_the_first(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = tmp_path / "l.csv"
    text = (demo_data / "annotations.csv").read_text()
    lists.write_text(text + "gone/gone.avi,checks_left,g01,train\n")
    command = ["train", "demo", "--lists", str(lists), "--store", str(demo_data / "store")]
    assert main([*command, "--run", str(tmp_path / "r"), "--split", "groups"]) == 2
    assert "first: gone/gone" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_the_stored_demo_flow_is_near_the_truth(demo_data: Path) -> None:
    error = demo.check(demo_data)
    assert error.videos == 36
    assert error.everywhere < error.zero_flow
    assert error.moving < 0.2


def test_all_folds_are_trained_scored_and_evaluated_together(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "folds"
    small = ["--steps", "1", "--batch", "4", "--clip-length", "2", "--crop", "32", "32"]
    quick = ["--workers", "0"]
    assert main(train_command(demo_data, run, *small, "--split", "folds:3")) == 0
    assert main(["score", str(run), *quick]) == 0
    files = [str(run / stream / "scores.npz") for stream in ("rgb", "flow")]
    fused = str(run / "fused.npz")
    assert main(["fuse", *files, "--out", fused]) == 0
    assert main(["evaluate", *files, fused, "--report", str(run / "report")]) == 0
    assert "36 of 36 test videos" in capsys.readouterr().out
    scores = Scores.load(run / "rgb" / "scores.npz")
    assert scores.source.split == "folds:3"
    for fold in ("fold-1of3", "fold-2of3", "fold-3of3"):
        one = Scores.load(run / fold / "rgb" / "scores.npz")
        rows = [scores.video_ids.index(video) for video in one.video_ids]
        assert (scores.logits[rows] == one.logits).all()

    (run / "fold-2of3" / "rgb" / "run.json").unlink()
    assert main(["score", str(run), *quick]) == 2
    assert "lacks the rgb stream of 1 of 3 splits, fold:2/3 first" in capsys.readouterr().err


def test_scores_are_evaluated_by_lists_alone(run: Path, demo_data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "scores.npz"
    moved.write_bytes((run / "rgb" / "scores.npz").read_bytes())
    command = ["evaluate", str(moved), "--report", str(tmp_path / "report")]
    assert main(command) == 2
    assert main([*command, "--lists", str(demo_data / "annotations.csv")]) == 0
