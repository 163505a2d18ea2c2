"""Scoring by the command: identity (interruption, processes, parts), what is held out, and what is
refused. What a protocol computes stands in test_protocols.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flow.errors import InputError
from flow.store import store_path
from training_runs import untrained
from twostream import score_parts
from twostream.__main__ import main
from twostream.distributed import alone
from twostream.models.inference import InferenceModel
from twostream.protocols import own
from twostream.runs import Checkpoint, Data
from twostream.scores import Scores, join
from twostream.scoring import Scorer, score

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture
def run(demo_data: Path, tmp_path: Path) -> Path:
    """A run of the flow stream on the demo data: 12 test videos, 9 videos held out."""
    data = Data(demo_data / "annotations.csv", demo_data / "store")
    small = {"clip_length": 4, "crop": (48, 48), "mirror": True, "clips_at_once": 5}
    untrained(tmp_path / "run" / "flow", data, "flow", held_out=9, **small)
    return tmp_path / "run"


QUICK = ["--streams", "flow", "--workers", "0", "--device", "cpu"]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def equal(one: Scores, other: Scores) -> bool:
    arrays = [(one.logits, other.logits), (one.clip_logits, other.clip_logits)]
    same = (one.video_ids, one.classes, one.source) == (
        other.video_ids,
        other.classes,
        other.source,
    )
    return same and all(np.array_equal(a, b) for a, b in arrays)


def test_what_training_held_out_is_scored_beside_the_test_list(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(run), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "flow: 12 videos, 24 clips in " in printed
    assert "flow: 9 videos, 18 clips in " in printed
    folder = run / "flow"
    assert files(folder) == {"checkpoint.pt", "run.json", "scores.npz", "held_out.npz"}
    test, held = (Scores.load(folder / name) for name in ("scores.npz", "held_out.npz"))
    known = Checkpoint.load(folder / "checkpoint.pt")
    annotations, _ = known.run.data.annotations("test")
    assert test.video_ids == tuple(video.id for video in annotations.test)
    in_order = tuple(v.id for v in annotations.train if v.id in known.held_out)
    assert held.video_ids == in_order
    assert len(in_order) == 9
    for name in ("dataset", "split", "stream", "protocol", "checkpoint"):
        assert getattr(held.source, name) == getattr(test.source, name)
    assert (held.classes, held.clip_logits.shape) == (test.classes, (9, 2, 12))
    assert test.source.flow == held.source.flow == "bound 3, symmetric codes"
    # They are what they would be on a test list.
    lists = run / "lists.csv"
    rows = known.run.data.lists.read_text().splitlines()
    names = {f"{video}.avi" for video in in_order}
    sides = [
        f"{row.rpartition(',')[0]},test" if row.split(",")[0] in names else row for row in rows
    ]
    lists.write_text("\n".join(rows[:1] + [r for r in sides[1:] if r.endswith(",test")]) + "\n")
    untold = replace(known, trained_on=(), held_out=(), dataset="x")
    untold.save(run / "other.pt")
    other = score(run / "other.pt", replace(known.run.data, lists=lists), 0, "cpu")
    row = {video: place for place, video in enumerate(other.video_ids)}
    expected = other.clip_logits[[row[video] for video in in_order]]
    np.testing.assert_array_equal(held.clip_logits, expected)


def test_without_held_out_videos_there_is_no_such_file(run: Path) -> None:
    folder = run / "flow"
    assert main(["score", str(run), *QUICK]) == 0
    replace(Checkpoint.load(folder / "checkpoint.pt"), held_out=()).save(folder / "checkpoint.pt")
    assert main(["score", str(run), *QUICK]) == 0
    assert files(folder) == {"checkpoint.pt", "run.json", "scores.npz"}


def test_held_out_videos_that_are_not_stored_are_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Checkpoint.load(run / "flow" / "checkpoint.pt")
    store = tmp_path / "store"
    annotations, _ = known.run.data.annotations("test")
    for video in [*annotations.test, *annotations.train][: 12 + 20]:
        path = store_path(store, video.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(store_path(known.run.data.store, video.id))
    gone = [video.id for video in annotations.train[20:] if video.id in known.held_out]
    assert 0 <= len(gone) < 9
    store_path(store, known.held_out[0]).unlink(missing_ok=True)
    left_out = len({*gone, known.held_out[0]})
    assert main(["score", str(run), *QUICK, "--store", str(store)]) == 0
    assert f"{left_out} of 9 held-out videos are not among" in capsys.readouterr().out
    held = Scores.load(run / "flow" / "held_out.npz")
    assert len(held.video_ids) == 9 - left_out


def interrupted_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ctrl-C in the call after that many of the network; gives the number of calls so far."""
    count = [0]
    forward = InferenceModel.forward

    def counted(self: InferenceModel, clip: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        if count[0] == calls + 1:
            raise KeyboardInterrupt
        return forward(self, clip)

    monkeypatch.setattr(InferenceModel, "forward", counted)
    return count


@pytest.mark.parametrize("apart", [0.0, 1e9], ids=["parts as they come", "a part at the end"])
def test_an_interrupted_scoring_goes_on_bit_for_bit(
    run: Path,
    tmp_path: Path,
    apart: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run / "flow"
    assert main(["score", str(run), *QUICK]) == 0
    whole = {name: Scores.load(folder / name) for name in ("scores.npz", "held_out.npz")}
    for name in whole:
        (folder / name).unlink()
    monkeypatch.setattr(score_parts, "SECONDS_APART", apart)
    with monkeypatch.context() as patch:
        interrupted_after(17, patch)
        assert main(["score", str(run), *QUICK]) == 130
    assert files(folder) == {"checkpoint.pt", "run.json", "scores.parts"}
    capsys.readouterr()
    with monkeypatch.context() as patch:
        calls = interrupted_after(10**9, patch)
        assert main(["score", str(run), *QUICK]) == 0
    # 5 clips pass at once: of 17, those of the first 15 are of 7 whole videos.
    assert "12 videos, 7 of them there already, 10 clips" in capsys.readouterr().out
    assert calls[0] == 10 + 18
    for name, scores in whole.items():
        assert equal(Scores.load(folder / name), scores)
    assert files(folder) == {"checkpoint.pt", "run.json", *whole}


KILLER = """
import os, signal, sys
from pathlib import Path
import torch
from twostream import score_parts
from twostream.distributed import alone
from twostream.scoring import Scorer

score_parts.SECONDS_APART = 0
write, count = score_parts.write_atomically, 0

def killing(*arguments):
    global count
    count += 1
    if count == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)

score_parts.write_atomically = killing
path = Path(sys.argv[1])
Scorer(path, None, None, 0, alone("cpu")).test(path.with_name("scores.npz"))
"""


def test_a_killed_scoring_goes_on_bit_for_bit(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "flow" / "checkpoint.pt"
    killed = subprocess.run(
        [sys.executable, "-c", KILLER, str(path)], cwd=ROOT, env=ONE_THREAD, timeout=100
    )
    assert killed.returncode == -signal.SIGKILL
    # As it dies in the middle of a file.
    (run / "flow" / "scores.parts" / ".abc.npz.partial").write_bytes(b"PK")
    assert main(["score", str(run), *QUICK]) == 0
    assert "12 videos, 4 of them there already" in capsys.readouterr().out
    assert equal(Scores.load(run / "flow" / "scores.npz"), score(path, None, 0, "cpu"))
    assert not (run / "flow" / "scores.parts").exists()


def test_what_has_changed_is_scored_anew(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts belong to a network, a protocol and what is stored of a video."""
    path = run / "flow" / "checkpoint.pt"
    known = Checkpoint.load(path)
    out = run / "flow" / "scores.npz"

    def scored(data: Data | None = None, **changes: Any) -> str:
        protocol = replace(own(known.run.experiment), **changes)
        Scorer(path, data, protocol, 0, alone("cpu")).test(out)
        return capsys.readouterr().out

    assert "flow: 12 videos, 24 clips" in scored()
    assert "12 videos, 12 of them there already, 0 clips" in scored()
    assert "flow: 12 videos, 36 clips" in scored(clips=3)
    assert "flow: 12 videos, 24 clips" in scored(mirror=True)
    store = tmp_path / "store"
    annotations, _ = known.run.data.annotations("test")
    for video in annotations.test:
        source, copy = store_path(known.run.data.store, video.id), store_path(store, video.id)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    one, other = annotations.test[:2]
    store_path(store, one.id).write_bytes(store_path(known.run.data.store, other.id).read_bytes())
    moved = replace(known.run.data, store=store, allow_missing=True)
    assert "12 videos, 11 of them there already, 2 clips" in scored(moved)
    changed = Scores.load(out)
    np.testing.assert_array_equal(changed.logits[0], changed.logits[1])
    with torch.no_grad():
        known.model["fc.bias"] += 1
    known.save(path)
    assert "flow: 12 videos, 24 clips" in scored()


def test_a_damaged_part_is_refused(run: Path) -> None:
    path = run / "flow" / "checkpoint.pt"
    Scorer(path, None, None, 0, alone("cpu")).test(run / "flow" / "scores.npz")
    (part,) = (run / "flow" / "scores.parts").iterdir()
    whole = part.read_bytes()
    for damaged in (whole[:200], b"", b"text" + whole[4:]):
        part.write_bytes(damaged)
        with pytest.raises(InputError, match=r"\.npz is no part of scores .*; remove it"):
            Scorer(path, None, None, 0, alone("cpu")).test(run / "flow" / "scores.npz")


def test_a_damaged_video_costs_what_was_read_with_it(run: Path, tmp_path: Path) -> None:
    known = Checkpoint.load(run / "flow" / "checkpoint.pt")
    store = tmp_path / "store"
    annotations, _ = known.run.data.annotations("test")
    for video in annotations.test:
        copy = store_path(store, video.id)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(store_path(known.run.data.store, video.id).read_bytes())
    bad = store_path(store, annotations.test[7].id)
    content = bytearray(bad.read_bytes())
    content[200:-20_000] = bytes(len(content) - 20_200)  # the directory at the end stays
    bad.write_bytes(content)
    command = ["score", str(run), *QUICK, "--store", str(store), "--allow-missing"]
    assert main(command) == 2
    bad.write_bytes(store_path(known.run.data.store, annotations.test[7].id).read_bytes())
    parts = score_parts.Parts(run / "flow" / "scores.npz").load()
    assert len(parts) == 4  # five clips are read together: of two whole videos and of a third
    assert main(command) == 0


@pytest.mark.parametrize("at_once", [1, 64])
def test_how_many_clips_pass_together_changes_nothing(
    run: Path, tmp_path: Path, at_once: int
) -> None:
    """On a CPU to the last bit; the same clips in one batch differ by 5e-7 of the largest logit."""
    known = Checkpoint.load(run / "flow" / "checkpoint.pt")
    experiment = replace(known.run.experiment, clips_at_once=at_once)
    replace(known, run=replace(known.run, experiment=experiment)).save(tmp_path / "c.pt")
    one, other = (
        score(run / "flow" / "checkpoint.pt", None, 0, "cpu"),
        score(tmp_path / "c.pt", None, 0, "cpu"),
    )
    np.testing.assert_array_equal(one.clip_logits, other.clip_logits)


def test_two_processes_score_as_one(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Bit for bit, after an interruption of the first one too."""
    path = run / "flow" / "checkpoint.pt"
    expected = score(path, None, 0, "cpu")
    known = Checkpoint.load(path)
    half = score_parts.Parts(run / "flow" / "scores.npz")
    scorer = Scorer(path, None, None, 0, alone("cpu"))
    scorer.test(run / "flow" / "scores.npz")
    there = dict(list(half.load().items())[:3])
    half.remove()
    with half:
        for key, rows in there.items():
            half.add(key, rows)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    done = subprocess.run(
        [sys.executable, *command, "twostream", "score", str(run), *QUICK],
        cwd=ROOT,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "12 videos, 3 of them there already, 18 clips" in done.stdout
    assert done.stdout.count("12 videos") == 1
    assert equal(Scores.load(run / "flow" / "scores.npz"), expected)
    held = Scores.load(run / "flow" / "held_out.npz")
    assert set(held.video_ids) == set(known.held_out)
    assert not (run / "flow" / "scores.parts").exists()


def test_each_fold_has_its_own_held_out_videos(demo_data: Path, tmp_path: Path) -> None:
    """And an interrupted command does not score the folds again that are done."""
    trained = Data(demo_data / "annotations.csv", demo_data / "store", split="groups")
    small = {"clip_length": 2, "crop": (32, 32), "mirror": True, "test_clips": 1}
    for number, data in enumerate(trained.splits()):
        folder = tmp_path / f"group-g0{number + 1}" / "flow"
        untrained(folder, data, "flow", held_out=number, **small)
    third = tmp_path / "group-g03" / "flow" / "checkpoint.pt"
    whole = third.read_bytes()
    third.write_bytes(b"damaged")
    assert main(["score", str(tmp_path), *QUICK]) == 2
    third.write_bytes(whole)
    assert (tmp_path / "group-g01" / "flow" / "scores.parts").is_dir()
    assert main(["score", str(tmp_path), *QUICK]) == 0
    tests = []
    for number, folder in enumerate(sorted(tmp_path.glob("group-*/flow"))):
        held = folder / "held_out.npz"
        assert held.exists() == (number > 0)
        tests.append(Scores.load(folder / "scores.npz"))
        if number:
            scores = Scores.load(held)
            assert len(scores.video_ids) == number
            assert not any(video.endswith(f"g0{number + 1}") for video in scores.video_ids)
        assert not list(folder.glob("*.parts"))
    assert equal(Scores.load(tmp_path / "flow" / "scores.npz"), join(tests, "groups"))
    assert not (tmp_path / "flow" / "held_out.npz").exists()


def test_protocols_by_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def protocol(*options: str) -> str:
        assert main(["score", str(run), *QUICK, *options]) == 0
        capsys.readouterr()
        return Scores.load(run / "flow" / "scores.npz").source.protocol

    assert protocol() == "2 even clips of 4, own size, centre crop 48x48, mean of softmax"
    assert protocol("--protocol", "dense", "--clips", "3", "--mirror") == (
        "3 even clips of 4, own size, 3 crops 48x48 along the longer side, mirror images, "
        "mean of softmax"
    )
    assert protocol(
        "--crops", "10", "--clips", "1", "--short-side", "60", "--crop", "40", "56"
    ) == (
        "1 even clips of 4, short side 60, 10 crops 40x56: corners, centre and their mirror "
        "images, mean of softmax"
    )
    assert protocol("--protocol", "full", "--resize", "50", "60") == (
        "consecutive clips of 4 over all of the video, 50x60, centre crop 48x48, mean of softmax"
    )
    assert Scores.load(run / "flow" / "scores.npz").clip_logits.shape == (12, 1, 12)
    assert protocol("--protocol", "paper").startswith("20 even clips of 4, own size")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "full", "--clips", "3"], "leave out --clips"),
        (["--resize", "60", "60", "--short-side", "60"], "give --resize or --short-side"),
        (["--clips", "0"], "number of clips is 0"),
        (["--crop", "81", "80"], "crop of 81x80 pixels does not fit"),
        (["--crop", "0", "80"], "crop is (0, 80)"),
        (["--short-side", "40"], "does not fit into images with a short side of 40"),
        (["--short-side", "0"], "resize is (0, 0)"),
        (["--short-side", "-1"], "resize is (-1, -1)"),
        (["--resize", "40", "90"], "crop of 48x48 pixels does not fit"),
    ],
)
def test_options_that_cannot_be(
    run: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(run), *QUICK, *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


@pytest.mark.parametrize("options", [["--mirror"], ["--crops", "10"]])
def test_a_network_that_never_saw_a_mirror_image_is_shown_none(
    run: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run / "flow"
    known = Checkpoint.load(folder / "checkpoint.pt")
    plain = replace(known.run, experiment=replace(known.run.experiment, mirror=False))
    (folder / "run.json").write_text(plain.to_json())
    replace(known, run=plain).save(folder / "checkpoint.pt")
    assert main(["score", str(run), *QUICK, *options]) == 2
    assert "was trained without mirror images" in capsys.readouterr().err
    assert main(["score", str(run), *QUICK, "--crops", "3"]) == 0
