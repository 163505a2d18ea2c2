"""One video's way into its store file. Kinds: oracle (the solver called directly), identity
(windows, threads), known answer."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from extraction import FPS, HEIGHT, QUICK, WIDTH, run, through_jpeg
from flow import decode, encode, scaling, store_video, tvl1_video
from flow.algorithms import video_flow
from flow.encoding import clipped_fraction
from flow.errors import InputError
from flow.extract import Summary
from flow.settings import Settings
from flow.status import verify_store
from flow.store import StoreFile
from flow.throughput import Work
from flow.video import Video, grey
from store_files import contents, failures


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
        sums = [frame.reshape(12, 2, 16, 2, 3).sum(axis=(1, 3)) for frame in frames]
        wanted = [through_jpeg(((total + 2) // 4).astype(np.uint8)) for total in sums]
        assert np.array_equal(read, wanted)
    else:  # scaled back they are what they were
        back = [grey(cv2.resize(frame, (WIDTH, HEIGHT))) for frame in read]
        assert np.abs(np.subtract(back, [grey(frame) for frame in frames], dtype=int)).mean() < 2
    # The motion is scaled along.
    flow = tvl1_video(np.stack([grey(frame) for frame in frames]), QUICK.params, "opencv")
    moved = np.median(decode(images), axis=(1, 2))
    assert np.abs(moved - np.median(flow, axis=(1, 2)) * short_side / 24).mean() < 0.25


def test_upright_video_keeps_its_shape(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 50, 31, 3), dtype=np.uint8)
    scaled = [scaling.scaled(frame, 20) for frame in frames]
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


@pytest.mark.parametrize(
    ("pixels", "threads", "gpu", "pairs"),
    [
        (100, 1, None, 16),
        (100, 3, None, 15),  # the last ones end together
        (100, 40, None, 40),
        (1 << 20, 1, None, 4),
        (1 << 20, 3, None, 3),
        (1 << 30, 2, None, 2),
        (100, 3, "cuda:0", 256),
        (1 << 20, 3, "cuda:0", 16),
        (1 << 30, 3, "cuda:0", 1),
    ],
)
def test_how_many_pairs_make_a_window(
    videos: Path, pixels: int, threads: int, gpu: str | None, pairs: int
) -> None:
    job = store_video.Job(videos / "long.avi", "long.avi", "long", videos / "none.zip", QUICK, 1)
    assert store_video._pairs(pixels, replace(job, threads=threads, gpu=gpu)) == pairs


def test_one_frame_before_the_damage_is_not_enough(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("1.png", "3.png"):
        cv2.imwrite(str(folder / name), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    target = tmp_path / "images.zip"
    job = store_video.Job(folder, "images", "images", target, QUICK, 1, keep_readable=True)
    refused = store_video.store_video(job, lambda work: None)
    assert isinstance(refused, store_video.Refused)
    assert f"{folder} has one frame that can be read (lacks 2.png);" in refused.reason
    assert not target.exists()
