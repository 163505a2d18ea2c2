"""Every video of a folder, looked at one by one in processes of this machine."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flow import engines
from flow.errors import InputError
from flow.progress import progress_bar
from flow.sources import find_videos, open_video, origin, source_bytes, source_id
from flow.video import grey, use_one_thread

MOMENTS, SIDE = 8, 16
"""A print is so many moments of a video, each a grey picture of so many pixels by side."""


@dataclass(frozen=True)
class Task:
    """A video to look at: its path, its id, its path below the folder, and how thoroughly."""

    path: Path
    id: str
    source: str
    quick: bool


@dataclass(frozen=True)
class Examined:
    """What was seen of a video.

    Attributes:
        id: Its path below the folder, without suffix.
        source: The same with it.
        path: Where it lies.
        bytes: Its size.
        sha256: Of its content; empty where it was not read.
        height: Of its frames, pixels; 0 where it cannot be opened.
        width: The same.
        fps: Frames a second; 0 where it states none.
        frames: How many were decoded; None where it was not decoded to its end.
        print: Grey pictures, uint8 (MOMENTS, SIDE, SIDE), evenly spread over it; None likewise.
        reason: Why it cannot be read; None where it can.
    """

    id: str
    source: str
    path: Path
    bytes: int = 0
    sha256: str = ""
    height: int = 0
    width: int = 0
    fps: float = 0.0
    frames: int | None = None
    print: NDArray[np.uint8] | None = field(default=None, compare=False)
    reason: str | None = None


def find(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The videos in a folder, and what ``find_videos`` warns of.

    Raises:
        InputError: No such folder, or no videos in it.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find_videos(folder)
    return found, tuple(str(warning.message) for warning in caught)


def examine(
    folder: Path, found: Sequence[Path], *, quick: bool, workers: int, progress: bool
) -> list[Examined]:
    """Look at each video, in the order of ``found``.

    Args:
        folder: Of the videos.
        found: The videos in it.
        quick: Decode no more than the first frame, and read only those to their end that another
            one equals in size.
        workers: Processes at most.
        progress: Show a bar.
    """
    tasks = [
        Task(path, source_id(path, folder), path.relative_to(folder).as_posix(), quick)
        for path in found
    ]
    seen: dict[Path, Examined] = {}
    with (
        closing(engines.run(_examine, tasks, min(workers, len(tasks)))) as events,
        progress_bar(len(tasks), " videos", progress) as bar,
    ):
        for event in events:
            task = event.task
            if isinstance(event, engines.Done):
                seen[task.path] = event.result
            elif isinstance(event, engines.Failed):  # a crash of its process, for example
                seen[task.path] = Examined(task.id, task.source, task.path, reason=event.reason)
            bar.update()
    videos = [seen[path] for path in found]
    return _with_hashes(videos) if quick else videos


def _examine(task: Task, _: engines.Tell) -> Examined:
    use_one_thread()
    size = source_bytes(task.path)
    video = Examined(task.id, task.source, task.path, size)
    try:
        if not task.quick:
            video = replace(video, sha256=origin(task.path)[2])
        return _first_frame(video) if task.quick else _decoded(video)
    except InputError as error:
        return replace(video, reason=str(error))


def _first_frame(video: Examined) -> Examined:
    opened = open_video(video.path)
    return replace(video, height=opened.size[0], width=opened.size[1], fps=opened.fps)


def _decoded(video: Examined) -> Examined:
    opened = open_video(video.path)
    video = replace(video, height=opened.size[0], width=opened.size[1], fps=opened.fps)
    try:
        pictures = [_small(grey(frame)) for frame in opened]
    except InputError as error:
        return replace(video, reason=str(error))
    # In the middle of each eighth, where fades and cuts of a few frames change little.
    moments = ((np.arange(MOMENTS) + 0.5) * len(pictures) / MOMENTS).astype(int)
    return replace(video, frames=len(pictures), print=np.stack(pictures)[moments])


def _small(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The means of SIDE x SIDE parts of a grey frame (H, W), uint8."""
    means: NDArray[np.uint8] = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return means


def _with_hashes(videos: list[Examined]) -> list[Examined]:
    """The same, those of which another one equals the size with their hash."""
    sizes = Counter(video.bytes for video in videos)
    return [_with_hash(video) if sizes[video.bytes] > 1 else video for video in videos]


def _with_hash(video: Examined) -> Examined:
    with suppress(InputError):
        return replace(video, sha256=origin(video.path)[2])
    return video


def by_content(videos: Sequence[Examined]) -> list[list[Examined]]:
    """Videos of equal content, together; those that have none like them are left out."""
    same: dict[str, list[Examined]] = defaultdict(list)
    for video in videos:
        if video.sha256:
            same[video.sha256].append(video)
    return [group for group in same.values() if len(group) > 1]
