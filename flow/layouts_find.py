"""The videos in a folder of another tool's images, and by which of its names their files go."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flow.errors import InputError
from flow.layouts import Layout, Names, names_of


def find_layout(folder: Path, layout: Layout) -> tuple[dict[str, Names], bool]:
    """The videos in a folder by their ids, sorted, each with its names; whether any has frames.

    Raises:
        InputError: No such folder, none of this layout in it, or images outside of a folder each.
        OSError: A folder in it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of the videos' images.")
    spellings = names_of(layout)
    flows: dict[str, Names] = {}
    frames: dict[str, Names] = {}
    kinds = [
        (place, names, where)
        for names in reversed(spellings)  # what export writes comes last, and counts
        for place, where in ((names.frame, frames), (names.x, flows), (names.y, flows))
    ]
    for root in dict.fromkeys(place.root for place, _, _ in kinds):
        for video, files in _walk(folder / root):
            for place, names, where in kinds:
                if place.root == root and any(place.number(file) is not None for file in files):
                    where[video] = names
    found = frames | flows
    if "" in found:
        raise InputError(f"{folder} has images outside of a video's folder; give the folder above.")
    if not found:
        example = spellings[0].x
        raise InputError(
            f"{folder} has no videos in the layout {layout}; give a folder with files as "
            f"{PurePosixPath(example.root, '<video>', example.file(1))}."
        )
    return dict(sorted(found.items())), bool(frames)


def _walk(
    root: Path, inside: str = "", above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[str, list[str]]]:
    """Each folder at every depth, by its path under the root, and its files; not the hidden."""
    if not root.is_dir():
        return
    status = root.stat()
    identity = status.st_dev, status.st_ino
    if identity in above:  # a link back to a folder on the way here
        return
    files = []
    for entry in os.scandir(root):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            path = f"{inside}/{entry.name}" if inside else entry.name
            yield from _walk(root / entry.name, path, above | {identity})
        else:
            files.append(entry.name)
    yield inside, files
