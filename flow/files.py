"""Files that are written whole or not at all, by one process at a time."""

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flow.errors import InputError


@contextlib.contextmanager
def atomic(path: Path, wait: bool = True) -> Iterator[BinaryIO]:
    """Write a file under a hidden name beside ``path``, which it replaces when all is on the disk.

    The body gets the open file, in which it can seek and read, too, or which it may open once more
    by its ``name``. Whatever fails, ``path`` is left as it was, and nothing beside it. Where
    another process writes the same file, this one waits until that has ended.

    Raises:
        BlockingIOError: Another process writes the file, and ``wait`` is false.
        OSError: The folder is not there, cannot be written, or is full.
    """
    partial, file = _open_alone(path, wait)
    with file:  # the lock is held until the hidden name is gone: whoever waits for it sees that
        try:
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


def make_writable(folder: Path) -> None:
    """Make a folder where it is not there; InputError where nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"written")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); make it writable or give another."
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove, at every depth, what processes that are dead have left half written."""
    for path in folder.rglob(".*.partial*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                path.unlink()


def _open_alone(path: Path, wait: bool) -> tuple[Path, BinaryIO]:
    """The hidden file, empty and locked as long as it is open, and its name."""
    # File systems take names of 255 bytes: a long one is cut to leave room for the rest.
    stem = f".{os.fsdecode(os.fsencode(path.name)[:200])}.partial"
    partial = path.with_name(stem)
    while True:
        file: BinaryIO = open(partial, "r+b", opener=_open_or_make)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            file.close()
            if error.errno == errno.EWOULDBLOCK:
                raise
            # A file system without locks: a name that no other process takes must do.
            partial.unlink(missing_ok=True)
            partial = path.with_name(f"{stem}-{socket.gethostname()[:20]}-{os.getpid()}")
            return partial, partial.open("w+b")
        if _is_at(partial, file):
            file.truncate(0)
            return partial, file
        file.close()  # the one who held the lock has renamed or removed this file


def _open_or_make(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
