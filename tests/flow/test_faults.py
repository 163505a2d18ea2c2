"""An extraction of real clips that is killed again and again, and a store that is damaged."""

import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from flow.status import status, verify_store
from flow.store import find_store_files, verify

CLIPS, KILLS = 12, 20
QUICK = ["--params.scales", "3", "--params.warps", "2", "--params.inner-iterations", "5"]


def extraction(videos: Path, store: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flow", "extract", str(videos), str(store), "--workers", "2"]
    return subprocess.Popen(
        [*command, "--solver", "cpu", *QUICK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(store: Path) -> dict[str, bytes]:
    return {video: path.read_bytes() for video, path in find_store_files(store).items()}


@pytest.fixture(scope="module")
def clips(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to real clips of different classes."""
    folder = tmp_path_factory.mktemp("clips")
    found = sorted((shared / "data/ucf101/videos").rglob("*.avi"))
    for clip in found[:: len(found) // CLIPS][:CLIPS]:
        (folder / clip.parent.name).mkdir(exist_ok=True)
        (folder / clip.parent.name / clip.name).symlink_to(clip)
    return folder


@pytest.fixture(scope="module")
def clean(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an extraction that nothing disturbs; no test may change it."""
    store = tmp_path_factory.mktemp("clean")
    assert extraction(clips, store).wait(timeout=300) == 0
    return store


def test_twenty_kills_and_then_the_same_bytes(clips: Path, clean: Path, tmp_path: Path) -> None:
    store, moments = tmp_path / "store", random.Random(0)
    stored_before = 0
    for _ in range(KILLS):
        process = extraction(clips, store)
        deadline = time.monotonic() + 60
        while process.poll() is None and not list(store.rglob(".*.partial")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        stored = find_store_files(store)
        assert len(stored) >= stored_before, "what was stored is gone"
        stored_before = len(stored)
        for path in stored.values():
            assert verify(path) == []
    assert extraction(clips, store).wait(timeout=300) == 0
    assert contents(store) == contents(clean)
    assert list(store.rglob(".*.partial")) == []
    assert verify_store(store, 1, progress=False) == []
    found = status(clips, store, progress=False)
    assert str(found) == f"{CLIPS} done, 0 partial, 0 missing, 0 failed, 0 stale, 0 orphans"


def test_each_damage_is_found(clips: Path, clean: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for video, path in find_store_files(clean).items():
        target = store / f"{video}.zip"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (store / "manifest.csv").write_bytes((clean / "manifest.csv").read_bytes())
    assert verify_store(store, 1, progress=False) == []
    flipped, cut, thinned, gone, *_ = find_store_files(store).values()
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    with zipfile.ZipFile(thinned) as old:
        members = {name: old.read(name) for name in old.namelist()}
    del members["flow_y_00003.jpg"]
    with zipfile.ZipFile(thinned, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    gone.unlink()
    faults = verify_store(store, 1, progress=False)
    for path in (flipped, cut, thinned, gone):
        assert any(str(path) in fault for fault in faults), path
    assert len({path for path in find_store_files(store).values() if verify(path)}) == 3


def test_a_source_that_was_swapped_is_stale(clips: Path, clean: Path, tmp_path: Path) -> None:
    found = sorted(clips.rglob("*.avi"))
    folder = tmp_path / "clips"
    for clip in found:
        target = folder / clip.relative_to(clips)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(clip.resolve())
    swapped = folder / found[0].relative_to(clips)
    swapped.unlink()
    swapped.symlink_to(found[1].resolve())
    assert status(folder, clean, progress=False).stale == (found[0].relative_to(clips).as_posix(),)
