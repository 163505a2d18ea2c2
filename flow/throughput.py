"""How fast each stage of an extraction goes, and which one the others wait for."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("decode", "solve", "encode", "write")

_DOING = {"decode": "Decoding", "solve": "Solving", "encode": "Compressing", "write": "Writing"}
_FASTER = " would make it faster."

BUSY = 0.85
"""A GPU that works for such a share of the time is what limits."""


@dataclass
class Work:
    """What was done: frames through each stage, and the seconds that each was busy with them.

    The seconds are those of all threads together; of a GPU those in which it had anything to do.
    """

    frames: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)


class Meter:
    """Collects the work that the threads of a process do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work = Work()

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Count the time that a processor spends in the body."""
        started = time.thread_time()
        yield
        self.add(stage, 0, time.thread_time() - started)

    def add(self, stage: str, frames: int, seconds: float) -> None:
        with self._lock:
            self._work.frames[stage] += frames
            self._work.seconds[stage] = self._work.seconds.get(stage, 0.0) + seconds

    def take(self) -> Work:
        """What was done since this was called last."""
        with self._lock:
            work, self._work = self._work, Work()
        return work


class Throughput:
    """The sum of the work of all processes.

    Args:
        gpus: How many GPUs solve; 0 where the processors do.
    """

    def __init__(self, gpus: int = 0) -> None:
        self._gpus = gpus
        self._started = time.perf_counter()
        self._frames: Counter[str] = Counter()
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def add(self, work: Work) -> None:
        self._frames.update(work.frames)
        for stage, seconds in work.seconds.items():
            self._seconds[stage] += seconds

    def rates(self) -> dict[str, float]:
        """Frames a second that one processor (or one GPU) does when it is busy with a stage."""
        return {
            stage: self._frames[stage] / seconds
            for stage, seconds in self._seconds.items()
            if seconds > 0
        }

    def shares(self) -> dict[str, float]:
        """How the processors' time is shared out among the stages that they do."""
        stages = [stage for stage in STAGES if not (self._gpus and stage == "solve")]
        total = sum(self._seconds[stage] for stage in stages)
        return {stage: self._seconds[stage] / total for stage in stages} if total else {}

    def gpu_busy(self) -> float:
        """Share of the time in which the GPUs had work."""
        passed = self._gpus * (time.perf_counter() - self._started)
        return self._seconds["solve"] / passed if passed else 0.0

    def brief(self) -> str:
        """For a line of progress."""
        rates = " ".join(f"{stage} {rate:,.0f}" for stage, rate in self.rates().items())
        gpu = f", GPU {self.gpu_busy():.0%}" if self._gpus else ""
        return f"{rates}/s each{gpu}" if rates else ""

    def __str__(self) -> str:
        rates, shares = self.rates(), self.shares()
        if not rates:
            return ""
        each = ", ".join(
            f"{stage} {rate:,.0f}" + (f" ({shares[stage]:.0%})" if stage in shares else " (GPU)")
            for stage, rate in rates.items()
        )
        text = f"Frames/s of one processor (share of its time): {each}. "
        slowest = max(shares, key=lambda stage: shares[stage])
        limit = f"{_DOING[slowest]} limits: more processors"
        if not self._gpus:
            return text + limit + (", or a GPU," if slowest == "solve" else "") + _FASTER
        text += f"The GPU was busy {self.gpu_busy():.0%} of the time. "
        if self.gpu_busy() > BUSY:
            return text + "It limits: more GPUs" + _FASTER
        return text + limit + _FASTER
