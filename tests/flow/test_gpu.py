"""The process of a GPU, with what stands for a GPU. Kinds: known answer, death of processes."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flow import extract, gpu
from flow.errors import PassingError
from flow.gpu import Answer, GpuClient, GpuProcess, Task
from flow.settings import Settings
from flow.status import verify_store
from flow.store import find_store_files
from flow.tvl1 import TVL1Params
from gpu_stand_in import solve, true_flow
from twostream.demo import write_video

PARAMS = TVL1Params(scales=2, warps=1, inner_iterations=3, outer_iterations=1)


def task(first: int = 9, shape: tuple[int, int, int] = (4, 6, 7), bound: float = 0.5) -> Task:
    frames = np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)
    frames[0, 0, 0] = first
    return Task(frames, PARAMS, bound, "symmetric")


def is_right(answer: Answer, given: Task) -> bool:
    frames = given.frames
    wanted = np.stack([frames[:-1], frames[1:]], axis=-1)
    same = answer.images == wanted
    same[:, 0, 0] = True
    return bool(same.all()) and answer.clipped == given.bound


def test_windows_of_any_size_come_back() -> None:
    with GpuProcess("cuda:5", solve) as process, GpuClient(process.address) as client:
        for shape in ((4, 6, 7), (2, 1, 1), (9, 40, 50), (3, 6, 7)):
            answer, busy = client.solve(given := task(shape=shape, bound=shape[1] / 100))
            assert is_right(answer, given)
            assert (answer.images[:, 0, 0] == (1, 5)).all()
            assert 0.04 < busy < 5


def test_clients_are_served_side_by_side_but_not_too_many() -> None:
    given = [task(shape=(3, 5, 4 + k)) for k in range(12)]

    def one(which: Task) -> tuple[bool, int, float]:
        with GpuClient(process.address) as client:
            results = [client.solve(which) for _ in range(3)]
        most = max(int(answer.images[0, 0, 0, 0]) for answer, _ in results)
        return (
            all(is_right(answer, which) for answer, _ in results),
            most,
            sum(r[1] for r in results),
        )

    with GpuProcess("cuda:0", solve) as process, ThreadPoolExecutor(12) as pool:
        GpuClient(process.address).solve(task())  # it is up
        started = time.perf_counter()
        ends = list(pool.map(one, given))
        passed = time.perf_counter() - started
    assert all(right for right, _, _ in ends)
    assert max(most for _, most, _ in ends) == gpu.AT_A_TIME
    # Side by side is counted once.
    assert sum(busy for _, _, busy in ends) < passed + 0.1


def test_what_cannot_be_done_is_told_and_the_next_is_done() -> None:
    with GpuProcess("cuda:0", solve) as process, GpuClient(process.address) as client:
        with pytest.raises(PassingError, match="a reason"):
            client.solve(task(first=1))
        assert is_right(client.solve(given := task())[0], given)


@pytest.mark.parametrize(
    ("first", "words"), [(2, "an illegal memory access was encountered"), (3, "died while")]
)
def test_a_gpu_that_fails_starts_anew(first: int, words: str) -> None:
    with GpuProcess("cuda:0", solve) as process:
        number = process._process.pid
        with GpuClient(process.address) as client, pytest.raises(PassingError, match=words):
            client.solve(task(first=first))
        with GpuClient(process.address) as client:
            assert is_right(client.solve(given := task())[0], given)
        assert process._process.pid != number  # an error of CUDA spoils its process


def test_a_process_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(PassingError, match="does not answer"):
        GpuClient(str(tmp_path / "socket"), patience_seconds=0.2)


def test_nothing_is_left_of_it() -> None:
    with GpuProcess("cuda:0", solve) as process:
        GpuClient(process.address).solve(task())
        folder, number = Path(process.address).parent, process._process.pid
        assert folder.is_dir()
    assert not folder.exists()
    assert number is not None
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert not [t for t in threading.enumerate() if t is process._watch]


def test_an_extraction_on_two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = tmp_path / "videos"
    for k in range(4):
        frames = np.random.default_rng(k).integers(0, 256, (6 + k, 20, 24, 3), dtype=np.uint8)
        write_video(videos / f"{k}.avi", frames)
    settings = Settings(solver="cpu", params=PARAMS, bound=2.0)
    plain = extract.extract(videos, tmp_path / "plain", settings, 2, False)
    monkeypatch.setattr(extract, "_gpus", lambda settings: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(extract, "GpuProcess", partial(GpuProcess, solve=true_flow))
    summary = extract.extract(videos, tmp_path / "gpu", settings, 2, False)
    assert (summary.stored, summary.failures) == (4, ())
    assert "(GPU)" in str(summary)
    assert 0 < summary.throughput.gpu_busy() < 1
    stores = [find_store_files(tmp_path / name) for name in ("plain", "gpu")]
    assert stores[0].keys() == stores[1].keys()
    for video, path in stores[0].items():
        assert path.read_bytes() == stores[1][video].read_bytes()
    assert replace(summary, store=plain.store, seconds=0, throughput=plain.throughput) == replace(
        plain, seconds=0
    )
    assert verify_store(tmp_path / "gpu", 1, False) == []


def test_a_gpu_that_fails_costs_its_videos_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = tmp_path / "videos"
    for k in range(3):
        frames = np.full((4, 20, 24, 3), 100 + k, np.uint8)
        write_video(videos / f"{k}.avi", frames)
    bad = np.full((40, 20, 24, 3), 60, np.uint8)  # the GPU fails at grey values of 60
    write_video(videos / "bad.avi", bad)
    monkeypatch.setattr(extract, "_gpus", lambda settings: ["cuda:0"])
    monkeypatch.setattr(extract, "GpuProcess", partial(GpuProcess, solve=solve))
    settings = Settings(solver="cpu", params=PARAMS, bound=0.5)
    summary = extract.extract(videos, tmp_path / "store", settings, 1, False)
    assert summary.stored == 3, summary.failures
    ((source, reason),) = summary.failures
    assert source == "bad.avi"
    assert "illegal memory access" in reason
    # It may go well the next time.
    monkeypatch.setattr(extract, "GpuProcess", partial(GpuProcess, solve=true_flow))
    summary = extract.extract(videos, tmp_path / "store", settings, 1, False)
    assert (summary.stored, summary.present, summary.failures) == (1, 3, ())


def test_ctrl_c_is_not_for_it() -> None:
    with GpuProcess("cuda:0", solve) as process, GpuClient(process.address) as client:
        client.solve(task())
        assert process._process.pid is not None
        os.kill(process._process.pid, signal.SIGINT)
        assert is_right(client.solve(given := task())[0], given)
