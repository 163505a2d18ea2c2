"""Extraction. Kinds: oracle (the solver called directly), known answer, death of processes.

TV-L1 runs on tiny videos with few iterations: what is tested is the stage, not the solver."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extraction import (
    FPS,
    HEIGHT,
    QUICK,
    WIDTH,
    in_this_process,
    places,
    run,
    through_jpeg,
    write_video,
)
from flow import encode, engines, tvl1_video
from flow.encoding import clipped_fraction
from flow.errors import InputError
from flow.extract import Summary, extract
from flow.files import atomic
from flow.sources import find_videos
from flow.status import status, verify_store
from flow.store import StoreFile, find_store_files, verify
from flow.tvl1 import TVL1Params
from flow.video import Video, grey
from living import is_running, wait_for
from store_files import contents, failures, manifest


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


def test_another_run_at_the_same_video_is_waited_for(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    target = store / "bend" / "SHOUTED.zip"
    target.parent.mkdir(parents=True)
    others = run(videos, tmp_path / "other")
    assert others.stored == 3
    rounds: list[list[tuple[str, bool]]] = []
    run_tasks = engines.run

    def spy(function: Any, tasks: Any, workers: int) -> Any:
        rounds.append([(task.video, task.wait) for task in tasks])
        return run_tasks(function, tasks, workers)

    monkeypatch.setattr(engines, "run", spy)
    ended: list[Summary] = []
    thread = threading.Thread(target=lambda: ended.append(run(videos, store)))
    with atomic(target) as file:
        thread.start()
        wait_for(lambda: len(find_store_files(store)) == 2)
        time.sleep(0.5)
        assert thread.is_alive()
        file.write((tmp_path / "other" / "bend" / "SHOUTED.zip").read_bytes())
    thread.join(timeout=60)
    assert (ended[0].stored, ended[0].present, ended[0].failures) == (2, 1, ())
    assert [sorted(tasks) for tasks in rounds] == [
        [("bend/SHOUTED", False), ("bend/daria.bend", False), ("long", False)],
        [("bend/SHOUTED", True)],
    ]
    monkeypatch.undo()
    assert contents(store) == contents(tmp_path / "other")
    assert verify_store(store, 1, False) == []


def test_two_runs_at_once_share_the_work(videos: Path, tmp_path: Path) -> None:
    many, store = tmp_path / "videos", tmp_path / "store"
    for k in range(6):
        many.mkdir(exist_ok=True)
        shutil.copy(videos / "long.avi", many / f"{k}.avi")
    with ThreadPoolExecutor(2) as pool:
        summaries = list(pool.map(lambda _: run(many, store), range(2)))
    assert all(summary.failures == () for summary in summaries)
    assert sum(summary.stored for summary in summaries) == 6
    assert all(summary.stored + summary.present == 6 for summary in summaries)
    assert list(manifest(store)) == list(find_store_files(store)) == list("012345")
    assert verify_store(store, 1, False) == []
    assert len({path.read_bytes() for path in find_store_files(store).values()}) == 6  # by name


def test_another_run_with_other_settings_does_not_mix(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(videos, tmp_path / "other", replace(QUICK, bound=7.0))
    target = store / "bend" / "SHOUTED.zip"
    target.parent.mkdir(parents=True)
    ended: list[Summary] = []
    thread = threading.Thread(target=lambda: ended.append(run(videos, store)))
    with atomic(target) as file:
        thread.start()
        wait_for(lambda: len(find_store_files(store)) == 2)
        file.write((tmp_path / "other" / "bend" / "SHOUTED.zip").read_bytes())
    thread.join(timeout=60)
    ((source, reason),) = ended[0].failures
    assert source == "bend/SHOUTED.AVI"
    assert "Another run has stored it with bound 7.0, not 20.0" in reason
    # That is no fault of the video: without the other's file it is tried again.
    target.unlink()
    assert run(videos, store).failures == ()


@pytest.mark.parametrize(
    ("workers", "at_a_time", "threads"), [(1, 1, 8), (2, 2, 4), (3, 3, 2), (None, 8, 2), (9, 9, 2)]
)
def test_processors_without_a_video_help_with_the_largest_first(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    at_a_time: int,
    threads: int,
) -> None:
    given: list[Any] = []

    def spy(function: Any, tasks: Any, workers: int) -> Any:
        given.append((workers, {task.threads for task in tasks}, [task.bytes for task in tasks]))
        return in_this_process(function, tasks, workers)

    monkeypatch.setattr(engines, "run", spy)
    monkeypatch.setattr("flow.extract.usable_processors", lambda: 8)
    assert extract(videos, tmp_path, QUICK, workers, False).stored == 3
    sizes = sorted((path.stat().st_size for path in find_videos(videos)), reverse=True)
    assert given == [(at_a_time, {threads}, sizes)]
    assert [path.stat().st_size for path in find_videos(videos)] != sizes


def test_damaged_videos_are_kept_up_to_the_damage_where_asked(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "run", in_this_process)
    damaged, store = tmp_path / "videos", tmp_path / "store"
    write_video(damaged / "whole.avi")
    content = (videos / "long.avi").read_bytes()
    (damaged / "cut.avi").write_bytes(content[: len(content) * 6 // 10])
    (damaged / "text.avi").write_text("no video")
    assert run(damaged, store).stored == 1
    assert "is cut short" in failures(store)["cut.avi"]

    # What an earlier run refused is tried again.
    summary = extract(damaged, store, QUICK, 1, False, keep_readable=True)
    assert (summary.stored, summary.present, summary.damaged) == (1, 1, 1)
    assert "1 already there (1 up to where they are damaged), 1 failed" in str(summary)
    assert list(failures(store)) == ["text.avi"]
    video = Video(damaged / "cut.avi", keep_readable=True)
    frames = list(video)
    with StoreFile(store / "cut.zip") as file:
        meta, read = file.meta, file.frames(range(file.meta.frames))
    assert 2 < meta.frames == len(frames) < 36
    assert np.array_equal(read, [through_jpeg(frame) for frame in frames])
    assert meta.damage == video.damage
    assert meta.damage is not None
    rows = manifest(store)
    assert {video: row["status"] for video, row in rows.items()} == {
        "cut": "partial",
        "text": "failed",
        "whole": "stored",
    }
    assert (rows["cut"]["damage"], rows["whole"]["damage"]) == (meta.damage, "")
    assert verify_store(store, 1, False) == []
    found = status(damaged, store, progress=False)
    assert (found.done, found.partial) == (("cut.avi", "whole.avi"), ("cut.avi",))

    before = contents(store)
    summary = run(damaged, store)
    assert (summary.stored, summary.present, summary.damaged) == (0, 2, 1)
    assert contents(store) == before


def test_each_bad_video_fails_alone_and_is_told(tmp_path: Path) -> None:
    folder, store = tmp_path / "videos", tmp_path / "store"
    good = write_video(folder / "good.avi")
    write_video(folder / "good.mp4", codec="mpeg4")
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
    # The largest video comes first.
    assert list(manifest(tmp_path)) == list(find_store_files(tmp_path)) == ["long"]
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        *("long.zip", "manifest.csv", "failures.csv")
    }


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


def test_what_dead_processes_left_goes_before_the_work_and_after_it(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / ".dead.zip.partial"
    left.write_bytes(b"half")

    def leaving(function: Any, tasks: Any, workers: int) -> Iterator[Any]:
        assert not left.exists()
        yield from in_this_process(function, tasks, workers)
        left.write_bytes(b"half")

    monkeypatch.setattr(engines, "run", leaving)
    assert run(videos / "bend", tmp_path).stored == 2
    assert not left.exists()


def test_a_run_that_is_killed_leaves_no_half_file_under_a_final_name(
    videos: Path, stored: tuple[Path, Summary], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    code = (
        "import sys; from pathlib import Path\n"
        "from flow import TVL1Params\nfrom flow.extract import extract\n"
        "from flow.settings import Settings\n"
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
    wait_for(lambda: list(store.rglob(".*.partial")) and find_store_files(store))
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = {int(number) for number in listed}
    assert workers
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_running, workers)))
    done = contents(store)
    assert 0 < len(done) < 11
    assert not (store / "manifest.csv").exists()
    for path in find_store_files(store).values():
        assert verify(path) == []

    assert run(many, store).present == len(done)
    assert list(store.rglob(".*.partial")) == []
    assert verify_store(store, 1, False) == []
    whole = contents(stored[0])
    after = contents(store)
    assert {video: after[video] for video in whole} == whole
    assert len(manifest(store)) == len(after) == 11
