"""What a run knows of a store and says of it. Kind: known answer (one run after another)."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extraction import QUICK, run, write_video
from flow.errors import InputError
from flow.extract import Summary, extract
from flow.record import Record
from flow.status import verify_store
from flow.store import find_store_files
from store_files import contents, failures, manifest

pytestmark = pytest.mark.usefixtures("in_process")


def test_a_second_run_computes_nothing(copy: Path, videos: Path) -> None:
    before = contents(copy), (copy / "manifest.csv").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in find_store_files(copy).values()}
    summary = run(videos, copy)
    assert (summary.stored, summary.present, summary.flows) == (0, 3, 0)
    assert (contents(copy), (copy / "manifest.csv").read_bytes()) == before
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_what_changed_or_is_damaged_is_computed_again(
    copy: Path, videos: Path, tmp_path: Path
) -> None:
    before = contents(copy)
    sources = Path(shutil.copytree(videos, tmp_path / "videos"))
    write_video(sources / "bend" / "SHOUTED.AVI", count=2, seed=9)
    same_size = sources / "bend" / "daria.bend.mp4"
    content = same_size.read_bytes()
    assert b"Lavf" in content  # the name of the program that wrote it
    same_size.write_bytes(content.replace(b"Lavf", b"Else"))
    damaged = copy / "long.zip"
    damaged.write_bytes(before["long"][:-30])
    assert run(sources, copy).stored == 3
    after = contents(copy)
    assert after["long"] == before["long"]
    assert after["bend/daria.bend"] != before["bend/daria.bend"]
    assert after["bend/SHOUTED"] != before["bend/SHOUTED"]
    size = (sources / "bend" / "SHOUTED.AVI").stat().st_size
    assert manifest(copy)["bend/SHOUTED"]["bytes"] == str(size)


def test_what_was_refused_is_not_decoded_again(tmp_path: Path) -> None:
    videos, store = tmp_path / "videos", tmp_path / "store"
    write_video(videos / "good.avi")
    write_video(videos / "one frame.avi", count=1)
    assert run(videos, store).stored == 1
    before = failures(store)
    assert list(before) == ["one frame.avi"]
    row = manifest(store)["one frame"]
    assert row["sha256"] == hashlib.sha256((videos / "one frame.avi").read_bytes()).hexdigest()
    # What the tables say is believed as long as the file is the same ...
    text = (store / "failures.csv").read_text()
    (store / "failures.csv").write_text(text.replace("has one frame", "has ONE frame"))
    summary = run(videos, store)
    assert "has ONE frame" in summary.failures[0][1]
    assert "has ONE frame" in failures(store)["one frame.avi"]
    assert manifest(store)["one frame"] == row
    # ... unless one asks, or the file is another.
    assert extract(videos, store, QUICK, 1, False, retry_failed=True).failures == tuple(
        before.items()
    )
    assert failures(store) == before
    (store / "failures.csv").write_text(text.replace("has one frame", "has ONE frame"))
    write_video(videos / "one frame.avi", count=2)
    assert run(videos, store).stored == 1
    assert failures(store) == {}


def test_a_video_that_was_stored_and_now_is_bad(copy: Path, videos: Path, tmp_path: Path) -> None:
    before = contents(copy)
    sources = Path(shutil.copytree(videos, tmp_path / "videos"))
    (sources / "long.avi").write_bytes(b"")
    assert run(sources, copy).present == 2
    assert manifest(copy)["long"]["status"] == "failed"
    assert list(failures(copy)) == ["long.avi"]
    assert contents(copy) == before
    assert verify_store(copy, 1, False) == []


def test_what_an_earlier_run_stored_stays_in_the_manifest(
    copy: Path, stored: tuple[Path, Summary], tmp_path: Path
) -> None:
    write_video(tmp_path / "videos" / "other.avi", count=2)
    run(tmp_path / "videos", copy)
    rows = manifest(copy)
    assert list(rows) == ["bend/SHOUTED", "bend/daria.bend", "long", "other"]
    before = manifest(stored[0])
    assert {video: rows[video] for video in before} == before


def test_what_is_stored_without_being_told_is_listed(
    stored: tuple[Path, Summary], tmp_path: Path
) -> None:
    """As by a process that an interrupted run does not hear of any more."""
    record = Record(tmp_path)
    shutil.copy(stored[0] / "long.zip", tmp_path / "long.zip")
    record.write()
    assert list(manifest(tmp_path)) == ["long"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bound": 15.0}, "bound 20.0, not 15.0"),
        ({"encoding": "dense_flow"}, "encoding symmetric, not dense_flow"),
        ({"quality": 90}, "quality 95, not 90"),
        ({"solver": "reference"}, "solver opencv, not reference"),
        ({"params": replace(QUICK.params, tau=0.2)}, "tau 0.25, not 0.2"),
        ({"codec": "png"}, "codec jpeg, not png"),
        ({"short_side": 20}, "short_side None, not 20"),
        ({"step": 2}, "step 1, not 2"),
        ({"rgb": False}, "rgb True, not False"),
    ],
)
def test_a_store_holds_flow_of_one_kind(
    copy: Path, videos: Path, changes: dict[str, Any], words: str
) -> None:
    shutil.copy(copy / "long.zip", copy / "of a video elsewhere.zip")
    (copy / "long.zip").unlink()
    before = {path: path.read_bytes() for path in copy.rglob("*.*")}
    with pytest.raises(InputError, match=words):
        run(videos, copy, replace(QUICK, **changes))
    assert {path: path.read_bytes() for path in copy.rglob("*.*")} == before
