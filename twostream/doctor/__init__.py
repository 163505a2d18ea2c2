"""The data set doctor: what is wrong with videos, lists and store, before weeks of training."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flow.processors import usable_processors
from twostream.doctor import listed as listing
from twostream.doctor import store as storing
from twostream.doctor.copies import find_copies
from twostream.doctor.findings import Case, Diagnosis, Finding, count
from twostream.doctor.lists import Lists, read_lists
from twostream.doctor.store import read_store
from twostream.doctor.videos import Examined, examine, find

_USUAL_SHARE = 0.9  # of the videos: where so many are alike, the others stand out
_VALUES = 3  # of a distribution in the summary


def diagnose(
    folder: Path,
    *,
    store: Path | None = None,
    dataset: str = "csv",
    lists: Path | None = None,
    split: str | None = None,
    clip_length: int = 16,
    quick: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Look at a data set from all sides; nothing of it is changed.

    Args:
        folder: Of the videos, at any depth.
        store: Of the flow, where there is one.
        dataset: Of the lists: "ucf101", "hmdb51" or "csv".
        lists: The folder of the official lists, or a CSV file, where there is one.
        split: As for ``twostream.doctor.lists.read_lists``.
        clip_length: Flow fields in a clip; videos that have fewer are told.
        quick: Decode no video beyond its first frame.
        workers: Processes; one a processor where not given.
        progress: Show bars.

    Raises:
        InputError: A folder, file or split that is not there.
    """
    workers = usable_processors() if workers is None else workers
    found, warned = find(folder)
    findings = [Finding("note", "images", message) for message in warned]
    listed, faults = read_lists(dataset, lists, split) if lists else (None, [])
    stored = read_store(store, workers=workers, progress=progress) if store else None
    videos = examine(folder, found, quick=quick, workers=workers, progress=progress)
    findings += [*faults, *_videos(videos, clip_length), *_other_files(folder, found)]
    sources = {video.id: video.source for video in reversed(videos)}  # of one id, the first
    if listed:
        findings += listing.compare(listed, sources)
    findings += find_copies(videos, listed)
    if store and stored:
        wanted = sources.keys() & listed.videos.keys() if listed else sources.keys()
        findings += storing.compare(store, stored, videos, wanted)
    if quick:
        message = (
            "videos were not decoded: damage beyond the first frame, lengths and copies that are "
            "no equal files are not seen; leave out --quick."
        )
        findings.append(Finding("note", "quick", message))
    summary = [*_summary(folder, videos, listed)]
    if store and stored:
        summary.append(storing.summary(store, stored))
    return Diagnosis(tuple(summary), tuple(findings))


def _videos(videos: Sequence[Examined], clip_length: int) -> Iterator[Finding]:
    """What is wrong with the videos themselves."""
    unreadable = tuple(
        Case(video.source, video.reason.removeprefix(f"{video.path} "))
        for video in videos
        if video.reason
    )
    if unreadable:
        message = f"{count(len(unreadable), 'video')} cannot be read to the end."
        yield Finding("fault", "unreadable", message, unreadable)
    yield from _one_id(videos)
    lengths = [(video, video.frames) for video in videos if video.frames is not None]
    if stills := tuple(Case(video.source) for video, frames in lengths if frames == 1):
        message = f"{count(len(stills), 'video')} of one frame: no flow can be extracted."
        yield Finding("fault", "one frame", message, stills)
    short = tuple(
        Case(video.source, f"{frames} frames")
        for video, frames in lengths
        if 1 < frames <= clip_length
    )
    if short:
        message = (
            f"{count(len(short), 'video')} of fewer than {clip_length + 1} frames, too short for a "
            f"clip of {clip_length} flow fields: what is missing repeats."
        )
        yield Finding("note", "short", message, short)
    opened = [video for video in videos if video.height]
    yield from _unusual("sizes", {video.source: _size(video) for video in opened})
    yield from _unusual("rates", {video.source: _rate(video) for video in opened})


def _one_id(videos: Sequence[Examined]) -> Iterator[Finding]:
    """Videos that a store cannot hold side by side."""
    by_id = defaultdict(list)
    for video in videos:
        by_id[video.id].append(video.source)
    cases = tuple(
        Case(source, f"beside {sources[0]}") for sources in by_id.values() for source in sources[1:]
    )
    if cases:
        message = f"{count(len(cases), 'video')} of the same name but for the suffix; rename."
        yield Finding("fault", "ids", message, cases)


def _unusual(what: str, values: dict[str, str]) -> Iterator[Finding]:
    """The few videos that are not like nearly all."""
    if not values:
        return
    usual, times = Counter(values.values()).most_common(1)[0]
    cases = tuple(Case(source, value) for source, value in values.items() if value != usual)
    if cases and times >= _USUAL_SHARE * len(values):
        message = f"{count(len(cases), 'video')} unlike the {times:,} of {usual}."
        yield Finding("note", what, message, cases)


def _other_files(folder: Path, found: Iterable[Path]) -> Iterator[Finding]:
    """Files that are taken neither for videos nor for parts of one."""
    videos = set(found)
    others: Counter[str] = Counter()
    cases = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.is_dir() or path in videos or path.parent in videos:
            continue
        others[path.suffix.lower() or "no suffix"] += 1
        cases.append(Case(inside.as_posix()))
    if cases:
        kinds = ", ".join(f"{times:,} {suffix}" for suffix, times in others.most_common(5))
        message = f"{count(len(cases), 'file')} not taken for videos ({kinds})."
        yield Finding("note", "files", message, tuple(cases))


def _summary(folder: Path, videos: Sequence[Examined], lists: Lists | None) -> Iterator[str]:
    folders = len({video.path.parent for video in videos})
    megabytes = sum(video.bytes for video in videos) / 1e6
    where = f"{count(len(videos), 'video')} in {count(folders, 'folder')}"
    yield f"{folder}: {where}, {megabytes:,.0f} MB"
    if frames := [video.frames for video in videos if video.frames is not None]:
        yield f"frames: {min(frames):,} to {max(frames):,} a video, {sum(frames):,} in all"
    opened = [video for video in videos if video.height]
    # Smaller ones first, by the shorter side.
    sizes = sorted(opened, key=lambda video: (min(video.height, video.width), video.width))
    yield f"sizes: {_distribution([_size(video) for video in sizes])}"
    rates = sorted(opened, key=lambda video: video.fps)
    yield f"rates: {_distribution([_rate(video) for video in rates])}"
    if lists:
        yield from listing.summary(lists, (video.id for video in videos))


def _distribution(ascending: Sequence[str]) -> str:
    """The most frequent values, and between which ones all lie."""
    counts = Counter(ascending)
    shown = [f"{value} ({times:,})" for value, times in counts.most_common(_VALUES)]
    if others := len(counts) - len(shown):
        shown.append(f"{others:,} more from {ascending[0]} to {ascending[-1]}")
    return ", ".join(shown) or "no video can be opened"


def _size(video: Examined) -> str:
    return f"{video.width} x {video.height}"


def _rate(video: Examined) -> str:
    return f"{video.fps:.5g} fps" if video.fps else "no rate stated"
