"""The type that all lists become, and what is done with it: known answers and errors."""

from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video, load, missing, only, require, some_of
from twostream.data.official_lists import hmdb51

A, B, C = Video("x/a", 0, "g1"), Video("x/b", 1, "g2"), Video("x/c", 1, "g3")


def test_a_video_twice_or_a_label_without_a_class_is_refused():
    with pytest.raises(InputError, match="lists video 'x/a' twice"):
        Annotations("d", "1", ("p", "q"), (A, B), (A,))
    with pytest.raises(InputError, match="'x/b' of d split 1 has label 1, but there are 1 classes"):
        Annotations("d", "1", ("p",), (A,), (B,))
    with pytest.raises(InputError, match="names class 'p' twice"):
        Annotations("d", "1", ("p", "p"), (A,), (B,))
    with pytest.raises(InputError, match="labels start at 0"):
        Video("x/a", -1, "g")


def test_a_group_on_both_sides_is_refused_unless_the_lists_are_so():
    other = Video("x/d", 0, "g1")
    with pytest.raises(InputError, match="group 'g1' on both sides"):
        Annotations("d", "1", ("p", "q"), (A, B), (other,))
    lists = Annotations("d", "1", ("p", "q"), (A, B), (other,), shares_groups=True)
    assert lists.shared_groups() == ("g1",)


def test_missing_videos_are_named_and_can_be_left_out():
    lists = Annotations("d", "7", ("p", "q", "r"), (A, B), (C,))
    has = {"x/b", "x/c"}.__contains__
    assert missing(lists, "train", has) == ("x/a",)
    assert missing(lists, "test", has) == ()
    require(lists, "test", has, Path("STORE"))
    with pytest.raises(InputError) as error:
        require(lists, "train", has, Path("STORE"))
    assert str(error.value) == (
        "1 of 2 train videos of d split 7 are not in STORE, first: x/a; "
        "extract them or pass --allow-missing."
    )
    assert only(lists, {"x/b", "x/c", "x/other"}) == Annotations(
        "d", "7", ("p", "q", "r"), (B,), (C,)
    )


def test_load_names_what_there_is():
    with pytest.raises(InputError, match="'kinetics' is unknown; give ucf101, hmdb51 or csv"):
        load("kinetics", Path(), "1")
    with pytest.raises(InputError, match="Split '4' of ucf101 is unknown; give 1, 2 or 3"):
        load("ucf101", Path(), "4")
    with pytest.raises(InputError, match="HMDB51 has no split 0"):
        hmdb51(Path(), 0)


def test_a_message_names_twenty_at_most():
    assert some_of(("a",)) == "'a'"
    assert some_of(("a", "b", "c"), "or") == "'a', 'b' or 'c'"
    assert some_of([str(number) for number in range(23)]).endswith("'18', '19' and 3 more")
