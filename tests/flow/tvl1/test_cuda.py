"""The host's side of the CUDA solver, with the kernel's source run on the processor as the GPU."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flow import InputError, TVL1Params, decode, encode, tvl1
from flow.encoding import clipped_fraction
from flow.settings import Settings
from flow.store_video import Job, _solver
from flow.tvl1 import cuda, cuda_kernel, reference
from flow.tvl1.cuda_problem import slot_floats

PARAMS = TVL1Params(scales=2, warps=2, inner_iterations=6, outer_iterations=2)


class Emulator:
    """What stands for a GPU; it notes how many blocks each launch had."""

    def __init__(
        self, library: Any, blocks: int = 2, room: int | None = None, memory: int = 1 << 40
    ) -> None:
        self.launches: list[int] = []
        self._library, self._room = library, room
        self.target = cuda._Target(torch.device("cpu"), blocks, self._launch, memory)

    def _launch(self, problem: int, blocks: int, device: torch.device) -> None:
        if self._room is not None and blocks > self._room:
            raise torch.OutOfMemoryError("not so many")
        self.launches.append(blocks)
        self._library.tvl1_emulate(problem, blocks, 0)


@pytest.fixture
def gpu(emulation: Any, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    emulator = Emulator(emulation)
    monkeypatch.setattr(cuda, "_gpu", lambda name: emulator.target)
    return emulator


def video(count: int, height: int = 21, width: int = 34) -> NDArray[np.uint8]:
    rng = np.random.default_rng(count)
    still = rng.uniform(0, 255, (height + 2 * count, width + 2 * count))
    smooth = sum(np.roll(still, (i, j), (0, 1)) for i in range(4) for j in range(4)) / 16
    frames = [smooth[n : n + height, 2 * n : 2 * n + width] for n in range(count)]
    return np.stack(frames).astype(np.uint8)


def test_pairs_of_a_video_and_pairs_apart_are_solved_alike(gpu: Emulator) -> None:
    frames = video(6)
    flow = cuda.solve(frames[:-1], frames[1:], PARAMS)
    expected = reference.solve(np.float32(frames[:-1]), np.float32(frames[1:]), PARAMS)
    assert np.median(np.linalg.norm(flow - expected, axis=-1)) < 1e-3
    assert (cuda.solve(frames[:-1].copy(), frames[1:].copy(), PARAMS) == flow).all()
    assert (cuda.solve(np.float32(frames[:-1]), np.float32(frames[1:]), PARAMS) == flow).all()


def test_chunks_do_not_change_a_bit(gpu: Emulator) -> None:
    frames = video(20)
    flow = cuda.solve(frames[:-1], frames[1:], PARAMS)  # 19 pairs in chunks of 8
    assert gpu.launches == [2, 2, 2]
    alone = [cuda.solve(a[None], b[None], PARAMS)[0] for a, b in pairwise(frames)]
    assert (flow == np.stack(alone)).all()


def test_initial_flow_comes_along_in_every_chunk(gpu: Emulator) -> None:
    frames = video(12)
    start = np.random.default_rng(0).normal(0, 2, (11, 21, 34, 2)).astype(np.float32)
    flow = cuda.solve(frames[:-1], frames[1:], PARAMS, start)
    alone = cuda.solve(frames[9:10], frames[10:11], PARAMS, start[9:10])
    assert (flow[9] == alone[0]).all()
    assert (flow != cuda.solve(frames[:-1], frames[1:], PARAMS)).any()


@pytest.mark.parametrize("scheme", ["symmetric", "dense_flow"])
def test_encoded_images_are_those_of_the_flow(scheme: Any, gpu: Emulator) -> None:
    frames = video(11)
    flow = cuda.solve(frames[:-1], frames[1:], PARAMS)
    encoded = cuda.encode_video(frames, PARAMS, bound=0.5, scheme=scheme)
    assert (encoded.images == encode(flow, 0.5, scheme)).all()
    assert encoded.clipped == pytest.approx(clipped_fraction(flow, 0.5), abs=1e-12)
    assert 0 < encoded.clipped < 1


def test_short_memory_makes_fewer_pairs_at_a_time(
    emulation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = video(9)
    emulator = Emulator(emulation, blocks=8, room=2)
    monkeypatch.setattr(cuda, "_gpu", lambda name: emulator.target)
    flow = cuda.solve(frames[:-1], frames[1:], PARAMS)
    assert emulator.launches == [2]
    monkeypatch.setattr(cuda, "_gpu", lambda name: Emulator(emulation).target)
    assert (flow == cuda.solve(frames[:-1], frames[1:], PARAMS)).all()
    emulator = Emulator(emulation, blocks=8, room=0)
    monkeypatch.setattr(cuda, "_gpu", lambda name: emulator.target)
    with pytest.raises(InputError, match="memory for a pair of 34 x 21 pixels"):
        cuda.solve(frames[:-1], frames[1:], PARAMS)


def test_frames_that_lie_there_already(gpu: Emulator) -> None:
    frames = video(5)
    counts = torch.zeros((4, 3), dtype=torch.int64)
    flow = cuda.solve_tensor(torch.tensor(frames), PARAMS, counts)
    assert (flow.numpy() == cuda.solve(frames[:-1], frames[1:], PARAMS)).all()
    assert (counts[:, 0] > 0).all()
    with pytest.raises(InputError, match=r"torch.float64 \(5, 21, 34\)"):
        cuda.solve_tensor(torch.tensor(frames, dtype=torch.float64), PARAMS)
    with pytest.raises(InputError, match="counts"):
        cuda.solve_tensor(torch.tensor(frames), PARAMS, counts[:2])


def test_the_extraction_takes_what_the_gpu_encoded(gpu: Emulator, tmp_path: Path) -> None:
    settings = Settings(solver="cuda", bound=0.5, params=PARAMS)
    path = tmp_path / "video.avi"
    job = Job(path, path.name, "video", tmp_path, settings, 0, gpu="cuda:1", share=0.25)
    frames = video(11)
    answer, seconds = _solver(job)(frames)
    flow = cuda.solve(frames[:-1], frames[1:], PARAMS)
    assert (answer.images == encode(flow, 0.5)).all()
    assert answer.clipped == pytest.approx(clipped_fraction(flow, 0.5), abs=1e-12)
    assert seconds > 0


def test_a_share_of_the_memory(emulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = video(30)
    pair = 4 * slot_floats(reference.pyramid_sizes(21, 34, PARAMS))
    emulator = Emulator(emulation, blocks=8, memory=40 * pair)
    monkeypatch.setattr(cuda, "_gpu", lambda name: emulator.target)
    whole = cuda.encode_video(frames, PARAMS)
    assert set(emulator.launches) == {8}  # of 16 that there is room for: 0.8 x 40 / 2
    emulator.launches.clear()
    part = cuda.encode_video(frames, PARAMS, share=0.25)
    assert set(emulator.launches) <= {4, 1}
    assert max(emulator.launches) == 4
    assert (part.images == whole.images).all()
    assert cuda.encode_video(frames[:3], PARAMS, share=1e-9).images.shape == (2, 21, 34, 2)


@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs(count: int, gpu: Emulator) -> None:
    frames = np.zeros((count, 20, 30), np.uint8)
    assert cuda.solve(frames[:-1], frames[1:], PARAMS).shape == (0, 20, 30, 2)
    assert cuda.encode_video(frames, PARAMS).clipped == 0


def test_refusals(gpu: Emulator) -> None:
    frames = video(3)
    with pytest.raises(InputError, match=r"\(3, 21, 34\) and \(2, 21, 34\)"):
        cuda.solve(frames, frames[:2], PARAMS)
    huge = np.broadcast_to(np.uint8(0), (2, 1 << 15, 1 << 15))
    with pytest.raises(InputError, match=r"below 2\^30 pixels"):
        cuda.solve(huge, huge, PARAMS)
    with pytest.raises(InputError, match="uint8 and float32"):
        cuda.solve(frames, np.float32(frames), PARAMS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="initial flow is float32"):
        cuda.solve(frames, frames, PARAMS, np.zeros((3, 21, 2), np.float32))
    with pytest.raises(InputError, match="bound"):
        cuda.encode_video(frames, PARAMS, bound=0)


def test_the_slot_is_as_long_as_the_kernel_says(emulation: Any) -> None:
    for sizes in ([(1, 1)], [(240, 320), (192, 256)], [(33, 7)]):
        pixels = [height * width for height, width in sizes]
        expected = emulation.tvl1_slot_floats(pixels[0], sum(pixels), sizes[0][1])
        assert slot_floats(sizes) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_a_sentence_says_so() -> None:
    image = np.zeros((20, 30), np.uint8)
    with pytest.raises(InputError, match="PyTorch finds no CUDA GPU here"):
        tvl1(image, image, solver="cuda")
    assert (tvl1(image, image) == 0).all()


def test_without_cuda_core_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert "cuda-core is missing" in str(cuda_kernel.why_unavailable())


def test_a_kernel_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = cuda_kernel.cubin("sm_80")
    monkeypatch.setattr(cuda_kernel, "compile_kernel", lambda source, arch: b"another")
    assert cuda_kernel.cubin("sm_80") == code
    assert cuda_kernel.cubin("sm_90") == b"another"
    assert len(list(tmp_path.rglob("*.cubin"))) == 2


def test_a_gpu_that_the_compiler_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be compiled for sm_1 \(.*give the solver 'cpu'"):
        cuda_kernel.compile_kernel("", "sm_1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu() -> None:
    frames = video(6, 60, 80)
    flow = cuda.solve(frames[:-1], frames[1:], TVL1Params())
    expected = reference.solve(np.float32(frames[:-1]), np.float32(frames[1:]), TVL1Params())
    assert np.median(np.linalg.norm(flow - expected, axis=-1)) < 0.005
    images = cuda.encode_video(frames, TVL1Params()).images
    assert (images == encode(flow)).all()
    assert np.abs(decode(images) - flow).max() <= 20 / 254 + 1e-3
