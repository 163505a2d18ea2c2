"""Dry runs: small whatever the row says, on the part of the data that is there.

Known answers: words of commands; one row of the real table by its very
commands, on real videos.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import reproduce
from reproduce_dry import shortened, value_of, with_option, without
from reproduce_plan import Step
from reproduce_published import load

TRAIN = Step(
    "t-1", ("twostream", "train", "paper", "--steps", "9", "--resize", "1", "2", "--run", "r")
)


def test_a_dry_run_is_small_whatever_the_row_says() -> None:
    short = shortened(TRAIN, 3)
    assert short.words[:3] == TRAIN.words[:3]
    assert value_of(short.words, "--steps") == "3"
    assert short.words.count("--resize") == 1
    assert value_of(short.words, "--clip-length") == "4"
    assert value_of(short.words, "--run") == "r"
    assert "--allow-missing" in short.words
    frames = replace(TRAIN, words=("twostream", "train", "frames"))
    assert "--clip-length" not in shortened(frames, 3).words
    score = Step("s-1", ("twostream", "score", "r"))
    assert shortened(score, 3) == score


def test_options_are_taken_out_with_their_values() -> None:
    words = ["svm", "a", "--lists", "b", "c", "--seed", "1"]
    assert without(words, ("--lists",)) == ["svm", "a", "--seed", "1"]
    assert with_option(words, "--seed", ("2",)) == ["svm", "a", "--lists", "b", "c", "--seed", "2"]


def test_an_svm_is_trained_on_what_is_there() -> None:
    step = Step("svm-2", ("twostream", "svm", "features", "out", "--split", "2"))
    short = shortened(step, 2)
    assert short.words[:6] == step.words
    assert value_of(short.words, "--inner-folds") == "2"
    assert "--allow-missing" in short.words


def test_a_row_of_the_real_table_dry(
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Straight from videos, one row alone, by its very commands."""
    published = load()
    table = published.tables["p3d_ucf101"]
    one = replace(published, tables={"p3d_ucf101": replace(table, rows=table.rows[:1])})
    monkeypatch.setattr(reproduce, "load", lambda: one)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = shared / "data" / "ucf101"
    given = ["--store", str(data / "videos"), "--lists", str(data / "splits")]
    given += ["--weights", str(shared / "weights" / "resnet50_imagenet_caffe.safetensors")]
    command = ["p3d_ucf101", "--dry-run", "--steps", "1", *given, "--out", str(tmp_path)]
    assert reproduce.main(command) == 0
    printed = capsys.readouterr().out
    assert "dry run, not comparable" in printed
    card = json.loads((tmp_path / "p3d_ucf101-dry-run" / "card.json").read_text())
    assert len(card["commands"]) == 3
    assert card["runs"]["frames/rgb"]["experiment"]["steps"] == 1
    assert card["runs"]["frames/rgb"]["experiment"]["seed"] == 0
    assert len(card["weights"]["resnet50"]["sha256"]) == 64
    assert 0 <= card["rows"][0]["measured"]["value"] <= 100
