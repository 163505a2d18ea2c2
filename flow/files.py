"""Files that are written whole or not at all."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PARTIAL = re.compile(r"\..*\.partial-(\d+)", re.DOTALL)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a hidden name beside ``path``, which it replaces when all is on the disk.

    The body writes to the open binary file that it is given, and may seek and read there. Whatever
    fails, ``path`` is as it was before and nothing is left beside it.

    Raises:
        OSError: The folder is not there, cannot be written or is full.
    """
    partial = _partial(path)
    try:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    _sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` as ``atomic`` does."""
    with atomic(path) as file:
        file.write(content)


def remove_leftovers(folder: Path) -> None:
    """Remove, at every depth, what processes of this machine that have died left half written.

    Of two machines that share a folder only one may write to it at a time: a process of the other
    one looks dead from here.
    """
    for path in folder.rglob(".*.partial-*"):
        match = _PARTIAL.fullmatch(path.name)
        if match and not _is_another_that_runs(int(match[1])):
            path.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    # File systems take names of 255 bytes; a long one is cut to leave room for the rest.
    name = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{name}.partial-{os.getpid()}")


def _sync_folder(folder: Path) -> None:
    """Bring the folder's own entries to the disk, without which a new name can be lost."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_another_that_runs(process: int) -> bool:
    if process == os.getpid():
        # In a container every run may have the same number.
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
