"""Where the work of a stage runs: processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from flow.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Tell = Callable[[int], None]
"""Tells how many units of work were done since it was called last."""


@dataclass(frozen=True)
class Progress(Generic[Task]):
    """Some units of work on a task were done."""

    task: Task
    units: int


@dataclass(frozen=True)
class Done(Generic[Task, Result]):
    """A task ended well."""

    task: Task
    result: Result


@dataclass(frozen=True)
class Failed(Generic[Task]):
    """A task ended without a result, for a reason in one sentence."""

    task: Task
    reason: str


def run(
    function: Callable[[Task, Tell], Result], tasks: Sequence[Task], workers: int
) -> Generator[Progress[Task] | Done[Task, Result] | Failed[Task], None, None]:
    """Call ``function`` on each task, on ``workers`` at a time, each in a process of its own.

    Every task ends with exactly one ``Done`` or ``Failed``, in any order. An exception fails its
    task alone, and so does the death of a process. No process outlives the iterator or its caller.
    Ctrl-C reaches the caller only.

    Args:
        function: One that a fresh process can import.
        tasks: What pickles.
        workers: Processes at most.
    """
    todo = deque(tasks)
    idle: list[_Worker[Task, Result]] = []
    busy: list[_Worker[Task, Result]] = []
    try:
        while todo or busy:
            while todo and len(busy) < workers:
                busy.append(idle.pop() if idle else _Worker(function))
                busy[-1].begin(todo.popleft())
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                event = worker.receive()
                if not isinstance(event, Progress):
                    busy.remove(worker)
                    idle += [] if worker.connection.closed else [worker]
                yield event
    finally:
        for worker in idle + busy:
            worker.stop()


class _Worker(Generic[Task, Result]):
    """A process that works on one task after another."""

    def __init__(self, function: Callable[[Task, Tell], Result]) -> None:
        # A fresh interpreter: the threads of OpenCV and of CUDA do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(function, other_end), daemon=True)
        with _interrupts_ignored():
            self._process.start()
        # From here on the process alone holds that end, which closes with it.
        other_end.close()

    def begin(self, task: Task) -> None:
        self._task = task
        with suppress(OSError):  # a process that has died meanwhile: receive() tells
            self.connection.send(task)

    def receive(self) -> Progress[Task] | Done[Task, Result] | Failed[Task]:
        """What the process says next; if it has died, it stops and its task has failed."""
        try:
            event: Progress[Task] | Done[Task, Result] | Failed[Task] = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(timeout=1)
            status = self._process.exitcode
            self.stop()
            return Failed(self._task, _cause_of_death(status))
        return event

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(function: Callable[[Task, Tell], Result], connection: Connection) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        connection.send(_outcome(function, connection.recv(), connection))


def _outcome(
    function: Callable[[Task, Tell], Result], task: Task, connection: Connection
) -> Done[Task, Result] | Failed[Task]:
    try:
        return Done(task, function(task, lambda units: connection.send(Progress(task, units))))
    except InputError as error:
        return Failed(task, str(error))
    except Exception as error:
        # Anything can be wrong with a video: the others go on.
        return Failed(task, f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _cause_of_death(status: int | None) -> str:
    if status is None or status >= 0:
        return f"its process ended with status {status}; run again, or report it with the video"
    name = signal.Signals(-status).name
    if name == "SIGKILL":
        return "its process was killed, as happens when memory runs out; run with fewer workers"
    return f"its process crashed with {name}; re-encode the video, or report it with the video"


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process that starts here does not hear Ctrl-C, not even before its first line."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
