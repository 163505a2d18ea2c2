"""Options of the command line, each by what it does. Kind: known answer.

The work is done in this process: what is tested is that an option arrives.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.__main__ import main
from flow.store import StoreFile, find_store_files, read_meta
from layout_files import contents, jpeg, tree
from store_files import FRAMES, HEIGHT, VIDEOS, WIDTH, failures, manifest
from video_files import motion, sliding, write

pytestmark = pytest.mark.usefixtures("in_process")
QUICK = [
    *("--solver", "opencv", "--params.scales", "1", "--params.warps", "1"),
    *("--params.inner-iterations", "3", "--params.outer-iterations", "1", "--params.median", "1"),
]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of a video of 5 frames of 32 x 24 pixels."""
    return write(tmp_path / "videos" / "a.avi", sliding(5, 24, 32)).parent


def status(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        (QUICK, {"algorithm": "tvl1", "solver": "opencv", "step": 1, "rgb": True, "codec": "jpeg"}),
        (["--farneback"], {"algorithm": "farneback", "solver": "opencv"}),
        (["--dis"], {"algorithm": "dis", "solver": "opencv"}),
        ([*QUICK, "--step", "2"], {"step": 2, "frames": 3, "fps": 6.25}),
        ([*QUICK, "--short-side", "12"], {"short_side": 12, "width": 16, "height": 12}),
        ([*QUICK, "--no-rgb"], {"rgb": False}),
        ([*QUICK, "--codec", "png"], {"codec": "png"}),
        ([*QUICK, "--scheme", "dense_flow"], {"encoding": "dense_flow"}),
    ],
)
def test_what_is_extracted(
    videos: Path, tmp_path: Path, options: list[str], recorded: dict[str, Any]
) -> None:
    store = tmp_path / "store"
    assert status("extract", videos, store, *options) == 0
    meta = read_meta(store / "a.zip")
    assert {name: getattr(meta, name) for name in recorded} == recorded


