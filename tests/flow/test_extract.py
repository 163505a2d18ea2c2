"""Extraction. Kinds: oracle (the solver called directly), known answer, death of processes.

TV-L1 runs on tiny videos with few iterations: what is tested is the stage, not the solver.
"""

import csv
import errno
import importlib
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import encode, engines, tvl1_video
from flow.encoding import clipped_fraction
from flow.errors import InputError
from flow.extract import Settings, Summary, extract
from flow.manifest import read_manifest
from flow.sources import find_videos
from flow.status import verify_store
from flow.store import StoreFile, find_store_files, read_meta, verify
from flow.tvl1 import TVL1Params
from flow.video import Video, grey

HEIGHT, WIDTH, FPS = 24, 32, 10.0
QUICK = Settings(
    solver="opencv",
    params=TVL1Params(scales=2, warps=2, inner_iterations=5, outer_iterations=1, median=1),
)


def places(count: int, seed: int) -> NDArray[np.float64]:
    """Where a texture is in each frame (count, 2): up to a pixel from where it was before."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).cumsum(axis=0)


def write_video(path: Path, count: int = 4, seed: int = 0, codec: str = "MJPG") -> Path:
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (4 * WIDTH, 4 * HEIGHT))
    path.parent.mkdir(parents=True, exist_ok=True)
    fourcc = cv2.VideoWriter_fourcc(*codec)
    temporary = path.with_name(f"written{path.suffix}")  # OpenCV does not take every name
    writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, fourcc, FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for x, y in places(count, seed):
        shift = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(texture, shift, (4 * WIDTH, 4 * HEIGHT), borderMode=cv2.BORDER_WRAP)
        writer.write(moved[HEIGHT : 2 * HEIGHT, WIDTH : 2 * WIDTH])
    writer.release()
    return temporary.rename(path)


def through_jpeg(frame: NDArray[np.uint8], quality: int = 95) -> NDArray[np.uint8]:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def run(videos: Path, store: Path, settings: Settings = QUICK, workers: int = 1) -> Summary:
    return extract(videos, store, settings, workers=workers, progress=False)


def contents(store: Path) -> dict[str, bytes]:
    return {video: path.read_bytes() for video, path in find_store_files(store).items()}


def manifest(store: Path) -> dict[str, dict[str, str]]:
    rows = read_manifest(store)
    assert [row["video"] for row in rows] == sorted({row["video"] for row in rows})
    return {row["video"]: row for row in rows}


def failures(store: Path) -> dict[str, str]:
    with (store / "failures.csv").open(newline="", encoding="utf-8") as file:
        return {row["video"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sound videos that no test may change."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "long.avi", count=36, seed=1)
    write_video(folder / "bend" / "daria.bend.mp4", seed=2, codec="mp4v")
    write_video(folder / "bend" / "SHOUTED.AVI", count=2, seed=3)
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> tuple[Path, Summary]:
    """The store of ``videos``, which no test may change."""
    store = tmp_path_factory.mktemp("stored") / "new" / "store"
    return store, run(videos, store, workers=2)


@pytest.fixture
def copy(stored: tuple[Path, Summary], tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored[0], tmp_path / "store"))


def test_the_store_holds_frames_and_flow_of_every_video(
    stored: tuple[Path, Summary], videos: Path
) -> None:
    store, summary = stored
    assert list(find_store_files(store)) == ["bend/SHOUTED", "bend/daria.bend", "long"]
    assert (summary.stored, summary.present, summary.failures) == (3, 0, ())
    assert summary.flows == 35 + 3 + 1
    assert summary.bytes == sum(map(len, contents(store).values()))
    video = Video(videos / "long.avi")
    frames = np.stack(list(video))
    flow = tvl1_video(np.stack([grey(frame) for frame in frames]), QUICK.params, "opencv")
    moved = np.diff(places(36, seed=1), axis=0)
    assert np.abs(np.median(flow, axis=(1, 2)) - moved).mean() < 0.2
    with StoreFile(store / "long.zip") as file:
        assert file.meta.frames == len(frames) == 36
        read = file.frames(np.arange(36))
        images = file.flow_images(np.arange(35))
        meta = file.meta
    assert np.array_equal(read, [through_jpeg(frame) for frame in frames])
    # Each flow, in all windows and where they meet: half a grey value is what JPEG costs.
    errors = np.abs(images.astype(int) - encode(flow)).mean(axis=(1, 2, 3))
    assert errors.max() < 0.5
    assert np.abs(images[:-1].astype(int) - encode(flow[1:])).mean() > 1
    assert meta.clipped == pytest.approx(clipped_fraction(flow, 20.0))
    assert replace(meta, clipped=0.0) == replace(
        meta,
        clipped=0.0,
        source="long.avi",
        source_bytes=(videos / "long.avi").stat().st_size,
        fps=FPS,
        width=WIDTH,
        height=HEIGHT,
        decoder=video.decoder,
        solver="opencv",
        params=asdict(QUICK.params),
        bound=20.0,
        encoding="symmetric",
        quality=95,
    )
    assert verify_store(store, progress=False) == []


def test_the_manifest_has_a_row_a_video(stored: tuple[Path, Summary], videos: Path) -> None:
    store, _ = stored
    rows = manifest(store)
    assert list(rows) == ["bend/SHOUTED", "bend/daria.bend", "long"]
    meta = read_meta(store / "long.zip")
    assert float(rows["long"].pop("seconds")) > 0
    assert float(rows["long"].pop("clipped")) == meta.clipped
    assert rows["long"] == {
        "video": "long",
        "source": "long.avi",
        "bytes": str((videos / "long.avi").stat().st_size),
        "sha256": meta.source_sha256,
        "frames": "36",
        "flows": "35",
        "width": str(WIDTH),
        "height": str(HEIGHT),
        "fps": "10.0",
        "solver": "opencv",
        "bound": "20.0",
        "encoding": "symmetric",
        "status": "stored",
    }
    assert rows["bend/SHOUTED"]["source"] == "bend/SHOUTED.AVI"
    assert failures(store) == {}


def test_settings_are_obeyed(videos: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, bound=0.5, encoding="dense_flow", quality=60)
    summary = run(videos / "bend", tmp_path / "store", settings)
    assert summary.clipped > 0.2
    with StoreFile(tmp_path / "store" / "daria.bend.zip") as file:
        assert (file.meta.bound, file.meta.encoding, file.meta.quality) == (0.5, "dense_flow", 60)
        read, images = file.frames(range(4)), file.flow_images(range(3))
    frames = list(Video(videos / "bend" / "daria.bend.mp4"))
    assert np.array_equal(read, [through_jpeg(frame, 60) for frame in frames])
    flow = tvl1_video(np.stack([grey(frame) for frame in frames]), QUICK.params, "opencv")
    assert np.abs(images.astype(int) - encode(flow, 0.5, "dense_flow")).mean() < 8
    assert file.meta.clipped == pytest.approx(clipped_fraction(flow, 0.5))


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


def test_a_video_that_was_stored_and_now_is_bad(copy: Path, videos: Path, tmp_path: Path) -> None:
    before = contents(copy)
    sources = Path(shutil.copytree(videos, tmp_path / "videos"))
    (sources / "long.avi").write_bytes(b"")
    assert run(sources, copy).present == 2
    assert manifest(copy)["long"]["status"] == "failed"
    assert list(failures(copy)) == ["long.avi"]
    assert contents(copy) == before


def test_what_an_earlier_run_stored_stays_in_the_manifest(
    copy: Path, stored: tuple[Path, Summary], tmp_path: Path
) -> None:
    write_video(tmp_path / "videos" / "other.avi", count=2)
    run(tmp_path / "videos", copy)
    rows = manifest(copy)
    assert list(rows) == ["bend/SHOUTED", "bend/daria.bend", "long", "other"]
    before = manifest(stored[0])
    assert {video: rows[video] for video in before} == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bound": 15.0}, "bound 20.0, not 15.0"),
        ({"encoding": "dense_flow"}, "encoding symmetric, not dense_flow"),
        ({"quality": 90}, "quality 95, not 90"),
        ({"solver": "reference"}, "solver opencv, not reference"),
        ({"params": replace(QUICK.params, tau=0.2)}, "tau 0.25, not 0.2"),
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


def test_each_bad_video_fails_alone_and_is_told(tmp_path: Path) -> None:
    folder, store = tmp_path / "videos", tmp_path / "store"
    good = write_video(folder / "good.avi")
    write_video(folder / "good.mp4", codec="mp4v")
    write_video(folder / "one frame.avi", count=1)
    (folder / "empty.avi").touch()
    (folder / "text.avi").write_text("no video")
    (folder / "cut.avi").write_bytes(good.read_bytes()[:-1000])
    (folder / "nowhere.avi").symlink_to(folder / "absent.avi")
    (folder / os.fsdecode(b"caf\xe9.avi")).write_bytes(good.read_bytes())
    summary = run(folder, store)
    assert summary.stored == 1
    told = failures(store)
    assert told == {
        source.encode(errors="backslashreplace").decode(): reason.encode(
            errors="backslashreplace"
        ).decode()
        for source, reason in summary.failures
    }
    for source, word in {
        "caf\\udce9.avi": "not UTF-8",
        "cut.avi": "cut short",
        "empty.avi": "empty",
        "good.mp4": "same name as good.avi",
        "nowhere.avi": "not a file",
        "one frame.avi": "one frame",
        "text.avi": "no video",
    }.items():
        assert word in told.pop(source)
    assert told == {}
    status = {video: row["status"] for video, row in manifest(store).items()}
    assert status.pop("good") == "stored"
    assert set(status.values()) == {"failed"}
    assert status.keys() == {"caf\\udce9", "cut", "empty", "nowhere", "one frame", "text"}
    assert list(find_store_files(store)) == ["good"]
    assert verify_store(store, progress=False) == []

    for path in folder.iterdir():
        if path != good:
            path.unlink()
    write_video(folder / "cut.avi")
    assert run(folder, store).failures == ()
    assert failures(store) == {}
    assert {row["status"] for row in manifest(store).values()} == {"stored"}
    assert list(manifest(store)) == ["cut", "good"]


def test_any_name(tmp_path: Path) -> None:
    names = ["a b", "-x", "a'b\"c", "new\nline, two", "日本 é", "a.b", "=1+1", "cr\rlf"]
    for name in names:
        write_video(tmp_path / "videos" / "dotted.folder" / f"{name}.avi", count=2)
    store = tmp_path / "store"
    assert run(tmp_path / "videos", store).stored == len(names)
    ids = {f"dotted.folder/{name}" for name in names}
    assert set(find_store_files(store)) == set(manifest(store)) == ids
    assert {row["source"] for row in manifest(store).values()} == {f"{name}.avi" for name in ids}
    assert run(tmp_path / "videos", store).present == len(names)
    assert verify_store(store, progress=False) == []


def test_which_videos_are_found(tmp_path: Path) -> None:
    for name in ("b.avi", "a/deep/er/c.MkV", ".hidden.avi", ".folder/d.avi", "e.txt", "f.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.avi").symlink_to(tmp_path / "itself.avi")
    (tmp_path / "alias").symlink_to(tmp_path / "a" / "deep")
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["a/deep/er/c.MkV", "alias/er/c.MkV", "b.avi", "itself.avi"]


def test_wrong_usage_is_told_before_anything_is_made(tmp_path: Path, videos: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    file = tmp_path / "file.avi"
    file.touch()
    store = tmp_path / "store"
    for folder, word in ((tmp_path / "absent", "no folder"), (file, "no folder"), (empty, "avi")):
        with pytest.raises(InputError, match=word):
            run(folder, store)
    with pytest.raises(InputError, match="workers is 0"):
        run(videos, store, workers=0)
    cuda_scheme = TVL1Params.opencv_cuda()
    with pytest.raises(InputError, match="sampling"):
        run(videos, store, replace(QUICK, params=cuda_scheme))
    assert not store.exists()
    with pytest.raises(InputError, match="cannot be written"):
        run(videos, file / "store")


@pytest.mark.parametrize(
    "wrong", [{"bound": 0}, {"encoding": "other"}, {"quality": 0}, {"quality": 101}]
)
def test_settings_check_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)


def in_this_process(
    function: Callable[[Any, engines.Tell], Any], tasks: Sequence[Any], workers: int
) -> Iterator[Any]:
    for task in tasks:
        try:
            yield engines.Done(task, function(task, lambda units: None))
        except InputError as error:
            yield engines.Failed(task, str(error))


def test_a_full_disk_ends_the_run(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the second store file; a file and its folder make two
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(engines, "run", in_this_process)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(videos, tmp_path)
    assert list(manifest(tmp_path)) == list(find_store_files(tmp_path)) == ["bend/SHOUTED"]
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        *("SHOUTED.zip", "manifest.csv", "failures.csv")
    }


def test_verify_compares_with_the_manifest(copy: Path) -> None:
    (copy / "long.zip").unlink()
    damaged = copy / "bend" / "SHOUTED.zip"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    faults = verify_store(copy, workers=1, progress=False)
    assert len(faults) == 2
    assert "SHOUTED.zip is no whole zip file" in faults[0]
    assert "long.zip is gone" in faults[1]
    (copy / "manifest.csv").unlink()
    assert any("manifest.csv cannot be read" in fault for fault in verify_store(copy, 1, False))
    (copy / "manifest.csv").write_text("video,other\na,b\n")
    assert any("columns of a manifest" in fault for fault in verify_store(copy, 1, False))
    with pytest.raises(InputError, match="no folder"):
        verify_store(copy / "absent")


def test_progress_is_told_line_by_line_where_stderr_is_a_file(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract(videos / "bend", tmp_path / "store", QUICK, workers=1)
    said = capsys.readouterr()
    assert said.out == ""
    assert "\r" not in said.err
    assert "4/4" in said.err
    assert "flows/s" in said.err
    assert "2/2 videos" in said.err
    run(videos / "bend", tmp_path / "store")
    assert capsys.readouterr() == ("", "")


FUNCTIONS = """
import os, signal, time
from flow.errors import InputError

