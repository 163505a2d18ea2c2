"""Where the work of a stage runs: processes of a Ray cluster, https://docs.ray.io.

All nodes see the videos, the store and this package under the same paths (shared storage, the same
installation). A process is an actor in Ray's terms, not a task, for it keeps its GPU and what it
has loaded from one task to the next. Ray chooses its node.
"""

import logging
import math
import os
import queue
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic

from flow.engines import Done, Failed, Progress, Result, Task, Tell, unexpected
from flow.errors import InputError
from flow.processors import usable_processors

TRIES = 3
"""How often a task is begun at most, where its process or its node dies each time."""

LOOK_SECONDS = 1.0
"""How often to look whether nodes have come or gone."""

PATIENCE_SECONDS = 300.0
"""How long to wait where all nodes that could hold a task have gone, or no process starts."""

CONNECT_SECONDS = 5.0
"""How long to wait for the head of a cluster to answer."""

# The least that Ray takes: only events lie there. It fits the /dev/shm that a container has.
_OBJECT_STORE_BYTES = 75 * 2**20


def run(
    function: Callable[[Task, Tell], Result],
    tasks: Sequence[Task],
    workers: int | None = None,
    *,
    address: str | None = None,
    gpus_a_task: float = 0.0,
) -> Generator[Progress[Task] | Done[Task, Result] | Failed[Task], None, None]:
    """Call ``function`` on each task, in processes on the nodes of a Ray cluster.

    Every task ends with exactly one ``Done`` or ``Failed``, in any order. An exception fails its
    task alone. Where a process or a node dies, what it was at is begun again, on what is left, and
    then tells its progress again; when that has happened ``TRIES`` times, it has failed. No process
    goes on when the iterator is closed or its caller dies. Ctrl-C reaches the caller only. Ray ends
    the caller a minute after the head of the cluster has died.

    Args:
        function: One that a fresh process on each node can import.
        tasks: What pickles.
        workers: Tasks at a time at most; where not given, as many as the cluster holds, which may
            grow and shrink.
        address: Of a cluster that this machine is a node of: "auto", or host:port of its head.
            Where not given, Ray runs on this machine, for this run only.
        gpus_a_task: What a task takes of a GPU, beside one CPU: 0.25 where four share one. Its
            process sees no other GPU.

    Raises:
        InputError: Ray is not installed or does not start, the cluster does not answer, no node can
            hold a task, or no process can start there, for lack of this package for one.
    """
    if workers is not None and workers < 1:
        raise InputError(f"The number of workers is {workers}; give 1 or more.")
    if gpus_a_task < 0 or (gpus_a_task > 1 and gpus_a_task % 1):
        raise InputError(f"A task cannot take {gpus_a_task} GPUs; give 0 to 1, or a whole number.")
    if not tasks:
        return
    with _connected(address, workers):
        yield from _Crew(function, tasks, workers, gpus_a_task).events()


@dataclass(frozen=True)
class _Broken:
    """A task failed in a way that may leave its process unfit for others, as CUDA's errors do."""

    reason: str


class _Process(Generic[Task, Result]):
    """What Ray runs on a node: it does one task after another."""

    def __init__(self, function: Callable[[Task, Tell], Result]) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(1)

    def do(
        self, task: Task
    ) -> Iterator[Progress[Task] | Done[Task, Result] | Failed[Task] | _Broken]:
        """Do a task; Ray brings each event to the caller at once."""
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # In a thread of its own, as nothing can be yielded where the function tells.
        end = self._thread.submit(self._end_of, task, events)
        end.add_done_callback(events.put)
        while not isinstance(event := events.get(), Future):
            yield event
        yield end.result()

    def _end_of(
        self, task: Task, events: queue.SimpleQueue[Any]
    ) -> Done[Task, Result] | Failed[Task] | _Broken:
        try:
            return Done(
                task, self._function(task, lambda amount: events.put(Progress(task, amount)))
            )
        except InputError as error:
            return Failed(task, str(error))
        except Exception as error:
            return _Broken(unexpected(error))


@dataclass(frozen=True)
class _Attempt(Generic[Task]):
    """A process is at a task, which is begun for the ``number``-th time."""

    process: Any
    task: Task
    number: int


