"""Videos against lists: known answers, on small lists and on the real names of HMDB51."""

import unicodedata
from pathlib import Path

import pytest

from twostream.data.annotations import Annotations, Video
from twostream.doctor.listed import compare, summary
from twostream.doctor.lists import Lists, read_lists

CLASSES = ("HandstandPushups", "cliff dive")
LISTED = (
    Video("HandstandPushups/v_HandStandPushups_g01_c01", 0, "1"),
    Video("cliff dive/a & b (1)", 1, "2"),
    Video("cliff dive/é", 1, "3"),
)
LISTS = Lists((Annotations("mine", "column", CLASSES, LISTED[:1], LISTED[1:]),))


def found(lists: Lists, ids: list[str]) -> list[tuple[str, str, list[str]]]:
    return [
        (finding.check, finding.message, [str(case) for case in finding.cases])
        for finding in compare(lists, {id_: f"{id_}.avi" for id_ in ids})
    ]


def test_nothing_to_say_where_all_are_there() -> None:
    assert found(LISTS, [video.id for video in LISTED]) == []


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        ("HandStandPushups/v_HandStandPushups_g01_c01", LISTED[0].id),
        ("HandstandPushups/v_HandstandPushups_g01_c01", LISTED[0].id),
        ("cliff_dive/a___b__1_", LISTED[1].id),
        (unicodedata.normalize("NFD", "cliff dive/é"), LISTED[2].id),
        ("elsewhere/deep/a & b (1)", LISTED[1].id),
    ],
)
def test_a_video_under_another_name_is_recognised(there: str, listed: str) -> None:
    others = [video.id for video in LISTED if video.id != listed]
    ((check, message, cases),) = found(LISTS, [there, *others])
    assert (check, cases) == ("names", [f"{listed}: is there as {there}.avi"])
    assert "1 listed video under another name" in message


def test_a_folder_too_high_is_told_as_such() -> None:
    ((check, message, _),) = found(LISTS, [f"UCF-101/x/{video.id}" for video in LISTED])
    assert check == "names"
    assert message.startswith("3 listed videos")
    assert message.endswith("give the folder UCF-101/x in it.")


def test_two_videos_that_it_could_be_are_none() -> None:
    ids = [LISTED[0].id, LISTED[2].id, "x/a & b (1)", "y/a & b (1)"]
    missing, unlisted = found(LISTS, ids)
    assert missing[::2] == ("missing", [LISTED[1].id])
    assert unlisted[::2] == ("unlisted", ["x/a & b (1).avi", "y/a & b (1).avi"])


def test_missing_videos_and_classes() -> None:
    ((check, message, cases),) = found(LISTS, [video.id for video in LISTED[1:]])
    assert (check, cases) == ("missing", [LISTED[0].id])
    assert message == ("1 of 3 listed videos are not there; of 1 of 2 classes there is none.")


def test_a_video_in_the_folder_of_another_class() -> None:
    wrong = Video("Cliff_Dive/b", 0, "4")
    lists = Lists((Annotations("mine", "column", CLASSES, (*LISTED, wrong), ()),))
    ((check, _, cases),) = found(lists, [video.id for video in (*LISTED, wrong)])
    assert (check, cases) == ("folders", ["Cliff_Dive/b.avi: listed as HandstandPushups"])


def test_names_of_hmdb51_that_a_tool_made_safe(shared: Path) -> None:
    lists, _ = read_lists("hmdb51", shared / "data/hmdb51/splits", None)
    assert lists is not None
    odd = [id_ for id_ in lists.every if any(sign in id_ for sign in "&;[(!#+@~")]
    assert len(odd) > 100
    safe = {id_: id_.translate(dict.fromkeys(map(ord, "&;[](){}!#+@~"), "_")) for id_ in odd}
    ids = [safe.get(id_, id_) for id_ in lists.every]
    ((check, message, cases),) = found(lists, ids)
    assert check == "names"
    assert message.startswith(f"{len(odd)} listed videos")
    assert set(cases) == {f"{id_}: is there as {there}.avi" for id_, there in safe.items()}


def test_clips_that_no_split_uses_are_a_note(shared: Path) -> None:
    lists, _ = read_lists("hmdb51", shared / "data/hmdb51/splits", None)
    assert lists is not None
    (finding,) = compare(lists, dict.fromkeys(lists.videos, "there"))
    assert (finding.severity, finding.check) == ("note", "unused")
    assert len(finding.cases) == len(lists.unused) == 6766 - len(lists.videos)


def test_a_line_for_each_split(shared: Path) -> None:
    lists, _ = read_lists("ucf101", shared / "data/ucf101/splits", "1")
    assert lists is not None
    there = [lists.splits[0].train[0].id, lists.splits[0].test[-1].id, "other"]
    assert list(summary(lists, there)) == [
        "UCF101: 2 of 13,320 videos are there, of 2 of 101 classes",
        "ucf101, split 1: 1 of 9,537 to train on, 1 of 3,783 to test on; 101 classes, 2,525 groups",
    ]
