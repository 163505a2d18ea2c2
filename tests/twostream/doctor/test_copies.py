"""Copies: a property against comparing all pairs, known answers, and real clips re-encoded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.sources import open_video
from twostream.data.annotations import Annotations, Video
from twostream.doctor.copies import ALIKE, alike, find_copies
from twostream.doctor.lists import Lists
from twostream.doctor.videos import MOMENTS, SIDE, Examined, examine, find
from video_files import write

A, B, C = Video("a", 0, "1"), Video("b", 0, "2"), Video("c", 1, "1")


def seen(name: str, print_: object = None, sha256: str = "") -> Examined:
    return Examined(name, f"{name}.avi", Path(name), sha256=sha256, print=print_)  # type: ignore[arg-type]


def prints(count: int, seed: int) -> np.ndarray:
    """Prints of which about half are another one with a change of up to a little too much."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 256, (count, MOMENTS, SIDE, SIDE)).astype(np.int64)
    for index in range(1, count):
        if rng.random() < 0.5:
            change = rng.integers(-ALIKE, ALIKE + 1, found[0].shape)
            change.ravel()[rng.integers(change.size)] = rng.integers(-ALIKE - 3, ALIKE + 4)
            found[index] = np.clip(found[rng.integers(index)] + change, 0, 255)
    return found.astype(np.uint8)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 10_000))
def test_those_alike_are_what_comparing_all_pairs_gives(count: int, seed: int) -> None:
    every = prints(count, seed)
    near = np.abs(every[:, None].astype(int) - every).max(axis=(2, 3, 4)) <= ALIKE
    reached = np.linalg.matrix_power(near.astype(int), count) > 0  # directly or through others
    expected = {frozenset(np.flatnonzero(row).tolist()) for row in reached if row.sum() > 1}
    groups = alike([seen(str(index), one) for index, one in enumerate(every)])
    assert {frozenset(int(video.id) for video in group) for group in groups} == expected


def test_almost_one_grey_is_like_nothing() -> None:
    grey = np.full((MOMENTS, SIDE, SIDE), 16, np.uint8)
    assert alike([seen("a", grey), seen("b", grey)]) == []
    grey[0, 0] = 16 + 4 * ALIKE + 1
    assert len(alike([seen("a", grey), seen("b", grey)])) == 1
    assert alike([seen("a", grey), seen("b")]) == []


@pytest.mark.parametrize(
    ("split", "other", "expected"),
    [
        ("column", B, ("fault", "leak by copies", "(x, test) as a.avi (x, train)")),
        ("column", C, ("fault", "labels of copies", "(y, test) as a.avi (x, train)")),
        ("groups", B, ("fault", "leak by copies", "(x, 2) as a.avi (x, 1)")),
        ("groups", C, ("fault", "labels of copies", "(y, 1) as a.avi (x, 1)")),
        ("groups", Video("d", 0, "1"), ("note", "copies", "(x, 1) as a.avi (x, 1)")),
        ("none", Video("e", 0, "1"), ("note", "copies", "(not listed) as a.avi (x, train)")),
    ],
)
def test_what_copies_mean(split: str, other: Video, expected: tuple[str, str, str]) -> None:
    train = () if split == "groups" else (A,)
    test = {"groups": (A, other), "column": (other,), "none": ()}[split]
    lists = Lists((Annotations("mine", split, ("x", "y"), train, test, shares_groups=True),))
    (finding,) = find_copies([seen("a", sha256="1"), seen(other.id, sha256="1")], lists)
    assert (finding.severity, finding.check, finding.cases[0].detail) == expected
    assert finding.cases[0].name == f"{other.id}.avi"


def test_nobody_can_mend_the_official_lists() -> None:
    lists = Lists((Annotations("hmdb51", "1", ("x", "y"), (A,), (B,)),))
    one = prints(1, 0)[0]
    (finding,) = find_copies([seen("a", one), seen("b", one)], lists)
    assert (finding.severity, finding.check) == ("note", "leak by copies")
    (finding,) = find_copies([seen("a", one, "1"), seen("b", one, "1")], lists)
    assert (finding.severity, finding.check) == ("fault", "leak by copies")


def test_without_lists_copies_are_a_note() -> None:
    (finding,) = find_copies([seen("a", sha256="1"), seen("b", sha256="1"), seen("c")], None)
    assert (finding.severity, [str(case) for case in finding.cases]) == (
        "note",
        ["b.avi: as a.avi"],
    )


def test_real_clips_re_encoded_are_found_and_others_are_not(shared: Path, tmp_path: Path) -> None:
    """One still background with nine people before it: the hardest to tell apart that we have."""
    videos = shared / "data/weizmann/videos"
    clips = sorted(videos.glob("wave[12]/*.avi"))
    for number, path in enumerate(clips[:6]):
        frames = list(open_video(path))
        half = [frame[::2, ::2] for frame in frames]
        write(tmp_path / f"{number}.avi", half if number % 2 else frames, "mpeg4")
    copies = sorted(tmp_path.glob("*.avi"))
    own = examine(videos, clips, quick=False, workers=1, progress=False)
    assert alike(own) == []
    encoded = examine(tmp_path, find(tmp_path)[0], quick=False, workers=1, progress=False)
    expected = [{clip.name, copy.name} for clip, copy in zip(clips, copies, strict=False)]
    groups = [{video.path.name for video in group} for group in alike([*own, *encoded])]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))
