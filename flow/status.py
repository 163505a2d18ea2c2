"""What is true of a store: whether it is whole, and how far it is."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from flow import engines
from flow.errors import InputError
from flow.manifest import missing, read_failures
from flow.processors import usable_processors
from flow.progress import progress_bar
from flow.sources import find_videos
from flow.store import Meta, find_store_files, read_meta, verify, video_id


def verify_store(store: Path, workers: int | None = None, progress: bool = True) -> list[str]:
    """Every fault of a store in a sentence each: of its files, and of what its manifest lists.

    Raises:
        InputError: No such folder.
    """
    if not store.is_dir():
        raise InputError(f"{store} is no folder; give the folder of a store.")
    files = find_store_files(store)
    faults = missing(store, files.keys())
    tasks = list(files.values())
    with (
        closing(engines.run(_verify, tasks, workers or usable_processors())) as events,
        progress_bar(len(tasks), " files", progress) as bar,
    ):
        for event in events:
            if isinstance(event, engines.Done):
                faults += event.result
            elif isinstance(event, engines.Failed):
                faults.append(f"{event.task} was not verified: {event.reason}")
            bar.update()
    return sorted(faults + _mixed(files.values()))


@dataclass(frozen=True)
class Status:
    """How far a store is, in videos by their paths in the folder of videos.

    Attributes:
        done: Stored, from this very file.
        missing: Not stored yet.
        failed: Not stored, because the last run failed on them.
        stale: Stored from a file of another size or hash.
        orphans: Ids of what is stored of videos that are not in the folder.
    """

    done: tuple[str, ...]
    missing: tuple[str, ...]
    failed: tuple[str, ...]
    stale: tuple[str, ...]
    orphans: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(f"{len(videos):,} {name}" for name, videos in vars(self).items())


def status(videos: Path, store: Path, progress: bool = True) -> Status:
    """Compare a store with a folder of videos, each video by its size and hash.

    Raises:
        InputError: No such folder, or no videos in it.
    """
    found = find_videos(videos)
    if not store.is_dir():
        raise InputError(f"{store} is no folder; give the folder of a store.")
    failures = read_failures(store)
    stored = dict(find_store_files(store))
    sorted_out: dict[str, list[str]] = {"done": [], "missing": [], "failed": [], "stale": []}
    with progress_bar(len(found), " videos", progress) as bar:
        for path in found:
            source = path.relative_to(videos)
            meta = _meta(stored.pop(video_id(source), None))
            if meta:
                state = "done" if _is_of(meta, path) else "stale"
            else:
                state = "failed" if source.as_posix() in failures else "missing"
            sorted_out[state].append(source.as_posix())
            bar.update()
    lists = {state: tuple(sources) for state, sources in sorted_out.items()}
    return Status(**lists, orphans=tuple(sorted(stored)))


def _meta(path: Path | None) -> Meta | None:
    """What a store file says; None for one that is not there, or damaged."""
    with suppress(InputError):
        return read_meta(path) if path else None
    return None


def _is_of(meta: Meta, path: Path) -> bool:
    try:
        if path.stat().st_size != meta.source_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == meta.source_sha256
    except OSError:
        return False


def _mixed(files: Iterable[Path]) -> list[str]:
    """A fault for each store file that was made with other settings than most."""
    settings = {}
    for path in files:
        if meta := _meta(path):
            made = (meta.solver, meta.params, meta.bound, meta.encoding, meta.quality, meta.codec)
            settings[path] = json.dumps([*made, meta.algorithm], sort_keys=True)
    common = Counter(settings.values()).most_common(1)
    return [
        f"{path} was made with other settings than most of the store; extract its video again."
        for path, made in settings.items()
        if made != common[0][0]
    ]


def _verify(path: Path, _: engines.Tell) -> list[str]:
    return verify(path)
