"""Processes that tests start: whether they live, and waiting for what they do. Linux alone."""

import time
from collections.abc import Callable
from pathlib import Path


def is_running(process: int) -> bool:
    """Whether a process lives; one that is dead and that nobody has waited for does not."""
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(process: int) -> set[int]:
    """The processes that it has started, and so on."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process}


def name_of(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Until the condition is true; fails when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
