"""The TV-L1 solver on a CUDA GPU: the scheme of ``reference.py``, hundreds of pairs at a time.

One block of threads solves one pair from its pyramids to its result (``kernels/tvl1.cu``), as many
pairs at a time as the GPU holds blocks. The same GPU gives the same bits for any batch. Images go
up and results come down in chunks, two at a time, so that copies overlap the work.

Memory on the GPU: about 100 bytes a pixel for each pair that is solved at a time, twice, and what
is copied. Where it is short, fewer pairs are solved at a time.
"""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from flow.encoding import Scheme, encode
from flow.errors import InputError
from flow.tvl1 import TVL1Params, cuda_kernel
from flow.tvl1.checks import check_pairs
from flow.tvl1.cuda_problem import COUNTS, ENCODINGS, Problem, scheme_fields, slot_floats
from flow.tvl1.reference import pyramid_sizes

Image = TypeVar("Image", np.uint8, np.float32)
Launch = Callable[[int, int, torch.device], None]

CHUNK_ROUNDS = 4  # pairs of a chunk, over the pairs that are solved at a time
LANES = 2  # chunks on their way
MOST_PIXELS = 1 << 30  # of an image: the kernel counts them in an int
POLL_SECONDS = 0.0005


@dataclass(frozen=True)
class Encoded:
    """Flow as two-channel images.

    Attributes:
        images: uint8 (N, H, W, 2), as ``flow.encoding.encode`` gives them.
        clipped: Share of the flow values that lie beyond the bound.
    """

    images: NDArray[np.uint8]
    clipped: float


