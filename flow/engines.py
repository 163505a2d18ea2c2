"""Where the work of a stage runs: processes of this machine."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from flow import processes
from flow.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Tell = Callable[[Any], None]
"""Tells how much was done since it was called last, in whatever the caller of ``run`` counts."""


@dataclass(frozen=True)
class Progress(Generic[Task]):
    """A part of the work on a task was done."""

    task: Task
    amount: Any


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
        self.connection, other_end = multiprocessing.Pipe()
        self._process = processes.start(_serve, function, other_end)
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
            return Failed(self._task, processes.cause_of_death(status))
        return event

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(function: Callable[[Task, Tell], Result], connection: Connection) -> None:
    """The life of a worker process."""
    while True:
        connection.send(_outcome(function, connection.recv(), connection))


def _outcome(
    function: Callable[[Task, Tell], Result], task: Task, connection: Connection
) -> Done[Task, Result] | Failed[Task]:
    try:
        return Done(task, function(task, lambda amount: connection.send(Progress(task, amount))))
    except InputError as error:
        return Failed(task, str(error))
    except Exception as error:
        # Anything can be wrong with a video: the others go on.
        return Failed(task, unexpected(error))


def unexpected(error: BaseException) -> str:
    """The reason of a task that failed in a way that nobody thought of, on one line."""
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
