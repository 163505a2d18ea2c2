"""The command line. Kinds: known answer (exit status, files, what is printed), death by Ctrl-C."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from flow.__main__ import main
from flow.store import find_store_files, read_meta, verify
from video_files import sliding, write

QUICK = [
    *("--solver", "opencv", "--workers", "1", "--params.scales", "1", "--params.warps", "1"),
    *("--params.inner-iterations", "3", "--params.outer-iterations", "1", "--params.median", "1"),
]


def status(*arguments: str | Path) -> object:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:  # help, and wrong usage that the parser finds
        return ended.code


def test_extract_verify_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "-videos" / "wave" / "a.b.avi", sliding(3, 24, 32))
    store = tmp_path / "store"
    assert (
        status("extract", *QUICK, "--bound", "15", "--quality", "90", "--", "-videos", store) == 0
    )
    said = capsys.readouterr()
    assert said.out.startswith("1 videos stored, 0 already there, 0 failed: 2 flows in ")
    first, second = said.out.splitlines()
    assert first.endswith(str(store))
    assert second.startswith("Frames/s of one processor (share of its time): decode ")
    meta = read_meta(store / "wave" / "a.b.zip")
    assert (meta.solver, meta.bound, meta.quality, meta.encoding) == ("opencv", 15, 90, "symmetric")
    assert meta.params["inner_iterations"] == 3

    assert status("extract", "./-videos", store, *QUICK, "--bound", "15", "--quality", "90") == 0
    assert capsys.readouterr().out.startswith("0 videos stored, 1 already there, 0 failed")
    assert status("verify", store) == 0
    assert capsys.readouterr().out == ""

    assert status("show", store / "wave" / "a.b.zip", tmp_path / "a.png", "--frame", "2") == 0
    assert "is written" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "a.png")) is not None

    (store / "wave" / "a.b.zip").unlink()
    assert status("verify", store) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"{store / 'wave' / 'a.b.zip'} is gone; extract its video again."


def test_failures_give_1_and_the_others_are_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, store = tmp_path / "videos", tmp_path / "store"
    write(videos / "good.avi", sliding(3, 24, 32))
    for k in range(12):
        (videos / f"bad {k:02d}.avi").touch()
    assert status("extract", videos, store, *QUICK) == 1
    said = capsys.readouterr()
    assert "1 videos stored, 0 already there, 12 failed" in said.out
    told = [line for line in said.err.splitlines() if " failed: " in line]
    assert len(told) == 10
    assert "bad 00.avi is empty" in told[0]
    assert f"{store / 'failures.csv'} lists all" in said.err
    with (store / "failures.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 12
    assert list(find_store_files(store)) == ["good"]


def test_wrong_usage_gives_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, store, empty = tmp_path / "videos", tmp_path / "store", tmp_path / "empty"
    video = write(videos / "good.avi", sliding(3, 24, 32))
    empty.mkdir()
    for arguments, word in (
        (("extract", tmp_path / "absent", store), "no folder"),
        (("extract", empty, store), "no videos"),
        (("extract", videos, video / "store"), "cannot be written"),
        (("extract", videos, store, "--bound", "0"), "bound"),
        (("extract", videos, store, "--quality", "0"), "quality"),
        (("extract", videos, store, "--params.tau", "-1"), "tau"),
        (("extract", videos, store, "--workers", "0"), "workers"),
        (("verify", tmp_path / "absent"), "no folder"),
        (("show", tmp_path / "absent.avi", tmp_path / "out.png"), "not a file"),
        (("show", video, tmp_path / "out.txt"), "ends in .png"),
    ):
        assert status(*arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert word in said.err
    assert not store.exists()
    for wrong in ([], ["extract"], ["extract", str(videos), str(store), "--solver", "x"], ["x"]):
        assert status(*wrong) == 2
    capsys.readouterr()


def test_another_kind_of_flow_gives_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, store = tmp_path / "videos", tmp_path / "store"
    write(videos / "good.avi", sliding(3, 24, 32))
    assert status("extract", videos, store, *QUICK) == 0
    capsys.readouterr()
    assert status("extract", videos, store, *QUICK, "--encoding", "dense_flow") == 2
    assert "encoding symmetric, not dense_flow" in capsys.readouterr().err
    assert read_meta(store / "good.zip").encoding == "symmetric"


def test_help_names_what_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("extract", "--help") == 0
    said = capsys.readouterr().out
    for word in ("VIDEOS STORE", "--solver", "--bound", "--encoding", "--quality", "--workers"):
        assert word in said
    assert "--params.tau" in said


def test_ctrl_c_ends_quickly_and_another_run_goes_on(tmp_path: Path) -> None:
    videos, store = tmp_path / "videos", tmp_path / "store"
    write(videos / "a.avi", sliding(3, 24, 32))
    write(videos / "b.avi", sliding(2000, 120, 160))
    command = [sys.executable, "-m", "flow", "extract", videos, store, *QUICK]
    command[command.index("1")] = "2"
    command[command.index("3")] = "300"  # iterations: the longer video takes a while
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not ((store / "a.zip").exists() and list(store.glob(".b.zip.partial"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert out == ""
    assert "running again goes on" in err
    assert "Traceback" not in err
    assert {path.name for path in store.iterdir()} == {"a.zip", "manifest.csv", "failures.csv"}
    assert verify(store / "a.zip") == []
    assert (store / "manifest.csv").read_text().count("\n") == 2

    write(videos / "b.avi", sliding(3, 24, 32))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "1 videos stored, 1 already there, 0 failed" in done.stdout
