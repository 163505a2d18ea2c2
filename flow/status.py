"""What is true of a store: whether it is whole, and how far it is."""

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from flow import engines
from flow.errors import InputError
from flow.manifest import FAILURES, disagreements, read_failures
from flow.meta import SETTINGS, Meta
from flow.processors import usable_processors
from flow.progress import progress_bar
from flow.sources import find_videos, origin, source_bytes, source_id
from flow.store import find_store_files, read_meta, store_path, verify


def verify_store(
    store: Path,
    workers: int | None = None,
    progress: bool = True,
    videos: Path | None = None,
) -> list[str]:
    """Every fault of a store in a sentence each.

    Of its files, every image of which is decoded; between them and the manifest; and, where the
    folder of the videos is given, between them and the videos.

    Raises:
        InputError: No such folder.
    """
    if not store.is_dir():
        raise InputError(f"{store} is no folder; give the folder of a store.")
    files = find_store_files(store)
    metas = {video: _meta(path) for video, path in files.items()}
    faults = disagreements(store, metas)
    if videos is not None:
        found = status(videos, store, progress)
        faults += [f"{source} is missing; extract it." for source in found.missing]
        faults += [f"{source} failed; see {store / FAILURES}." for source in found.failed]
        faults += [
            f"{source} is not the file that was stored; extract it again." for source in found.stale
        ]
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
    return sorted(faults + _mixed(store, metas))


@dataclass(frozen=True)
class Status:
    """How far a store is, in videos by their paths in the folder of videos.

    Attributes:
        done: Stored, from this very file.
        partial: Among these, stored up to where they are damaged.
        missing: Not stored yet.
        failed: Not stored, because the last run failed on them.
        stale: Stored from a file of another size or hash.
        orphans: Ids of what is stored of videos that are not in the folder.
    """

    done: tuple[str, ...]
    partial: tuple[str, ...]
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
    sorted_out: dict[str, list[str]] = {
        state: [] for state in ("done", "partial", "missing", "failed", "stale")
    }
    with progress_bar(len(found), " videos", progress) as bar:
        for path in found:
            source = path.relative_to(videos)
            meta = _meta(stored.pop(source_id(path, videos), None))
            if meta:
                state = "done" if _is_of(meta, path) else "stale"
            else:
                state = "failed" if source.as_posix() in failures else "missing"
            sorted_out[state].append(source.as_posix())
            if state == "done" and meta and meta.damage:
                sorted_out["partial"].append(source.as_posix())
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
        return source_bytes(path) == meta.source_bytes and origin(path) == meta.origin
    except (InputError, OSError):
        return False


def _mixed(store: Path, metas: Mapping[str, Meta | None]) -> list[str]:
    """A fault for each store file that was made with other settings than most."""
    settings = {
        video: json.dumps([getattr(meta, name) for name in SETTINGS], sort_keys=True)
        for video, meta in metas.items()
        if meta
    }
    common = Counter(settings.values()).most_common(1)
    return [
        f"{store_path(store, video)} was made with other settings than most of the store; "
        "extract its video again."
        for video, made in settings.items()
        if made != common[0][0]
    ]


def _verify(path: Path, _: engines.Tell) -> list[str]:
    return verify(path)
