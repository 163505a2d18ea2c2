"""Whether a store holds the flow of these videos, as they are, made in one way."""

import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow import engines
from flow.errors import InputError
from flow.manifest import read_failures
from flow.meta import IMPORTED, SETTINGS, Meta
from flow.progress import progress_bar
from flow.scaling import scaled
from flow.store import find_store_files, read_meta
from twostream.doctor.findings import Case, Finding, count
from twostream.doctor.videos import Examined


@dataclass(frozen=True)
class Stored:
    """What the store files say of themselves, and what is wrong with them, by the videos' ids."""

    metas: Mapping[str, Meta]
    faults: Mapping[str, str]


def read_store(store: Path, *, workers: int, progress: bool) -> Stored:
    """Read what each file says of itself, and whether its images are there; none is decoded.

    Raises:
        InputError: No such folder.
    """
    if not store.is_dir():
        raise InputError(f"{store} is no folder; give the folder of a store.")
    files = find_store_files(store)
    ids = {path: id_ for id_, path in files.items()}
    metas: dict[str, Meta] = {}
    faults: dict[str, str] = {}
    tasks = list(files.values())
    with (
        closing(engines.run(_read, tasks, min(workers, max(1, len(tasks))))) as events,
        progress_bar(len(tasks), " store files", progress) as bar,
    ):
        for event in events:
            if isinstance(event, engines.Done):
                metas[ids[event.task]] = event.result
            elif isinstance(event, engines.Failed):
                faults[ids[event.task]] = event.reason
            bar.update()
    return Stored(metas, faults)


