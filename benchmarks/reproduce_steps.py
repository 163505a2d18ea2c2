"""Running commands in turn, each once: a file beside its log tells that one is done."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from reproduce_plan import Step

from flow.errors import InputError
from flow.files import make_writable, write_atomically

TAIL = 8
GRACE_SECONDS = 120  # a training that is told to end writes its checkpoint first


class StepError(Exception):
    """A command that did not succeed: which, how it ended, its last line, its log."""


@dataclass
class Runner:
    """Runs steps in the repository, with logs and records in a folder.

    Attributes:
        folder: Of ``<step>.log`` and ``<step>.json``.
        lock: Descriptor that each command inherits: the folder is free once all have ended.
    """

    folder: Path
    lock: int

    def run(self, step: Step) -> bool:
        """Run a step unless it is done; whether it had to run.

        Raises:
            StepError: The command failed.
        """
        if self.is_done(step):
            return False
        log = self.log(step)
        print(f"{step}\n  log: {log}", flush=True)
        start = time.perf_counter()
        status = self._call(step, log)
        seconds = time.perf_counter() - start
        if status:
            last = (self.tail(step) or ["no output"])[-1]
            raise StepError(f"{step.name} ended with {status} ({last.rstrip('.')}); see {log}")
        record = {"command": step.words, "seconds": round(seconds, 1), "ended": time.time()}
        write_atomically(self._record(step), (json.dumps(record, indent=1) + "\n").encode())
        return True

    def is_done(self, step: Step) -> bool:
        """Whether this very command has succeeded before."""
        return tuple(self.record(step).get("command", ())) == step.words

    def record(self, step: Step) -> dict[str, Any]:
        """What is known of a step that succeeded; empty where it has not."""
        try:
            found: dict[str, Any] = json.loads(self._record(step).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def tail(self, step: Step) -> list[str]:
        """The last lines of its log; of a progress bar its last state."""
        try:
            with self.log(step).open(errors="replace", newline="\n") as lines:
                last = deque((line for line in lines if line.strip()), TAIL)
        except OSError:
            return []
        return [line.rstrip().rpartition("\r")[2] for line in last]

    def log(self, step: Step) -> Path:
        return self.folder / f"{step.name}.log"

    def _record(self, step: Step) -> Path:
        return self.folder / f"{step.name}.json"

    def _call(self, step: Step, log: Path) -> int:
        command = [sys.executable, "-m", *step.words]
        with log.open("a") as output:
            print(f"$ {step}", file=output, flush=True)
            child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, pass_fds=(self.lock,)
            )
            try:
                return child.wait()
            except BaseException:
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                raise


@contextmanager
def running_in(folder: Path) -> Iterator[Runner]:
    """A runner that has the folder for itself; SIGTERM ends it as Ctrl-C does.

    Raises:
        InputError: A run, or a command that a killed run has left, still works in the folder.
    """
    make_writable(folder)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another run, or a command that it left, still works in {folder}; "
                "wait for its end or stop it."
            ) from None
        yield Runner(folder, lock)
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(lock)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
