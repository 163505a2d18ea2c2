"""Tasks of engines, some of which die, fail or wait: what the processes that do them import."""

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from flow import encode, tvl1
from flow.engines import Tell
from flow.errors import InputError
from flow.files import write_atomically
from flow.tvl1 import TVL1Params

HELPERS = Path(__file__).parent
"""What a process that others start has on its path to import this."""

PARAMS = TVL1Params(scales=2, warps=2, inner_iterations=5, outer_iterations=1, median=1)
AT_START = signal.getsignal(signal.SIGINT)


class OddError(Exception):
    """One that does not reach another process."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("does not pickle")


def work(task: str, tell: Tell) -> Any:
    """Do what the task says, or else its name in capitals."""
    if task == "interrupts":
        return AT_START == signal.SIG_IGN, signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if task == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    if task == "who":
        return os.getpid()
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "crashed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "ended":
        os._exit(3)
    if task == "exits":
        sys.exit(3)
    if task == "wrong":
        raise InputError("a reason")
    if task == "unexpected":
        raise ZeroDivisionError("several\nlines")
    if task == "odd":
        raise OddError("a word")
    if task == "asleep":
        tell(os.getpid())
        time.sleep(60)
    tell(2)
    tell(3)
    return task.upper()


def dies_at_first(path: Path, tell: Tell) -> str:
    tell(1)
    if not path.exists():
        path.touch()
        while not path.with_name("told").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def waits_for(path: Path, tell: Tell) -> str:
    tell("begun")
    while not path.exists():
        time.sleep(0.01)
    return "ended"


def device(path: Path, tell: Tell) -> str | None:
    """The GPUs of a task, of four that are there at the same time."""
    (path.parent / f"{path.name} is there").touch()
    while len(list(path.parent.glob("* is there"))) < 4:
        time.sleep(0.01)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def ends_after(path: Path, tell: Tell) -> str:
    """The short one ends at once, the long one when the process of the short one has ended."""
    path.write_text(str(os.getpid()))
    other = path.with_name("long" if path.name == "short" else "short")
    while not (other.exists() and other.read_text()):
        time.sleep(0.01)
    if path.name == "short":
        return "at once"
    while Path("/proc", other.read_text()).exists():
        time.sleep(0.01)
    return "after the process of the other"


def frames(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (30, 24, 32), dtype=np.uint8)


def solved(previous: NDArray[np.uint8], following: NDArray[np.uint8]) -> bytes:
    return encode(tvl1(previous, following, PARAMS, "reference")).tobytes()


def flow_of(path: Path, tell: Tell) -> int:
    """Writes the flow of a video that its name is the seed of, and that it was begun."""
    with (path.parent / f"{path.name}.begun").open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    video = frames(int(path.name))
    parts = []
    for previous, following in itertools.pairwise(video):
        parts.append(solved(previous, following))
        if len(parts) == 10:
            tell(os.getpid())
            while not (path.parent / "go on").exists():
                time.sleep(0.01)
    write_atomically(path, b"".join(parts))
    return sum(map(len, parts))
