"""A GPU that several processes share: a process of its own solves what the others send it.

So the kernels for several videos run side by side, and the GPU holds one context. (Kernels of
different processes take turns, and each process would hold half a gigabyte of the GPU.) Frames and
images pass through memory that both processes see; it is gone when both are.
"""

import math
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flow import processes
from flow.encoding import Scheme
from flow.errors import InputError, PassingError
from flow.tvl1 import TVL1Params

AT_A_TIME = 4
"""Windows of frames that a GPU works on; each may fill such a share of its memory."""

TRIES = 3
"""How often to send it what its process died of, or of what came beside it."""

PATIENCE_SECONDS = 120
"""How long to wait for the process of a GPU, which loads PyTorch first."""


@dataclass(frozen=True)
class Task:
    """Frames between which flow is wanted, and how it is to be encoded."""

    frames: NDArray[np.uint8]  # grey, (T, H, W)
    params: TVL1Params
    bound: float
    scheme: Scheme


@dataclass(frozen=True)
class Answer:
    """Flow images, uint8 (T - 1, H, W, 2), and the share of their values beyond the bound."""

    images: NDArray[np.uint8]
    clipped: float


Solve = Callable[[Task, str], Answer]


def solve(task: Task, device: str, share: float = 1 / AT_A_TIME) -> Answer:
    """Do a task on a GPU, "cuda:0" say, with a share of its memory."""
    from flow.tvl1 import cuda

    encoded = cuda.encode_video(
        task.frames, task.params, task.bound, task.scheme, device, share=share
    )
    return Answer(encoded.images, encoded.clipped)


class GpuProcess:
    """The process of a GPU, which is started anew when it dies; a context manager.

    Attributes:
        address: What a ``GpuClient`` connects to.
    """

    def __init__(self, device: str, solve: Solve = solve) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="flow-gpu-")
        self.address = str(Path(self._folder.name) / "socket")
        self._arguments = (_serve, self.address, device, solve)
        self._closed = False
        self._process = processes.start(*self._arguments)
        self._watch = threading.Thread(target=self._start_again, daemon=True)
        self._watch.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._process.kill()
        self._watch.join()
        self._folder.cleanup()

    def _start_again(self) -> None:
        self._process.join()
        while not self._closed:
            time.sleep(1)
            Path(self.address).unlink(missing_ok=True)
            self._process = processes.start(*self._arguments)
            if self._closed:
                self._process.kill()
            self._process.join()


class GpuClient:
    """A process's way to the process of a GPU; a context manager."""

    def __init__(self, address: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._address, self._patience = address, patience_seconds
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def solve(self, task: Task) -> tuple[Answer, float]:
        """The answer, and the seconds that the GPU was busy since any client was told.

        Raises:
            PassingError: The GPU could not do it, or its process died again and again.
        """
        for _ in range(TRIES):
            try:
                return self._ask(task)
            except (EOFError, OSError):  # it died, perhaps of what another client sent
                self._connection.close()
                self._connect()
        raise PassingError(
            "The process of the GPU died while it worked on this; run again, or give the solver "
            "cpu if that goes on."
        )

    def _ask(self, task: Task) -> tuple[Answer, float]:
        shape = task.frames.shape
        self._reserve(_bytes(shape))
        frames, images = _views(self._memory, shape)
        frames[...] = task.frames
        self._connection.send((shape, task.params, task.bound, task.scheme))
        reply = self._connection.recv()
        if isinstance(reply, str):
            raise PassingError(reply)
        clipped, busy_seconds = reply
        return Answer(images[: len(task.frames) - 1].copy(), clipped), busy_seconds

    def _connect(self) -> None:
        self._connection = _connect(self._address, self._patience)
        self._memory = mmap.mmap(-1, 1)

    def _reserve(self, size: int) -> None:
        """Share memory of so many bytes at least."""
        if len(self._memory) >= size:
            return
        descriptor = os.memfd_create("flow")
        try:
            os.ftruncate(descriptor, size)
            self._memory = mmap.mmap(descriptor, size)
            self._connection.send(size)
            send_handle(self._connection, descriptor, None)
        finally:
            os.close(descriptor)


def _connect(address: str, patience_seconds: float) -> Connection:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return Client(address, "AF_UNIX")
        except OSError as error:
            if time.monotonic() > deadline:
                raise PassingError(
                    f"The process of the GPU does not answer ({error.strerror}); run again, or "
                    "give the solver cpu if that goes on."
                ) from error
        time.sleep(0.05)


def _serve(address: str, device: str, solve: Solve) -> None:
    """The life of the process of a GPU."""
    free, clock = threading.Semaphore(AT_A_TIME), _Clock()
    with Listener(address, "AF_UNIX", backlog=128) as listener:
        while True:
            arguments = (listener.accept(), device, solve, free, clock)
            threading.Thread(target=_answer, args=arguments, daemon=True).start()


def _answer(
    connection: Connection,
    device: str,
    solve: Solve,
    free: threading.Semaphore,
    clock: "_Clock",
) -> None:
    """Do what one client asks for, until it goes."""
    memory = mmap.mmap(-1, 1)
    with connection, suppress(EOFError, OSError):
        while True:
            request = connection.recv()
            if isinstance(request, int):
                descriptor = recv_handle(connection)
                memory = mmap.mmap(descriptor, request)
                os.close(descriptor)
                continue
            shape, *law = request
            frames, images = _views(memory, shape)
            try:
                with free, clock:
                    answer = solve(Task(frames, *law), device)
            except InputError as error:
                connection.send(str(error))
                continue
            except BaseException as error:
                # After an error of CUDA nothing in this process works any more.
                connection.send(
                    f"The GPU failed ({' '.join(str(error).split())[:200]}); run again, or give "
                    "the solver cpu if that goes on."
                )
                os._exit(1)
            images[: len(answer.images)] = answer.images
            connection.send((answer.clipped, clock.take()))


class _Clock:
    """The time in which anything is being done, entered by all who do it."""

    def __init__(self) -> None:
        self._lock, self._active = threading.Lock(), 0
        self._since = self._seconds = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if self._active == 0:
                self._since = time.perf_counter()
            self._active += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._active -= 1
            if self._active == 0:
                self._seconds += time.perf_counter() - self._since

    def take(self) -> float:
        """Seconds since this was called last."""
        with self._lock:
            now = time.perf_counter()
            if self._active:
                self._seconds += now - self._since
                self._since = now
            seconds, self._seconds = self._seconds, 0.0
            return seconds


def _bytes(shape: tuple[int, ...]) -> int:
    return 3 * math.prod(shape)


def _views(
    memory: mmap.mmap, shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Where the frames lie, uint8 (T, H, W), and behind them the images, (T, H, W, 2)."""
    pixels = math.prod(shape)
    frames = np.frombuffer(memory, np.uint8, pixels).reshape(shape)
    images = np.frombuffer(memory, np.uint8, 2 * pixels, offset=pixels)
    return frames, images.reshape(*shape, 2)
