"""The same video twice: equal files, and copies that look the same.

Two videos look the same where their prints (``twostream.doctor.videos``) nowhere differ by more
than ``ALIKE``. Measured on 518 real clips of five data sets: 32 of them re-encoded (H.264, MPEG-4,
Motion JPEG) or halved in size differ from themselves by 2 to 7 levels, at H.264's far too coarse
quality 35 by 4 to 15; of all pairs of different clips, with people moving before one still
background among them, the nearest differ by 31. So copies of full length are found, unless they are
spoilt, and different clips are not taken for copies. Copies that were trimmed, cropped, mirrored or
re-timed are not found.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from twostream.doctor.findings import Case, Finding, Severity, count
from twostream.doctor.lists import Lists
from twostream.doctor.videos import MOMENTS, SIDE, Examined, by_content

ALIKE = 12
"""Levels of grey, of 255, in the mean of one part of one moment."""

_BLANK = 4 * ALIKE  # what is almost of one grey has nothing to tell it by
_PARTS = 4  # by side, of a coarse print that tells most pairs apart

Group = list[Examined]


def find_copies(videos: Sequence[Examined], lists: Lists | None) -> Iterator[Finding]:
    """What is there more than once, by how much it matters.

    That one content has two labels or is on both sides of a split is a fault; of official lists,
    which are what they are, it is a note where the videos only look the same.
    """
    equal = by_content(videos)
    yield from _told(equal, "equal files", lists, "fault")
    again = {video.id for group in equal for video in group[1:]}
    others = [video for video in videos if video.id not in again]
    severity: Severity = "note" if lists and lists.official else "fault"
    yield from _told(alike(others), "they look the same", lists, severity)


def alike(videos: Sequence[Examined]) -> list[Group]:
    """Videos that look the same, together, directly or through others between them."""
    shown = [video for video in videos if video.print is not None and np.ptp(video.print) > _BLANK]
    if len(shown) < 2:
        return []
    prints = np.stack([video.print for video in shown if video.print is not None])
    leader = list(range(len(shown)))

    def leading(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, other in _near(prints):
        leader[leading(other)] = leading(one)
    groups: dict[int, Group] = {}
    for index, video in enumerate(shown):
        groups.setdefault(leading(index), []).append(video)
    return [group for group in groups.values() if len(group) > 1]


def _near(prints: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """The pairs of prints (N, MOMENTS, SIDE, SIDE) that nowhere differ by more than ``ALIKE``."""
    from scipy.spatial import cKDTree

    # A mean differs by no more than what it is the mean of, so that no pair is lost here.
    block = SIDE // _PARTS
    coarse = prints[:, :: MOMENTS // 2].reshape(len(prints), 2, _PARTS, block, _PARTS, block)
    tree = cKDTree(coarse.mean(axis=(3, 5)).reshape(len(prints), -1))
    pairs = tree.query_pairs(ALIKE + 1e-6, p=np.inf, output_type="ndarray")
    for one, other in sorted(map(tuple, pairs.tolist())):
        if np.abs(prints[one].astype(np.int16) - prints[other]).max() <= ALIKE:
            yield one, other


def _told(
    groups: Sequence[Group], how: str, lists: Lists | None, severity: Severity
) -> Iterator[Finding]:
    """The groups, each in the worst of three findings."""
    mixed = [group for group in groups if lists and _any(group, lists.labelled_otherwise)]
    apart = [group for group in groups if lists and _any(group, lists.apart) and group not in mixed]
    rest = [group for group in groups if group not in mixed and group not in apart]

    def finding(severity: Severity, check: str, chosen: Sequence[Group], trouble: str) -> Finding:
        cases = tuple(case for group in chosen for case in _cases(group, lists))
        return Finding(severity, check, f"{count(len(cases), 'copy')} ({how}) {trouble}.", cases)

    if mixed:
        trouble = "with another label than the original; keep the one with the right label"
        yield finding(severity, "labels of copies", mixed, trouble)
    if apart:
        trouble = "where one is trained on and the other tested; keep one, or give both one group"
        yield finding(severity, "leak by copies", apart, trouble)
    if rest:
        yield finding("note", "copies", rest, "on the same side, which only weigh a video more")


def _any(group: Group, differ: Callable[[str, str], bool]) -> bool:
    return any(differ(one.id, other.id) for one, other in combinations(group, 2))


def _cases(group: Group, lists: Lists | None) -> Iterator[Case]:
    first, *others = group
    for other in others:
        if lists:
            here, there = (f"({lists.place(video.id)})" for video in (other, first))
            yield Case(other.source, f"{here} as {first.source} {there}")
        else:
            yield Case(other.source, f"as {first.source}")
