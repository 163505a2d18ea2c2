"""Whether the videos that are there are those of the lists."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from twostream.doctor.findings import Case, Finding, count
from twostream.doctor.lists import OFFICIAL, Lists, plain


def compare(lists: Lists, sources: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the videos are those listed.

    Args:
        lists: The lists.
        sources: Path below the folder of each video that is there, by its id.
    """
    absent = [id_ for id_ in lists.every if id_ not in sources]
    extra = [id_ for id_ in sources if id_ not in lists.every]
    elsewhere = _elsewhere(absent, extra)
    yield from _under_other_names(elsewhere, sources)
    yield from _missing(lists, [id_ for id_ in absent if id_ not in elsewhere])
    unlisted = sorted(set(extra) - set(elsewhere.values()))
    if unlisted:
        message = f"{count(len(unlisted), 'video')} there, but not listed: not used."
        yield Finding("note", "unlisted", message, tuple(Case(sources[id_]) for id_ in unlisted))
    yield from _other_folders(lists, sources)


def _elsewhere(absent: Sequence[str], extra: Sequence[str]) -> dict[str, str]:
    """Under which id each absent video is there all the same, as far as that is certain.

    The path is then the same but for case, accents' encoding and signs, or the name is the same in
    another folder.
    """
    found: dict[str, str] = {}
    for key in (plain, _name):
        there = defaultdict(list)
        for id_ in sorted(set(extra) - set(found.values())):
            there[key(id_)].append(id_)
        wanted = Counter(key(id_) for id_ in absent if id_ not in found)
        for id_ in absent:
            candidates = there.get(key(id_), [])
            if id_ not in found and len(candidates) == 1 == wanted[key(id_)]:
                found[id_] = candidates[0]
    return found


def _name(id_: str) -> str:
    return plain(PurePosixPath(id_).name)


def _under_other_names(
    elsewhere: Mapping[str, str], sources: Mapping[str, str]
) -> Iterator[Finding]:
    if not elsewhere:
        return
    cases = tuple(Case(id_, f"is there as {sources[there]}") for id_, there in elsewhere.items())
    message = f"{count(len(cases), 'listed video')} under another name or path than listed; "
    prefixes = {
        there.removesuffix(f"/{id_}") if there.endswith(f"/{id_}") else None
        for id_, there in elsewhere.items()
    }
    prefix = prefixes.pop()
    advice = (
        f"give the folder {prefix} in it." if prefix and not prefixes else "rename or move them."
    )
    yield Finding("fault", "names", message + advice, cases)


def _missing(lists: Lists, absent: Sequence[str]) -> Iterator[Finding]:
    used = [id_ for id_ in absent if id_ in lists.videos]
    unused = [id_ for id_ in absent if id_ not in lists.videos]
    if used:
        whole = Counter(video.label for video in lists.videos.values())
        lost = Counter(lists.videos[id_].label for id_ in used)
        gone = sum(lost[label] == total for label, total in whole.items())
        message = f"{len(used):,} of {count(len(lists.videos), 'listed video')} are not there"
        message += f"; of {gone} of {len(whole)} classes there is none." if gone else "."
        yield Finding("fault", "missing", message, tuple(Case(id_) for id_ in used))
    if unused:
        message = (
            f"{len(unused):,} of {count(len(lists.unused), 'video')} that no split uses are not "
            "there."
        )
        yield Finding("note", "unused", message, tuple(Case(id_) for id_ in unused))


def _other_folders(lists: Lists, sources: Mapping[str, str]) -> Iterator[Finding]:
    """Videos in a folder that is called like another class than theirs."""
    names = {plain(name): name for name in lists.classes}
    cases = []
    for id_, video in lists.every.items():
        folder = names.get(plain(PurePosixPath(id_).parent.name))
        if id_ in sources and folder not in (None, lists.classes[video.label]):
            cases.append(Case(sources[id_], f"listed as {lists.classes[video.label]}"))
    if cases:
        message = f"{count(len(cases), 'video')} in the folder of another class than its label."
        yield Finding("fault", "folders", message, tuple(cases))


def summary(lists: Lists, there: Iterable[str]) -> Iterator[str]:
    """Each split in a line: how much of it there is."""
    present = set(there)
    if lists.official:
        total, here = len(lists.every), len(present & lists.every.keys())
        classes = len({lists.every[id_].label for id_ in present if id_ in lists.every})
        yield (
            f"{OFFICIAL[lists.splits[0].name]}: {here:,} of {total:,} videos are there, "
            f"of {classes} of {len(lists.classes)} classes"
        )
    for split in lists.splits:
        sides = [
            f"{sum(video.id in present for video in side):,} of {len(side):,} to {verb} on"
            for side, verb in ((split.train, "train"), (split.test, "test"))
            if side
        ]
        groups = len({video.group for video in (*split.train, *split.test)})
        yield (
            f"{split.name}, split {split.split}: {', '.join(sides)}; "
            f"{count(len(split.classes), 'class')}, {count(groups, 'group')}"
        )
