"""How far a store is, shards of a folder, and mixed settings."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow import InputError, TVL1Params
from flow.__main__ import main
from flow.extract import Summary, extract
from flow.settings import Settings
from flow.sources import find_videos, take_shard
from flow.status import status, verify_store
from flow.store import find_store_files
from store_files import failures, manifest
from twostream.demo import write_video

pytestmark = pytest.mark.usefixtures("in_process")
QUICK = Settings(params=TVL1Params(scales=1, warps=1, inner_iterations=2, outer_iterations=1))


def run(videos: Path, store: Path, settings: Settings = QUICK, shard: str = "1/1") -> Summary:
    return extract(videos, store, settings, workers=1, progress=False, shard=shard)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    for i, name in enumerate(["a.avi", "class/b.avi", "class/c.avi", "d.avi"]):
        frames = np.random.default_rng(i).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
        write_video(folder / name, frames)
    return folder


def test_status_tells_each_state(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (videos / "d.avi").write_bytes(b"no video")
    run(videos, store)
    (videos / "class/b.avi").write_bytes((videos / "a.avi").read_bytes())
    (videos / "a.avi").rename(videos / "e.avi")
    (store / "class/c.zip").write_bytes(b"damaged")
    found = status(videos, store, progress=False)
    assert found.done == ()
    assert found.missing == ("class/c.avi", "e.avi")
    assert found.failed == ("d.avi",)
    assert found.stale == ("class/b.avi",)
    assert found.orphans == ("a",)
    assert str(found) == "0 done, 0 partial, 2 missing, 1 failed, 1 stale, 1 orphans"


def test_shards_do_not_forget_each_others_failures(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (videos / "a.avi").write_bytes(b"no video")
    (videos / "class/b.avi").write_bytes(b"no video")
    run(videos, store, shard="1/2")
    run(videos, store, shard="2/2")
    found = status(videos, store, progress=False)
    assert found.failed == ("a.avi", "class/b.avi")
    assert found.done == ("class/c.avi", "d.avi")
    (videos / "a.avi").unlink()
    run(videos, store)  # of all videos: what is gone is not told of any more
    assert status(videos, store, progress=False).failed == ("class/b.avi",)
    with (store / "failures.csv").open() as file:
        assert [row["video"] for row in csv.DictReader(file)] == ["class/b.avi"]


def test_a_shard_tells_of_each_failure_once_and_forgets_what_is_mended(
    videos: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    (videos / "a.avi").write_bytes(b"no video")
    (videos / "class/b.avi").write_bytes(b"no video")
    for shard in ("1/2", "2/2", "1/2"):
        run(videos, store, shard=shard)
    assert list(failures(store)) == ["a.avi", "class/b.avi"]
    (videos / "a.avi").write_bytes((videos / "d.avi").read_bytes())
    run(videos, store, shard="1/2")
    assert list(failures(store)) == ["class/b.avi"]
    rows = manifest(store).values()
    assert [row["status"] for row in rows] == ["stored", "failed", "stored", "stored"]


def test_status_on_the_command_line(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    run(videos, store, shard="1/2")
    assert main(["status", str(videos), str(store)]) == 1
    assert capsys.readouterr().out == "missing class/b.avi\nmissing d.avi\n"
    run(videos, store)
    assert main(["status", str(videos), str(store)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("4 done, 0 partial, 0 missing, 0 failed, 0 stale, 0 orphans\n")
    assert main(["status", str(videos), str(tmp_path / "absent")]) == 2


def test_shards_do_each_video_once(videos: Path, tmp_path: Path) -> None:
    found = find_videos(videos)
    for count in (1, 2, 3, 7):
        parts = [take_shard(found, f"{i + 1}/{count}") for i in range(count)]
        assert sorted(path for part in parts for path in part) == found
    together, apart = tmp_path / "together", tmp_path / "apart"
    run(videos, together)
    summaries = [run(videos, apart, shard=f"{i}/3") for i in (1, 2, 3)]
    assert [summary.stored for summary in summaries] == [2, 1, 1]
    for video, path in find_store_files(together).items():
        assert find_store_files(apart)[video].read_bytes() == path.read_bytes()
    assert verify_store(apart, 1, progress=False) == []
    with (apart / "manifest.csv").open() as file:
        assert [row["video"] for row in csv.DictReader(file)] == list(find_store_files(apart))


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/", "-1/3", "1/0"])
def test_a_shard_that_cannot_be(shard: str) -> None:
    with pytest.raises(InputError, match="give for example 3/8"):
        take_shard([], shard)


def test_verify_finds_files_of_other_settings(videos: Path, tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    run(videos, store)
    run(videos, other, replace(QUICK, bound=7.0))
    (store / "class/c.zip").write_bytes((other / "class/c.zip").read_bytes())
    faults = verify_store(store, 1, progress=False)
    assert len(faults) == 2
    assert "class/c.zip is not what manifest.csv tells of: its bound is 7.0, not 20.0" in faults[0]
    assert "class/c.zip was made with other settings than most" in faults[1]


def test_verify_compares_with_the_videos(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(videos, store)
    assert verify_store(store, 1, progress=False, videos=videos) == []
    (videos / "class/b.avi").write_bytes((videos / "a.avi").read_bytes())
    (videos / "new.avi").write_bytes((videos / "a.avi").read_bytes())
    faults = verify_store(store, 1, progress=False, videos=videos)
    assert len(faults) == 2
    assert "class/b.avi is not the file that was stored" in faults[0]
    assert "new.avi is missing" in faults[1]


def test_verify_finds_a_store_file_of_another_video(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(videos, store)
    (store / "class/c.zip").write_bytes((store / "a.zip").read_bytes())
    (store / "extra.zip").write_bytes((store / "a.zip").read_bytes())
    faults = verify_store(store, 1, progress=False)
    assert len(faults) == 2
    assert "class/c.zip is not what manifest.csv tells of: its source is class/a.avi" in faults[0]
    assert "extra.zip is not in manifest.csv" in faults[1]
