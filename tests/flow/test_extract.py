"""Extraction. Kinds: oracle (the solver called directly), known answer, death of processes.

TV-L1 runs on tiny videos with few iterations: what is tested is the stage, not the solver.
"""

import csv
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import decode, encode, engines, store_video, tvl1_video
from flow.algorithms import video_flow
from flow.encoding import clipped_fraction
from flow.errors import InputError
from flow.extract import Summary, extract
from flow.files import atomic
from flow.manifest import read_manifest
from flow.settings import Settings
from flow.sources import find_videos
from flow.status import verify_store
from flow.store import StoreFile, find_store_files, read_meta, verify
from flow.throughput import Work
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
        "algorithm": "tvl1",
        "solver": "opencv",
        "version": f"opencv {cv2.__version__}",
        "params": json.dumps(asdict(QUICK.params)),
        "short_side": "",
        "step": "1",
        "bound": "20.0",
        "encoding": "symmetric",
        "codec": "jpeg",
        "quality": "95",
        "rgb": "True",
        "status": "stored",
        "damage": "",
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


def test_every_second_frame(videos: Path, tmp_path: Path) -> None:
    run(videos / "bend", tmp_path / "store", replace(QUICK, step=2))
    frames = list(Video(videos / "bend" / "daria.bend.mp4"))[::2]
    with StoreFile(tmp_path / "store" / "daria.bend.zip") as file:
        assert (file.meta.frames, file.meta.step, file.meta.fps) == (2, 2, FPS / 2)
        assert np.array_equal(file.frames([0, 1]), [through_jpeg(frame) for frame in frames])
        flow = tvl1_video(np.stack([grey(frame) for frame in frames]), QUICK.params, "opencv")
        assert np.abs(file.flow_images([0]).astype(int) - encode(flow)).mean() < 0.5
    assert "one frame" in failures(tmp_path / "store")["SHOUTED.AVI"]  # it has two


@pytest.mark.parametrize(("short_side", "size"), [(12, (12, 16)), (24, (24, 32)), (36, (36, 48))])
def test_the_short_side(
    videos: Path, tmp_path: Path, short_side: int, size: tuple[int, int]
) -> None:
    run(videos / "bend", tmp_path / "store", replace(QUICK, short_side=short_side))
    with StoreFile(tmp_path / "store" / "daria.bend.zip") as file:
        assert (file.meta.height, file.meta.width) == size
        assert file.meta.short_side == short_side
        read, images = file.frames(range(4)), file.flow_images(range(3))
    assert verify_store(tmp_path / "store", 1, False) == []
    frames = list(Video(videos / "bend" / "daria.bend.mp4"))
    if short_side == 12:  # each pixel is the mean of four
        wanted = [frame.reshape(12, 2, 16, 2, 3).mean(axis=(1, 3)) for frame in frames]
        wanted = [through_jpeg(np.rint(frame).astype(np.uint8)) for frame in wanted]
        assert np.abs(read.astype(int) - wanted).mean() < 1
    else:  # scaled back they are what they were
        back = [grey(cv2.resize(frame, (WIDTH, HEIGHT))) for frame in read]
        assert np.abs(np.subtract(back, [grey(frame) for frame in frames], dtype=int)).mean() < 2
    # The motion is scaled along.
    flow = tvl1_video(np.stack([grey(frame) for frame in frames]), QUICK.params, "opencv")
    moved = np.median(decode(images), axis=(1, 2))
    assert np.abs(moved - np.median(flow, axis=(1, 2)) * short_side / 24).mean() < 0.25


def test_upright_video_keeps_its_shape(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 50, 31, 3), dtype=np.uint8)
    scaled = [store_video._scaled(frame, 20) for frame in frames]
    assert {frame.shape for frame in scaled} == {(32, 20, 3)}


def test_flow_without_loss_and_without_frames(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(videos / "bend", store, replace(QUICK, codec="png", rgb=False))
    assert verify_store(store, 1, False) == []
    frames = np.stack([grey(frame) for frame in Video(videos / "bend" / "daria.bend.mp4")])
    with StoreFile(store / "daria.bend.zip") as file:
        assert np.array_equal(
            file.flow_images(range(3)), encode(tvl1_video(frames, QUICK.params, "opencv"))
        )
        with pytest.raises(InputError, match="no frames"):
            file.frames([0])


@pytest.mark.parametrize("algorithm", ["farneback", "dis"])
def test_other_algorithms(videos: Path, tmp_path: Path, algorithm: Any) -> None:
    store = tmp_path / "store"
    run(videos / "bend", store, Settings(algorithm=algorithm, codec="png"))
    frames = np.stack([grey(frame) for frame in Video(videos / "bend" / "daria.bend.mp4")])
    with StoreFile(store / "daria.bend.zip") as file:
        meta, images = file.meta, file.flow_images(range(3))
    assert (meta.algorithm, meta.solver) == (algorithm, "opencv")
    assert np.array_equal(images, encode(video_flow(frames, algorithm)))
    with pytest.raises(InputError, match=f"algorithm {algorithm}, not tvl1"):
        run(videos / "bend", store)


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


def test_another_run_at_the_same_video_is_waited_for(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    target = store / "bend" / "SHOUTED.zip"
    target.parent.mkdir(parents=True)
    others = run(videos, tmp_path / "other")
    assert others.stored == 3
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


def test_memory_and_threads_do_not_change_a_bit(
    stored: tuple[Path, Summary], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(stored[0])["long"]
    job = store_video.Job(videos / "long.avi", "long.avi", "long", tmp_path / "long.zip", QUICK, 1)
    for pairs, threads in ((1, 1), (4, 3), (100, 2)):
        monkeypatch.setattr(store_video, "CPU_WINDOW", (pairs, 1 << 22))
        told: list[Work] = []
        result = store_video.store_video(replace(job, threads=threads), told.append)
        assert isinstance(result, store_video.Stored)
        assert (tmp_path / "long.zip").read_bytes() == whole
        frames = sum((work.frames for work in told), Counter())
        assert frames == {"decode": 36, "solve": 35, "encode": 36, "write": 36}
        assert all(work.seconds[stage] > 0 for work in told[:1] for stage in frames)
        (tmp_path / "long.zip").unlink()


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
    "wrong",
    [
        *({"bound": 0}, {"encoding": "other"}, {"quality": 0}, {"quality": 101}, {"step": 0}),
        *({"short_side": 0}, {"codec": "gif"}, {"algorithm": "other"}),
        {"algorithm": "dis", "solver": "cpu"},
        {"algorithm": "farneback", "params": TVL1Params(tau=0.2)},
    ],
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
    # The largest video comes first.
    assert list(manifest(tmp_path)) == list(find_store_files(tmp_path)) == ["long"]
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        *("long.zip", "manifest.csv", "failures.csv")
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


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet is dead all the same.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


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


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
