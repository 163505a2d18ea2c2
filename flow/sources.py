"""The videos in a folder."""

from collections.abc import Iterator
from pathlib import Path

from flow.errors import InputError
from flow.video import SUFFIXES


def find_videos(folder: Path) -> list[Path]:
    """The videos in a folder at every depth, by their suffixes, sorted; hidden ones left out."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder that holds the videos.")
    try:
        found = sorted(_walk(folder, frozenset()))
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); make it readable."
        ) from error
    if not found:
        raise InputError(
            f"{folder} has no videos; give a folder with files that end in one of "
            f"{' '.join(sorted(SUFFIXES))}."
        )
    return found


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in above:  # a link back to a folder on the way here
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {identity})
        elif path.suffix.lower() in SUFFIXES:
            yield path


def take_shard(found: list[Path], shard: str) -> list[Path]:
    """Every N-th of the videos from the K-th on, for a shard "K/N" with K from 1 to N.

    The shards of one folder hold each video once.
    """
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"The shard is {shard!r}; give for example 3/8, the third of eight.")
    return found[int(number) - 1 :: int(count)]
