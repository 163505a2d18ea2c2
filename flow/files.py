"""Files that are written whole or not at all."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a hidden name beside ``path``, which it replaces when all is on the disk.

    The body gets the open file, in which it can seek and read, too. Whatever fails, ``path`` is
    left as it was, and nothing beside it.

    Raises:
        OSError: The folder is not there, cannot be written, or is full.
    """
    partial = _partial(path)
    try:
        with partial.open("w+b") as file:
            _lock(file)
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
    """Remove, at every depth, what processes that are dead have left half written."""
    for path in folder.rglob(".*.partial-*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            if _lock(file):
                path.unlink()


def _partial(path: Path) -> Path:
    # File systems take names of 255 bytes: a long one is cut to leave room for the rest.
    name = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{name}.partial-{os.getpid()}")


def _lock(file: BinaryIO) -> bool:
    """Take the lock that its writer holds as long as it lives; False where that cannot be had."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another has it, or the file system has no locks
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