class _Crew(Generic[Task, Result]):
    """The processes of a run, each of which Ray starts, has started, or keeps busy with a task."""

    def __init__(
        self,
        function: Callable[[Task, Tell], Result],
        tasks: Sequence[Task],
        workers: int | None,
        gpus_a_task: float,
    ) -> None:
        import ray

        self._ray: Any = ray
        self._here = ray.get_runtime_context().get_node_id()
        self._function = function
        self._actor: Any = ray.remote(num_cpus=1, num_gpus=gpus_a_task)(_Process)
        self._todo = deque((task, 1) for task in tasks)
        self._workers = workers
        self._gpus_a_task = gpus_a_task
        # By what Ray says when something comes of them: that a process is there, or an event.
        self._starting: dict[Any, Any] = {}
        self._busy: dict[Any, _Attempt[Task]] = {}
        self._idle: list[Any] = []
        self._looked = self._had_slots = -math.inf
        self._failing = math.inf  # since when no process has started

    def events(self) -> Iterator[Progress[Task] | Done[Task, Result] | Failed[Task]]:
        """What comes of the tasks, until all have ended."""
        while self._todo or self._busy:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._fit()
            while self._todo and self._idle:
                self._begin(self._idle.pop(), *self._todo.popleft())
            for ready in self._wait():
                if ready in self._starting:
                    self._admit(ready)
                elif event := self._receive(ready):
                    yield event

    def _fit(self) -> None:
        """Ask Ray for as many processes as can be of use, and let go of those that cannot."""
        self._looked = time.monotonic()
        slots = self._slots()
        useful = min(self._workers or slots, len(self._todo) + len(self._busy))
        present = len(self._starting) + len(self._busy) + len(self._idle)
        for _ in range(useful - present):
            process = self._actor.remote(self._function)
            self._starting[process.__ray_ready__.remote()] = process
        if not self._todo:
            self._end(self._idle + list(self._starting.values()))
            self._idle, self._starting = [], {}

    def _slots(self) -> int:
        nodes = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
        if self._here not in nodes:  # for Ray this process is dead, too, and owns no others
            raise InputError(
                "Ray has died on this machine; start its node of the cluster again if it was one, "
                "and run again."
            )
        slots = _slots(nodes.values(), self._gpus_a_task)
        if slots:
            self._had_slots = time.monotonic()
        elif time.monotonic() - self._had_slots > PATIENCE_SECONDS:
            gpus = f" and {self._gpus_a_task:g} GPUs" if self._gpus_a_task else ""
            raise InputError(
                f"No node of the Ray cluster has a CPU{gpus} for a task; add one that has, and run "
                "again."
            )
        return slots

    def _wait(self) -> list[Any]:
        """What something has come of, or nothing when it is time to look at the nodes."""
        waited = [*self._starting, *self._busy]
        if not waited:
            time.sleep(LOOK_SECONDS)
            return []
        some, _ = self._ray.wait(waited, timeout=LOOK_SECONDS)
        if not some:
            return []
        return list(self._ray.wait(waited, num_returns=len(waited), timeout=0)[0])

    def _begin(self, process: Any, task: Task, number: int) -> None:
        events = process.do.options(num_returns="streaming").remote(task)
        self._busy[events] = _Attempt(process, task, number)

    def _admit(self, ready: Any) -> None:
        process = self._starting.pop(ready)
        try:
            self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            self._end([process])
            if self._is_hopeless(error):
                raise InputError(
                    f"No process starts on the Ray cluster ({_last_line(error)}); install the same "
                    "packages on all nodes."
                ) from error
        else:
            self._failing = math.inf
            self._idle.append(process)

    def _is_hopeless(self, error: Any) -> bool:
        """Whether no process can start, after this error of one that could not."""
        now = time.monotonic()
        self._failing = min(self._failing, now)
        if self._starting or self._busy or self._idle:
            return False
        # Ray goes on to choose a node that has died until it notices that, half a minute later.
        passes = not getattr(error, "actor_init_failed", False)
        return not passes or now - self._failing > PATIENCE_SECONDS

    def _receive(self, events: Any) -> Progress[Task] | Done[Task, Result] | Failed[Task] | None:
        """What a process says; nothing where it has died and its task is begun again."""
        attempt = self._busy[events]
        event = self._next(events)
        if isinstance(event, Progress):
            return event
        del self._busy[events]
        if isinstance(event, Done | Failed):
            self._idle.append(attempt.process)
            return event
        self._end([attempt.process])
        if isinstance(event, _Broken):
            return Failed(attempt.task, event.reason)
        if attempt.number < TRIES:
            self._todo.append((attempt.task, attempt.number + 1))
            return None
        return Failed(
            attempt.task,
            f"its process died {TRIES} times, as happens when memory runs out or the decoder "
            "crashes; run with fewer workers, re-encode the video, or report it with the video",
        )

    def _next(self, events: Any) -> Any:
        """The next event of a process; None where it has died."""
        try:
            return self._ray.get(next(events))
        except self._ray.exceptions.RayTaskError as error:
            return _Broken(unexpected(error.cause))
        except self._ray.exceptions.RayError:
            return None

    def _end(self, processes: Iterable[Any]) -> None:
        for process in processes:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(process)


def _slots(nodes: Iterable[Mapping[str, float]], gpus_a_task: float) -> int:
    """How many tasks nodes with these resources hold at a time."""
    slots = 0
    for node in nodes:
        fits = int(node.get("CPU", 0))
        if gpus_a_task > 1:
            fits = min(fits, int(node.get("GPU", 0) // gpus_a_task))
        elif gpus_a_task > 0:  # a task has its share from one GPU
            fits = min(fits, int(node.get("GPU", 0)) * int(1 / gpus_a_task + 1e-9))
        slots += fits
    return slots


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Ray in this process, connected to a cluster, or to one that runs meanwhile.

    In the end Ray kills all processes of this one, whatever they are at.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Twenty tries, as Ray has it, take a quarter of an hour.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed; run pip install '.[ray]'.") from error
    if ray.is_initialized():
        raise InputError("Ray is in use in this process; call ray.shutdown() first.")
    try:
        if address is None:
            _start(workers or usable_processors())
        else:
            _connect(address)
        yield
    finally:
        ray.shutdown()


def _start(processors: int) -> None:
    import ray

    try:
        ray.init(
            "local",
            num_cpus=processors,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except Exception as error:
        raise InputError(
            f"Ray does not start on this machine ({_last_line(error)}); mend that, or give the "
            "address of a cluster."
        ) from error


def _connect(address: str) -> None:
    import ray

    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address != "auto":
        _check_answers(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        raise InputError(
            f"The Ray cluster at {address} cannot be used ({_last_line(error)}); see that this "
            "machine is a node of it, with the same versions, and that RAY_AUTH_MODE is token if "
            "it wants one."
        ) from error


def _check_answers(address: str) -> None:
    """Raise InputError where nothing listens at an address: Ray itself would try for long."""
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        raise InputError(f"{address!r} is no address of a Ray cluster; give auto, or host:port.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        raise InputError(
            f"No Ray cluster answers at {address} ({error}); start it, or give another address."
        ) from error


def _last_line(error: BaseException) -> str:
    """The gist of one of Ray's messages, which may begin with the traceback of another process."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