at_start = signal.getsignal(signal.SIGINT)

def work(task, tell):
    if task == "interrupts":
        return at_start == signal.SIG_IGN, signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if task == "who":
        return os.getpid()
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "crashed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "ended":
        os._exit(3)
    if task == "wrong":
        raise InputError("a reason")
    if task == "unexpected":
        raise ZeroDivisionError("several\\nlines")
    if task == "asleep":
        tell(os.getpid())
        time.sleep(60)
    tell(2)
    tell(3)
    return task.upper()
"""

Work = Callable[[str, engines.Tell], str]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """A function that the processes of an engine can import."""
    (tmp_path / "functions_of_a_test.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("functions_of_a_test")
    yield module.work
    del sys.modules["functions_of_a_test"]


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet is dead all the same.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("workers", [1, 3])
def test_each_task_ends_once_whatever_its_process_does(work: Work, workers: int) -> None:
    tasks = ["a", "killed", "b", "crashed", "wrong", "c", "ended", "unexpected", "d"]
    done, failed, units = {}, {}, dict.fromkeys(tasks, 0)
    for event in engines.run(work, tasks, workers):
        if isinstance(event, engines.Progress):
            units[event.task] += event.units
        elif isinstance(event, engines.Done):
            assert done.setdefault(event.task, event.result) is event.result
        else:
            assert failed.setdefault(event.task, event.reason) is event.reason
    assert done == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert {task for task in tasks if units[task]} == done.keys()
    assert set(units.values()) == {0, 5}
    assert failed["wrong"] == "a reason"
    assert failed["unexpected"] == "unexpected ZeroDivisionError: several lines"
    assert "memory" in failed["killed"]
    assert "SIGSEGV" in failed["crashed"]
    assert "status 3" in failed["ended"]
    assert len(failed) == 5


def test_no_process_outlives_the_iterator(work: Work) -> None:
    started = time.perf_counter()
    with closing(engines.run(work, ["asleep", "asleep"], 2)) as events:
        processes = [event.units for event in itertools.islice(events, 2)]
        assert all(map(is_running, processes))
    assert not any(map(is_running, processes))
    assert time.perf_counter() - started < 30


def test_a_process_takes_one_task_after_another(work: Work) -> None:
    events = list(engines.run(work, ["who"] * 6, 2))
    assert len(events) == 6
    assert len({event.result for event in events if isinstance(event, engines.Done)}) <= 2


def test_ctrl_c_is_not_for_the_workers(work: Work) -> None:
    (event,) = engines.run(work, ["interrupts"], 1)
    assert isinstance(event, engines.Done)
    assert event.result == (True, True)

    events: list[object] = []
    thread = threading.Thread(target=lambda: events.extend(engines.run(work, ["interrupts"], 1)))
    thread.start()
    thread.join()
    assert events == [engines.Done("interrupts", (False, True))]


def test_no_process_outlives_its_parent(work: Work, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import functions_of_a_test\n"
        "from flow import engines\n"
        "if __name__ == '__main__':\n"
        "    for event in engines.run(functions_of_a_test.work, ['asleep'], 1):\n"
        "        print(event.units, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    wait_for(lambda: not is_running(worker))


def test_a_run_that_is_killed_leaves_no_half_file_under_a_final_name(
    videos: Path, stored: tuple[Path, Summary], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    code = (
        "import sys; from pathlib import Path\n"
        "from flow.extract import Settings, TVL1Params, extract\n"
        "if __name__ == '__main__':\n"
        f"    settings = Settings(solver='opencv', params={QUICK.params!r})\n"
        "    extract(Path(sys.argv[1]), Path(sys.argv[2]), settings, 2, False)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    many = Path(shutil.copytree(videos, tmp_path / "videos"))
    for k in range(8):
        shutil.copy(videos / "long.avi", many / f"long {k}.avi")
    process = subprocess.Popen([sys.executable, script, many, store])
    wait_for(lambda: list(store.rglob(".*.partial-*")) and find_store_files(store))
    workers = {int(path.name.rpartition("-")[2]) for path in store.rglob(".*.partial-*")}
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_running, workers)))
    done = contents(store)
    assert 0 < len(done) < 11
    assert not (store / "manifest.csv").exists()
    for path in find_store_files(store).values():
        assert verify(path) == []

    assert run(many, store).present == len(done)
    assert list(store.rglob(".*.partial-*")) == []
    assert verify_store(store, 1, False) == []
    whole = contents(stored[0])
    after = contents(store)
    assert {video: after[video] for video in whole} == whole
    assert len(manifest(store)) == len(after) == 11


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
