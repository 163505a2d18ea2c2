"""Where the images of clips come from: store files, or the videos themselves.

A folder may hold store files (``<id>.zip``, which ``python -m flow extract`` writes), videos, or
both; of one id the store file is taken.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.settings import Settings
from flow.sources import find_videos, source_id
from flow.store import StoreFile, store_path
from twostream.data.decoded import Decoded
from twostream.streams import Stream


class Source(Protocol):
    """One stream of one video."""

    @property
    def frames(self) -> int:
        """How many frames the video has; it has one flow image less."""

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames (len(indices), H, W, 3) RGB, or flow images (len(indices), H, W, 2)."""

    def description(self) -> str:
        """What the images come from and how they were made, as JSON."""


@dataclass(frozen=True)
class Sources:
    """One stream of the videos in a folder.

    Attributes:
        folder: Of store files, of videos, or of both.
        paths: Where the store file of each video lies, or the video, by its id.
        stream: "rgb" or "flow".
        settings: Of the images where there is no store file.
    """

    folder: Path
    paths: Mapping[str, Path]
    stream: Stream
    settings: Settings

    @classmethod
    def of(
        cls, folder: Path, ids: Collection[str], stream: Stream, settings: Settings | None = None
    ) -> Self:
        """The sources of the videos ``ids``; ``Settings()`` where none are given.

        Raises:
            InputError: A video that is not there, two of one id, or a solver that cannot run here
                where flow is to be computed.
        """
        paths = find_paths(folder, ids)
        if absent := [video for video in ids if video not in paths]:
            raise InputError(
                f"{store_path(folder, absent[0])} is not there, nor is a video of that name "
                f"({len(absent):,} of {len(ids):,} are missing); extract it, or give its folder."
            )
        settings = settings or Settings()
        if any(path != store_path(folder, video) for video, path in paths.items()):
            settings = settings.resolved(try_it=stream == "flow")
        return cls(folder, paths, stream, settings)

    @contextmanager
    def opened(self, video: str) -> Iterator[Source]:
        """A video by its id; where a store file is damaged, the error says how to find others."""
        path = self.paths[video]
        if path != store_path(self.folder, video):
            yield Decoded(path, self.stream, self.settings)
            return
        try:
            with StoreFile(path) as file:
                yield _Stored(file, self.stream)
        except InputError as problem:
            reason = str(problem).rstrip(".")
            raise InputError(
                f"{reason}; find every such fault with: python -m flow verify {self.folder}"
            ) from problem


def find_paths(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """Where those of the videos lie that are there: the store file, or else the video.

    Raises:
        InputError: Two videos of one id, which is the path in the folder without its last suffix.
    """
    stored = {video: store_path(folder, video) for video in ids}
    found = {video: path for video, path in stored.items() if path.is_file()}
    if absent := stored.keys() - found.keys():
        for path in _videos(folder):
            video = source_id(path, folder)
            if video not in absent:
                continue
            if other := found.get(video):
                raise InputError(f"{other} and {path} have the same id; rename or move one.")
            found[video] = path
    return found


def _videos(folder: Path) -> list[Path]:
    try:
        return find_videos(folder)
    except InputError:  # it has none: it is a store
        return []


@dataclass(frozen=True)
class _Stored:
    """One stream of a store file."""

    file: StoreFile
    stream: Stream

    @property
    def frames(self) -> int:
        return self.file.meta.frames

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return (self.file.frames if self.stream == "rgb" else self.file.flow_images)(indices)

    def description(self) -> str:
        return self.file.meta.to_json()