def _read(path: Path, _: engines.Tell) -> Meta:
    meta = read_meta(path)
    flows = meta.flows * (2 if meta.codec == "jpeg" else 1)
    wanted = 1 + flows + (meta.frames if meta.rgb else 0)
    try:
        with zipfile.ZipFile(path) as file:
            there = len(file.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no whole zip file ({error}); extract it again.") from None
    if there != wanted:
        raise InputError(f"{path} has {there} members, not {wanted}; extract it again.")
    return meta


def compare(
    store: Path, stored: Stored, videos: Sequence[Examined], wanted: Collection[str]
) -> Iterator[Finding]:
    """Whether the store and the videos agree.

    Args:
        store: The folder of the store.
        stored: What is in it.
        videos: The videos.
        wanted: Ids of those that are to be stored.
    """
    sources = {video.id: video.source for video in videos}
    yield from _missing(store, stored, videos, wanted)
    yield from _finding(
        "store damaged",
        "store file",
        "damaged; extract anew.",
        {sources.get(id_, id_): reason for id_, reason in stored.faults.items()},
    )
    pairs = [(video, stored.metas[video.id]) for video in videos if video.id in stored.metas]
    stale = {video.source: why for video, meta in pairs if (why := _is_of_another(video, meta))}
    yield from _finding(
        "store stale", "video", "stored from another file than is there; extract anew.", stale
    )
    differing = {
        video.source: why
        for video, meta in pairs
        if video.source not in stale and (why := _difference(video, meta))
    }
    yield from _finding(
        "store frames",
        "video",
        "stored with other frames than it has; extract anew.",
        differing,
    )
    yield from _partial(pairs)
    yield from _orphans(stored, sources)
    yield from _other_settings(stored.metas)


def summary(store: Path, stored: Stored) -> str:
    """The store in a line."""
    line = f"{store}: {count(len(stored.metas), 'store file')}"
    if stored.metas:
        usual = _usual(stored.metas)
        images = "frames and flow" if usual.rgb else "flow alone"
        scaled_to = f", short side {usual.short_side}" if usual.short_side else ""
        line += (
            f", {images}: {usual.algorithm} ({usual.solver}), bound {usual.bound:g}, "
            f"{usual.encoding}, step {usual.step}{scaled_to}"
        )
    return f"{line} (python -m flow verify reads the images)"


def _missing(
    store: Path, stored: Stored, videos: Sequence[Examined], wanted: Collection[str]
) -> Iterator[Finding]:
    reasons = read_failures(store)
    there = stored.metas.keys() | stored.faults.keys()
    cases = tuple(
        Case(video.source, reasons.get(video.source, ""))
        for video in videos
        if video.id in wanted and video.id not in there
    )
    if cases:
        message = (
            f"{len(cases):,} of {count(len(wanted), 'video')} are not in the store; extract them."
        )
        yield Finding("fault", "store missing", message, cases)


def _finding(check: str, what: str, message: str, cases: Mapping[str, str]) -> Iterator[Finding]:
    if cases:
        listed = tuple(Case(source, why) for source, why in sorted(cases.items()))
        yield Finding("fault", check, f"{count(len(listed), what)} {message}", listed)


def _is_of_another(video: Examined, meta: Meta) -> str:
    """Why a store file is not that of a video."""
    if meta.solver == IMPORTED:  # of images, and the video was not seen
        return ""
    if meta.source != video.path.name:
        return f"is of {meta.source}"
    if meta.source_bytes != video.bytes:
        return f"is of a file of {meta.source_bytes:,} bytes, not of {video.bytes:,}"
    return "is of a file of another hash" if video.sha256 not in ("", meta.source_sha256) else ""


def _difference(video: Examined, meta: Meta) -> str:
    """How the frames of a store file differ from those of its video, where both are known."""
    if video.frames is not None and meta.damage is None:
        taken = -(-video.frames // meta.step)
        if meta.frames != taken:
            return f"has {count(meta.frames, 'frame')}, the video {taken:,}"
    if video.height and meta.solver != IMPORTED:
        blank = np.zeros((video.height, video.width, 3), np.uint8)
        height, width = scaled(blank, meta.short_side).shape[:2]
        if (meta.height, meta.width) != (height, width):
            return f"has {meta.width} x {meta.height} pixels, the video {width} x {height}"
    return ""


def _partial(pairs: Sequence[tuple[Examined, Meta]]) -> Iterator[Finding]:
    cases = tuple(Case(video.source, meta.damage) for video, meta in pairs if meta.damage)
    if cases:
        message = f"{count(len(cases), 'video')} stored up to where it is damaged."
        yield Finding("note", "store partial", message, cases)


def _orphans(stored: Stored, sources: Mapping[str, str]) -> Iterator[Finding]:
    others = sorted((stored.metas.keys() | stored.faults.keys()) - sources.keys())
    if others:
        message = f"{count(len(others), 'store file')} of videos that are not there."
        yield Finding("note", "store orphans", message, tuple(Case(id_) for id_ in others))


def _other_settings(metas: Mapping[str, Meta]) -> Iterator[Finding]:
    """Store files that were made otherwise than most of the store."""
    if not metas:
        return
    usual = _usual(metas)
    cases = {id_: why for id_, meta in metas.items() if (why := _made_otherwise(meta, usual))}
    yield from _finding(
        "store settings",
        "store file",
        "made with other settings than most; extract anew.",
        cases,
    )


def _usual(metas: Mapping[str, Meta]) -> Meta:
    """One of those that were made as most of the store was."""
    made = defaultdict(list)
    for meta in metas.values():
        made[repr(_settings(meta))].append(meta)
    return max(made.values(), key=len)[0]


def _made_otherwise(meta: Meta, usual: Meta) -> str:
    """The settings that differ, and how."""
    here, there = _settings(meta), _settings(usual)
    return "; ".join(
        f"{name} {here.get(name)}, not {there.get(name)}"
        for name in {**here, **there}
        if here.get(name) != there.get(name)
    )


def _settings(meta: Meta) -> dict[str, object]:
    """What the whole of a store has in common, the solver's parameters one by one."""
    return {name: getattr(meta, name) for name in SETTINGS if name != "params"} | meta.params
