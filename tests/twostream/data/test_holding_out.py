"""Validation groups: properties over random lists, and a known answer on the real ones."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import InputError
from twostream.data.annotations import Video
from twostream.data.holding_out import hold_out
from twostream.data.official_lists import ucf101

A, B, C = Video("x/a", 0, "g1"), Video("x/b", 1, "g2"), Video("x/c", 1, "g3")


@st.composite
def _grouped(draw):
    count = draw(st.integers(2, 60))
    labels = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    sources = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    pairs = enumerate(zip(labels, sources, strict=True))
    return tuple(Video(f"v{i}", label, f"g{source}") for i, (label, source) in pairs)


@settings(derandomize=True, deadline=None)
@given(_grouped(), st.floats(0.05, 0.6), st.integers(0, 100))
def test_hold_out_takes_whole_groups_and_no_whole_class(videos, fraction, seed):
    try:
        train, validation = hold_out(videos, fraction, seed)
    except InputError:
        totals = Counter(video.label for video in videos)
        per_group = Counter((video.group, video.label) for video in videos)
        whole = {group for (group, label), n in per_group.items() if n == totals[label]}
        assert whole == {video.group for video in videos}
        return
    assert sorted((*train, *validation), key=videos.index) == list(videos)
    assert validation
    assert not {v.group for v in train} & {v.group for v in validation}
    assert {v.label for v in train} == {v.label for v in videos}
    assert (train, validation) == hold_out(videos, fraction, seed)


def test_hold_out_is_stratified(shared):
    train = ucf101(shared / "data/ucf101/splits", 1).train
    kept, validation = hold_out(train, 0.2, seed=3)
    share = Counter(v.label for v in validation)
    totals = Counter(v.label for v in train)
    # A class has 18 groups, of 4 to 7 clips, so the share of each can come as near as half of one.
    assert all(abs(share[label] / totals[label] - 0.2) < 0.5 * 7 / 72 for label in totals)
    assert hold_out(train, 0.2, seed=4)[1] != validation
    assert len(kept) + len(validation) == len(train)


def test_hold_out_of_balanced_groups_is_exact():
    videos = tuple(Video(f"{g}/{c}", c, f"g{g}") for g in range(10) for c in range(3))
    for seed in range(5):
        _, validation = hold_out(videos, 0.3, seed)
        assert len({v.group for v in validation}) == 3
    # Groups far larger than the fraction: one is taken all the same.
    assert len({v.group for v in hold_out(videos, 0.01, 0)[1]}) == 1


def test_hold_out_needs_a_fraction_and_groups():
    for fraction in (0, 1, float("nan")):
        with pytest.raises(InputError, match="give a number between 0 and 1"):
            hold_out((A, B, C), fraction, 0)
    with pytest.raises(InputError, match="no group that can be held out"):
        hold_out((A, B), 0.5, 0)
    with pytest.raises(InputError, match="no group that can be held out"):
        hold_out((), 0.5, 0)