def devices() -> list[str]:
    """The GPUs of this machine, as the functions below take them."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def solve(
    previous: NDArray[Image],
    following: NDArray[Image],
    params: TVL1Params,
    initial: NDArray[np.float32] | None = None,
    device: str = "cuda",
) -> NDArray[np.float32]:
    """Flow of each pair of images.

    Args:
        previous: uint8 or float32 (N, H, W), grey values from 0 to 255.
        following: The same. Where it is ``previous`` one image later in the same memory, each image
            goes to the GPU once.
        params: The scheme and its parameters.
        initial: Flow to start from, float32 (N, H, W, 2), pixels; zero where not given.
        device: Which GPU: "cuda", or "cuda:1" for the second.

    Returns:
        float32 (N, H, W, 2), pixels: channel 0 to the right, channel 1 downwards.

    Raises:
        InputError: No GPU or no cuda-core here, or a GPU without the memory for one pair.
        KeyboardInterrupt: Ctrl-C ends the work within a fraction of a second.
    """
    pairs = _Pairs.of(previous, following, initial)
    flow = np.empty((*previous.shape, 2), np.float32)
    _solve(pairs, params, _gpu(device), flow=flow)
    return flow


def encode_video(
    frames: NDArray[Image],
    params: TVL1Params,
    bound: float = 20.0,
    scheme: Scheme = "symmetric",
    device: str = "cuda",
    *,
    share: float = 1.0,
) -> Encoded:
    """Flow between neighbouring frames, uint8 or float32 (T, H, W), encoded on the GPU.

    The images are those of ``encode(solve(frames[:-1], frames[1:], ...), bound, scheme)``; only
    they come back from the GPU. ``share`` is that of the GPU's memory which it may fill; others
    may call this at the same time, in threads of their own.
    """
    encode(np.zeros(1, np.float32), bound, scheme)  # raises what is wrong with them
    pairs = _Pairs.of(frames[:-1], frames[1:], None)
    images = np.empty((len(pairs), *frames.shape[1:], 2), np.uint8)
    target = _gpu(device)
    beyond = _solve(pairs, params, target, encoded=images, bound=bound, scheme=scheme, share=share)
    return Encoded(images, beyond / max(images.size, 1))


def solve_tensor(
    frames: torch.Tensor, params: TVL1Params, counts: torch.Tensor | None = None
) -> torch.Tensor:
    """Flow between neighbouring frames that lie on a GPU, without a copy.

    Args:
        frames: uint8 or float32 (T, H, W), grey values from 0 to 255, on a CUDA device.
        params: The scheme and its parameters.
        counts: Where not None, int64 (T - 1, 3) on the same device, filled with what was done for
            each pair (``cuda_problem.COUNTS``).

    Returns:
        float32 (T - 1, H, W, 2) on the same device; it is there when the current stream gets there.
    """
    if frames.dtype not in (torch.uint8, torch.float32) or frames.ndim != 3 or len(frames) < 2:
        raise InputError(
            f"The frames are {frames.dtype} {tuple(frames.shape)}; "
            "give uint8 or float32 (T, H, W) of two frames or more."
        )
    target = _gpu(str(frames.device))
    count, height, width = len(frames) - 1, *frames.shape[1:]
    flow = torch.empty((count, height, width, 2), device=target.device)
    solver = _Solver(height, width, params, target, min(count, target.blocks))
    index = torch.arange(count + 1, dtype=torch.int32, device=target.device)
    solver.start(frames.contiguous(), index[:-1], index[1:], flow=flow, counts=counts)
    return flow


@dataclass(frozen=True)
class _Target:
    """Where kernels run: a GPU, or (in tests) what stands for one."""

    device: torch.device
    blocks: int  # that run at a time
    launch: Launch
    memory: int  # bytes


def _gpu(name: str) -> _Target:
    if reason := cuda_kernel.why_unavailable():
        raise InputError(f"The TV-L1 solver 'cuda' cannot run: {reason}")
    try:
        device = torch.device(name)
        device = torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else device
        memory = torch.cuda.get_device_properties(device).total_memory
    except (RuntimeError, AssertionError, ValueError) as error:
        count = torch.cuda.device_count()
        raise InputError(
            f"There is no GPU {name!r}; give one from 'cuda:0' to 'cuda:{count - 1}'."
        ) from error
    return _Target(device, cuda_kernel.resident_blocks(device), cuda_kernel.launch, memory)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of images; of a video every image but two belongs to two pairs."""

    previous: NDArray[Any]
    following: NDArray[Any]
    initial: NDArray[np.float32] | None
    video: bool

    @classmethod
    def of(
        cls, previous: NDArray[Any], following: NDArray[Any], initial: NDArray[np.float32] | None
    ) -> "_Pairs":
        """Check them."""
        check_pairs(previous, following, initial)
        if previous[:1].size >= MOST_PIXELS:
            raise InputError(
                f"The images have shape {previous.shape}; "
                "the solver 'cuda' takes images below 2^30 pixels."
            )
        step = previous.strides[0]
        one_later = previous.ctypes.data + step == following.ctypes.data
        return cls(previous, following, initial, one_later and step == following.strides[0])

    def __len__(self) -> int:
        return len(self.previous)

    def frames(self, begin: int, end: int) -> list[NDArray[Any]]:
        """The images of some pairs: in a video each once, else the previous ones come first."""
        if self.video:
            return [self.previous[begin:end], self.following[end - 1 : end]]
        return [self.previous[begin:end], self.following[begin:end]]

    def second(self, count: int) -> tuple[int, int]:
        """Where the second images of so many pairs stand among their frames."""
        return (1, count + 1) if self.video else (count, 2 * count)


def _solve(
    pairs: _Pairs,
    params: TVL1Params,
    target: _Target,
    *,
    flow: NDArray[np.float32] | None = None,
    encoded: NDArray[np.uint8] | None = None,
    bound: float = 20.0,
    scheme: Scheme = "symmetric",
    share: float = 1.0,
) -> int:
    """Fill ``flow``, or ``encoded``; how many flow values lie beyond the bound."""
    if len(pairs) == 0:
        return 0
    slots = min(target.blocks, len(pairs), _slots(pairs, params, share * target.memory))
    while True:
        try:
            work = _Chunks(pairs, params, target, slots, flow, encoded, bound, scheme)
            return work.run()
        except torch.OutOfMemoryError as error:
            height, width = pairs.previous.shape[1:]
            if slots == 1:
                raise InputError(
                    f"{target.device} has not the memory for a pair of {width} x {height} pixels; "
                    "free some, or give the solver 'cpu'."
                ) from error
            slots //= 2
        torch.cuda.empty_cache()  # what the failed attempt held


