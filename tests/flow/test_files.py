"""Atomic files. Kinds: known answer (what is on the disk after success, failure and death)."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flow.files import atomic, remove_leftovers, write_atomically


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a long content of old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == {"table.csv"}


def test_until_the_end_only_a_hidden_file_beside_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    with atomic(path) as file:
        file.write(b"half")
        file.flush()
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == {"table.csv", ".table.csv.partial"}
        file.seek(0)
        assert file.read() == b"half"
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"table.csv"}


def test_a_disk_that_fails_at_the_last_moment_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "table.csv", b"new")
    assert names(tmp_path) == set()


def test_the_content_reaches_the_disk_before_the_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    synced = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        status = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        synced.append((is_folder, 0 if is_folder else status.st_size, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(path, b"content")
    assert synced == [(False, len(b"content"), False), (True, 0, True)]


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "é" * 127, "a\nb 'c' \"d\"", "-a", "..."])
def test_any_name_that_the_file_system_takes(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"content")
    assert names(tmp_path) == {name}
    assert (tmp_path / name).read_bytes() == b"content"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        write_atomically(tmp_path / "file" / "table.csv", b"content")


def test_what_a_dead_process_leaves_is_hidden_and_goes(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from flow.files import atomic\n"
        "with atomic(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)\n"
    )
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert subprocess.run([sys.executable, "-c", code, deep / "video\n.zip"]).returncode == 9
    (left,) = names(deep)
    assert left == ".video\n.zip.partial"

    with atomic(deep / "living.zip") as file:
        file.write(b"half")
        other = deep / ".hidden"
        other.touch()
        remove_leftovers(tmp_path)
        assert names(deep) == {".living.zip.partial", other.name}
    assert names(deep) == {"living.zip", other.name}


def lines(path: Path, count: int = 50) -> str:
    """A program that replaces a file by one with its own process number on every line."""
    return (
        "import os, sys, pathlib; from flow.files import atomic\n"
        "for _ in range(30):\n"
        f"    with atomic(pathlib.Path({str(path)!r})) as file:\n"
        f"        for _ in range({count}):\n"
        "            file.write(b'%d\\n' % os.getpid()); file.flush()\n"
    )


def test_of_several_writers_each_writes_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    writers = [subprocess.Popen([sys.executable, "-c", lines(path)]) for _ in range(4)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            content = path.read_text().split()
            assert len(content) == 50
            assert len(set(content)) == 1
            seen.update(content)
    assert [writer.returncode for writer in writers] == [0] * 4
    assert seen <= {str(writer.pid) for writer in writers}
    assert names(tmp_path) == {"table.csv"}


def test_who_does_not_wait_is_told_that_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "video.zip"
    with atomic(path) as file:
        file.write(b"mine")
        with pytest.raises(BlockingIOError), atomic(path, wait=False):
            pass
        file.write(b" whole")
    assert path.read_bytes() == b"mine whole"
    with atomic(path, wait=False) as file:
        file.write(b"next")
    assert path.read_bytes() == b"next"


@pytest.mark.parametrize("fails", [False, True])
def test_who_waits_writes_when_the_other_has_ended(tmp_path: Path, fails: bool) -> None:
    path = tmp_path / "table.csv"
    thread = threading.Thread(target=write_atomically, args=(path, b"second"))

    def first() -> None:
        with atomic(path) as file:
            file.write(b"first, and longer")
            thread.start()
            time.sleep(0.2)
            assert thread.is_alive()
            if fails:
                raise ValueError("no more")

    if fails:
        with pytest.raises(ValueError, match="no more"):
            first()
    else:
        first()
    thread.join(timeout=30)
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == {"table.csv"}


def test_what_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".table.csv.partial").write_bytes(b"half of something long")
    with atomic(tmp_path / "table.csv", wait=False) as file:
        file.write(b"new")
    assert (tmp_path / "table.csv").read_bytes() == b"new"
    assert names(tmp_path) == {"table.csv"}


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with atomic(tmp_path / "table.csv") as file:
        file.write(b"new")
        assert any(name.endswith(str(os.getpid())) for name in names(tmp_path))
        remove_leftovers(tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == b"new"
    assert names(tmp_path) == {"table.csv"}
