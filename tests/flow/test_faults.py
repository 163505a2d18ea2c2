"""An extraction of real clips that is killed again and again, and a store that is damaged."""

import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from flow.status import status, verify_store
from flow.store import find_store_files
from store_files import contents, rewrite

CLIPS, KILLS = 12, 20
QUICK = ["--params.scales", "1", "--params.warps", "1", "--params.inner-iterations", "2"]
QUICK += ["--params.outer-iterations", "1", "--params.median", "1"]


def extraction(videos: Path, store: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flow", "extract", str(videos), str(store), "--workers", "2"]
    return subprocess.Popen(
        [*command, "--solver", "cpu", *QUICK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


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
def undisturbed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The store of an extraction that nothing disturbs, and the seconds that it took."""
    store, started = tmp_path_factory.mktemp("clean"), time.monotonic()
    assert extraction(clips, store).wait(timeout=300) == 0
    return store, time.monotonic() - started


@pytest.fixture
def clean(undisturbed: tuple[Path, float]) -> Path:
    """A store that no test may change."""
    return undisturbed[0]


def half_written(store: Path) -> set[tuple[Path, int]]:
    """Files that are being written or that dead processes have left, and when they changed."""
    found = set()
    for path in store.rglob(".*.partial"):
        with suppress(FileNotFoundError):
            found.add((path, path.stat().st_mtime_ns))
    return found


def test_twenty_kills_and_then_the_same_bytes(
    clips: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    store, moments = tmp_path / "store", random.Random(0)
    clean, seconds = undisturbed
    whole = contents(clean)
    stored_before = torn = 0
    for number in range(KILLS):
        left = half_written(store)
        process = extraction(clips, store)
        goal = stored_before + (number % 4 == 3)  # every fourth run stores a video or two
        deadline = time.monotonic() + 60
        while process.poll() is None and not (
            len(find_store_files(store)) >= goal and half_written(store) - left
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, seconds / 10))
        process.send_signal(signal.SIGKILL)
        process.wait()
        torn += bool(half_written(store) - left)
        stored = contents(store)
        assert len(stored) >= stored_before, "what was stored is gone"
        stored_before = len(stored)
        assert stored.items() <= whole.items()
    assert torn > KILLS // 2
    assert stored_before >= KILLS // 4
    assert extraction(clips, store).wait(timeout=300) == 0
    assert contents(store) == whole
    assert list(store.rglob(".*.partial")) == []
    assert verify_store(store, 2, progress=False) == []
    found = status(clips, store, progress=False)
    assert str(found) == f"{CLIPS} done, 0 partial, 0 missing, 0 failed, 0 stale, 0 orphans"


def test_each_damage_is_found(clips: Path, clean: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(clean, tmp_path / "store"))
    files = find_store_files(store)
    flipped, cut, thinned, gone, *_ = files.values()
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    rewrite(thinned, lambda members: members.pop("flow_y_00003.jpg"))
    gone.unlink()
    faults = verify_store(store, 2, progress=False)
    told = {path for path in files.values() if any(str(path) in fault for fault in faults)}
    assert told == {flipped, cut, thinned, gone}


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