def _slots(pairs: _Pairs, params: TVL1Params, memory: float) -> int:
    """How many pairs at a time fit into so many bytes, a fifth of them left for what is copied."""
    height, width = pairs.previous.shape[1:]
    pair = 4 * slot_floats(pyramid_sizes(height, width, params))
    return max(1, int(0.8 * memory / (LANES * pair)))


class _Chunks:
    """One run over all pairs, a chunk in each lane at a time."""

    def __init__(
        self,
        pairs: _Pairs,
        params: TVL1Params,
        target: _Target,
        slots: int,
        flow: NDArray[np.float32] | None,
        encoded: NDArray[np.uint8] | None,
        bound: float,
        scheme: Scheme,
    ) -> None:
        self._pairs, self._target, self._bound = pairs, target, bound
        result = flow if encoded is None else encoded
        assert result is not None
        self._result: NDArray[Any] = result
        self._size = min(len(pairs), CHUNK_ROUNDS * slots)
        self._stop = torch.zeros(1, dtype=torch.int32, device=target.device)
        count = min(LANES, -(-len(pairs) // self._size))
        height, width = pairs.previous.shape[1:]
        encoding = None if encoded is None else (bound, scheme)
        self._lanes = [
            _Lane(
                _Solver(height, width, params, target, slots, self._stop, encoding),
                pairs,
                self._size,
            )
            for _ in range(count)
        ]

    def run(self) -> int:
        beyond = 0
        try:
            for turn, begin in enumerate(range(0, len(self._pairs), self._size)):
                lane = self._lanes[turn % len(self._lanes)]
                beyond += lane.finish(self._result)
                lane.begin(begin, min(begin + self._size, len(self._pairs)))
            return beyond + sum(lane.finish(self._result) for lane in self._lanes)
        except BaseException:
            self._end_early()
            raise

    def _end_early(self) -> None:
        if self._target.device.type == "cuda":
            aside = torch.cuda.Stream(self._target.device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(aside):
                self._stop.fill_(1)
            torch.cuda.synchronize(self._target.device)


class _Lane:
    """A stream, with the memory of one chunk on both sides."""

    def __init__(self, solver: "_Solver", pairs: _Pairs, size: int) -> None:
        device = solver.device
        gpu = device.type == "cuda"
        shape = pairs.previous.shape[1:]
        images = size + 1 if pairs.video else 2 * size
        kind = torch.uint8 if pairs.previous.dtype == np.uint8 else torch.float32
        self._solver, self._pairs = solver, pairs
        self._stream = torch.cuda.Stream(device) if gpu else None  # type: ignore[no-untyped-call]
        self._event = torch.cuda.Event() if gpu else None  # type: ignore[no-untyped-call]
        self._frames = _Mirror((images, *shape), kind, device)
        given = pairs.initial is not None
        self._initial = _Mirror((size, *shape, 2), torch.float32, device) if given else None
        self._index = torch.arange(images, dtype=torch.int32, device=device)
        self._flow = _Mirror((size, *shape, 2), torch.float32, device, host=not solver.encodes)
        self._encoded = _Mirror((size, *shape, 2), torch.uint8, device) if solver.encodes else None
        self._beyond = _Mirror((1,), torch.int64, device)
        self._chunk: tuple[int, int] | None = None
        if self._stream:  # all this was made, and some of it filled, on another
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def begin(self, begin: int, end: int) -> None:
        """Start the work on the pairs from ``begin`` to ``end``."""
        count = end - begin
        with torch.cuda.stream(self._stream):
            frames = self._frames.up(self._pairs.frames(begin, end))
            initial = None
            if self._initial and self._pairs.initial is not None:
                initial = self._initial.up([self._pairs.initial[begin:end]])
            second = self._index[slice(*self._pairs.second(count))]
            flow = self._flow.device[:count]
            encoded = self._encoded.device[:count] if self._encoded else None
            self._solver.start(
                frames, self._index[:count], second, initial=initial, flow=flow, encoded=encoded
            )
            if self._encoded:
                self._beyond.device[0] = (flow.abs() > self._solver.bound).sum()
                self._beyond.down(1)
                self._encoded.down(count)
            else:
                self._flow.down(count)
            if self._event:
                self._event.record()
        self._chunk = begin, end

    def finish(self, result: NDArray[Any]) -> int:
        """Wait for the chunk that was begun last, if any, and take its result."""
        if self._chunk is None:
            return 0
        while self._event and not self._event.query():  # type: ignore[no-untyped-call]
            time.sleep(POLL_SECONDS)  # where Ctrl-C gets through
        begin, end = self._chunk
        self._chunk = None
        result[begin:end] = (self._encoded or self._flow).host[: end - begin].numpy()
        return int(self._beyond.host[0]) if self._encoded else 0


class _Mirror:
    """A tensor on the device and its copy on the host, in memory that the GPU reads by itself."""

    def __init__(
        self, shape: tuple[int, ...], kind: torch.dtype, device: torch.device, host: bool = True
    ) -> None:
        self.device = torch.empty(shape, dtype=kind, device=device)
        held = shape if host else (0,)
        self.host = torch.empty(held, dtype=kind, pin_memory=device.type == "cuda")

    def up(self, parts: list[NDArray[Any]]) -> torch.Tensor:
        """The arrays, one behind the other, on the device."""
        end = 0
        for part in parts:
            self.host[end : end + len(part)].numpy()[...] = part
            end += len(part)
        return self.device[:end].copy_(self.host[:end], non_blocking=True)

    def down(self, count: int) -> None:
        self.host[:count].copy_(self.device[:count], non_blocking=True)


class _Solver:
    """The kernel for images of one size: it starts on the current stream, and has its workspace."""

    def __init__(
        self,
        height: int,
        width: int,
        params: TVL1Params,
        target: _Target,
        slots: int,
        stop: torch.Tensor | None = None,
        encoding: tuple[float, Scheme] | None = None,
    ) -> None:
        self._target, self._slots, self._stop = target, slots, stop
        self.device, self.encodes = target.device, encoding is not None
        self.bound, scheme = encoding or (20.0, ENCODINGS[0])
        sizes = pyramid_sizes(height, width, params)
        floats = slot_floats(sizes)
        self._sizes = torch.tensor(sizes, dtype=torch.int32, device=self.device)
        self._workspace = torch.empty(slots * floats, device=self.device)
        self._next = torch.empty(1, dtype=torch.int32, device=self.device)
        self._told = torch.empty(ctypes.sizeof(Problem), dtype=torch.uint8, device=self.device)
        self._fields: dict[str, float | int] = {
            **scheme_fields(params),
            "sizes": self._sizes.data_ptr(),
            "workspace": self._workspace.data_ptr(),
            "next": self._next.data_ptr(),
            "stop": 0 if stop is None else stop.data_ptr(),
            "slot_floats": floats,
            "levels": len(sizes),
            "height": height,
            "width": width,
            "bound": self.bound,
            "encoding": ENCODINGS.index(scheme),
        }

    def start(
        self,
        frames: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        *,
        flow: torch.Tensor,
        initial: torch.Tensor | None = None,
        encoded: torch.Tensor | None = None,
        counts: torch.Tensor | None = None,
    ) -> None:
        """Solve the pairs (frames[first[i]], frames[second[i]]) into flow[i] and encoded[i]."""
        if counts is not None and counts.shape != (len(first), len(COUNTS)):
            raise InputError(f"The counts have shape {tuple(counts.shape)}; see COUNTS.")
        problem = Problem(
            frames=frames.data_ptr(),
            first=first.data_ptr(),
            second=second.data_ptr(),
            initial=0 if initial is None else initial.data_ptr(),
            flow=flow.data_ptr(),
            encoded=0 if encoded is None else encoded.data_ptr(),
            counts=0 if counts is None else counts.data_ptr(),
            pairs=len(first),
            float_frames=int(frames.dtype == torch.float32),
            **self._fields,
        )
        # A copy from memory that is not pinned: done with the source when it returns.
        self._told.copy_(torch.frombuffer(bytearray(problem), dtype=torch.uint8))
        self._next.zero_()
        self._target.launch(
            self._told.data_ptr(), min(self._slots, len(first)), self._target.device
        )
        for tensor in (frames, first, second, initial, flow, encoded, counts):
            if tensor is not None and self.device.type == "cuda":
                tensor.record_stream(torch.cuda.current_stream(self.device))