def test_two_algorithms_are_one_too_many(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("extract", videos, tmp_path / "store", "--farneback", "--dis") == 2
    assert "two algorithms" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_damaged_videos_are_kept(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    content = write(tmp_path / "whole.avi", motion(20)).read_bytes()
    (videos / "cut.avi").write_bytes(content[: len(content) // 2])
    assert status("extract", videos, store, *QUICK) == 1
    assert status("extract", videos, store, *QUICK, "--keep-readable") == 0
    assert "1 already there (1 up to where they are damaged), 0 failed" in capsys.readouterr().out
    meta = read_meta(store / "cut.zip")
    assert meta.damage is not None
    assert 2 <= meta.frames < 20
    rows = manifest(store)
    assert {video: row["status"] for video, row in rows.items()} == {
        "a": "stored",
        "cut": "partial",
    }
    assert status("status", videos, store) == 0
    said = capsys.readouterr()
    assert said.out == "partial cut.avi\n"
    assert said.err.endswith("2 done, 1 partial, 0 missing, 0 failed, 0 stale, 0 orphans\n")
    assert status("verify", store, "--videos", videos) == 0


def test_what_failed_is_tried_again(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    (videos / "text.avi").write_text("no video")
    assert status("extract", videos, store, *QUICK) == 1
    table = store / "failures.csv"
    table.write_text(table.read_text().replace("is no video", "is NO video"))
    capsys.readouterr()
    assert status("extract", videos, store, *QUICK) == 1
    assert "is NO video" in capsys.readouterr().err
    assert status("extract", videos, store, *QUICK, "--retry-failed") == 1
    assert "is no video" in capsys.readouterr().err
    assert "is no video" in failures(store)["text.avi"]


def test_a_shard(videos: Path, tmp_path: Path) -> None:
    for name in ("b.avi", "c.avi"):
        (videos / name).write_bytes((videos / "a.avi").read_bytes())
    assert status("extract", videos, tmp_path / "store", *QUICK, "--shard", "2/3") == 0
    assert list(find_store_files(tmp_path / "store")) == ["b"]


def test_the_engine(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", videos, tmp_path / "store", *QUICK]
    assert status(*command, "--address", "host:1") == 2
    assert "give the engine ray" in capsys.readouterr().err
    pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")
    assert status(*command, "--engine", "ray", "--address", "somewhere") == 2
    assert "'somewhere' is no address of a Ray cluster" in capsys.readouterr().err


def test_verify_compares_with_the_videos(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert status("extract", videos, store, *QUICK) == 0
    assert status("verify", store, "--videos", videos) == 0
    assert capsys.readouterr().err.endswith(f"{store} is whole\n")
    write(videos / "new.avi", sliding(3, 24, 32))
    assert status("verify", store) == 0
    capsys.readouterr()
    assert status("verify", store, "--videos", videos) == 1
    said = capsys.readouterr()
    assert said.out == "new.avi is missing; extract it.\n"
    assert said.err.endswith(f"1 faults in {store}\n")
    (videos / "new.avi").write_text("no video")
    assert status("extract", videos, store, *QUICK) == 1
    capsys.readouterr()
    assert status("verify", store, "--videos", videos) == 1
    assert capsys.readouterr().out == f"new.avi failed; see {store / 'failures.csv'}.\n"


@pytest.mark.parametrize("state", ["failed", "stale", "missing", "orphan"])
def test_status_is_1_where_a_video_is_not_stored(videos: Path, tmp_path: Path, state: str) -> None:
    store = tmp_path / "store"
    write(videos / "b.avi", sliding(4, 24, 32))
    if state == "failed":
        (videos / "b.avi").write_text("no video")
    status("extract", videos, store, *QUICK)
    if state == "stale":
        write(videos / "b.avi", sliding(6, 24, 32))
    if state == "missing":
        (store / "b.zip").unlink()
    if state == "orphan":
        (videos / "b.avi").unlink()
    assert status("status", videos, store) == (0 if state == "orphan" else 1)


def test_export_and_import(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, again = tmp_path / "images", tmp_path / "again"
    assert status("export", store, folder, "--layout", "mmaction2", "--first", "0") == 0
    assert capsys.readouterr().out.startswith("3 videos copied, 0 already there, 0 failed: ")
    assert {"flat/img_00000.jpg", "flat/x_00003.jpg"} <= tree(folder).keys()
    assert status("import", folder, again, "--layout", "mmaction2") == 0
    assert contents(again) == contents(store)
    (folder / "flat" / "img_00002.jpg").write_bytes(b"text")
    assert status("export", store, folder, "--layout", "mmaction2", "--first", "0") == 1
    assert "flat failed: " in capsys.readouterr().err
    assert status("import", folder, tmp_path / "bad", "--layout", "mmaction2") == 1
    assert "flat failed: " in capsys.readouterr().err


def test_values_of_an_export(store: Path, tmp_path: Path) -> None:
    values = ["--encoding", "dense_flow", "--bound", "15", "--quality", "80"]
    assert status("export", store, tmp_path / "images", "--layout", "tsn", *values) == 0
    assert status("import", tmp_path / "images", tmp_path / "again", "--layout", "tsn") == 0
    meta = read_meta(tmp_path / "again" / "flat.zip")
    assert (meta.encoding, meta.bound, meta.quality) == ("dense_flow", 15, 80)


def test_values_of_an_import(images: Path, tmp_path: Path) -> None:
    command = ["import", images, tmp_path / "store", "--layout", "tsn"]
    values = ["--encoding", "symmetric", "--bound", "12"]
    assert status(*command) == 2
    for video in VIDEOS:
        (images / video / f"img_{FRAMES:05d}.jpg").unlink()
    assert status(*command, *values) == 1
    assert status(*command, *values, "--extra-flow", "last") == 0
    with StoreFile(tmp_path / "store" / "flat.zip") as file:
        assert (file.meta.bound, file.meta.frames) == (12, FRAMES - 1)


def test_flow_that_is_zero_at_127_may_be_trusted(images: Path, tmp_path: Path) -> None:
    for path in images.rglob("flow_*.jpg"):
        path.write_bytes(jpeg(np.full((HEIGHT, WIDTH), 127, np.uint8)))
    command = ["import", images, tmp_path / "store", "--layout", "tsn"]
    command += ["--encoding", "symmetric", "--bound", "20"]
    assert status(*command) == 2
    assert status(*command, "--trust-zero") == 0
