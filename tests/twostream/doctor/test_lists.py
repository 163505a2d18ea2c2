"""The lists in themselves: known answers on the real official ones and on small CSV files."""

from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.doctor.lists import Lists, read_lists

ROWS = (
    "video,label,group,split\na/1.avi,run,ann,train\na/2.avi,run,bo,test\n"
    "b/1.avi,hop,ann,train\nb/2.avi,hop,cy,test\n"
)


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("split", [None, "2", "all"])
def test_the_official_lists_of_ucf101_are_sound(shared: Path, split: str | None) -> None:
    lists, findings = read_lists("ucf101", shared / "data/ucf101/splits", split)
    assert findings == []
    assert lists is not None
    assert [each.split for each in lists.splits] == (["2"] if split == "2" else ["1", "2", "3"])
    assert len(lists.every) == len(lists.videos) == 13_320
    assert lists.official


def test_films_that_hmdb51_shares_are_a_note(shared: Path) -> None:
    lists, (finding,) = read_lists("hmdb51", shared / "data/hmdb51/splits", None)
    assert finding.severity == "note"
    assert "133, 149, 144 films on both sides of split 1, 2, 3" in finding.message
    assert len(finding.cases) == 133 + 149 + 144
    assert str(finding.cases[0]) == "50_FIRST_DATES: split 1: 20 to train on, 2 to test on"
    assert lists is not None
    assert len(lists.every) == 6766
    assert len(lists.videos) == 6766 - len(lists.unused)
    assert not lists.videos.keys() & {video.id for video in lists.unused}


def test_a_list_that_was_cut_short_is_a_fault(shared: Path, tmp_path: Path) -> None:
    for path in (shared / "data/ucf101/splits").glob("*.txt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = (tmp_path / "testlist01.txt").read_text().splitlines()[:-1]
    (tmp_path / "testlist01.txt").write_text("\n".join(cut))
    lists, (finding,) = read_lists("ucf101", tmp_path, "1")
    assert lists is None
    assert (finding.severity, finding.check) == ("fault", "lists")
    assert "hold 9537 training and 3782 test videos" in finding.message
    assert finding.message.endswith("What depends on the lists was not looked at.")


@pytest.mark.parametrize(
    ("text", "checks"),
    [
        (ROWS, []),
        (ROWS.replace("cy", "ann"), ["fault leak by groups"]),
        (ROWS.replace("hop,ann", "jog,ann"), ["fault classes", "note classes not tested"]),
        (ROWS.replace("hop,cy", "Run,cy"), ["fault classes", "note classes not tested"]),
        ("video,label\na.avi,x\nb.avi,x\n", ["note groups"]),
        ("video,label,group\na.avi,x,1\nb.avi,x,1\nc.avi,y,1\nd.avi,y,2\n", ["fault classes"]),
        ("video,label,group\na.avi,x y,1\nb.avi,X_y,1\n", ["fault classes", "fault labels"]),
        (ROWS.replace("bo,test", "bo,val"), ["fault lists"]),
        (ROWS.replace("b/1", "../b/1"), ["fault lists"]),
        ("", ["fault lists"]),
    ],
)
def test_csv_files(tmp_path: Path, text: str, checks: list[str]) -> None:
    findings = read_lists("csv", listed(tmp_path, text), None)[1]
    labels = "fault labels"
    found = [f"{finding.severity} {finding.check}" for finding in findings]
    assert [check for check in found if check != labels or labels in checks] == checks
    assert (labels in found) == ("Run" in text or labels in checks)


def test_classes_that_are_only_tested_or_only_trained_on(tmp_path: Path) -> None:
    path = listed(tmp_path, ROWS.replace("hop,ann", "jog,ann"))
    found = {finding.check: str(*finding.cases) for finding in read_lists("csv", path, None)[1]}
    assert found == {"classes": "hop", "classes not tested": "jog"}


def test_a_group_on_both_sides_is_counted(tmp_path: Path) -> None:
    path = listed(tmp_path, ROWS.replace("cy", "ann"))
    lists, (finding,) = read_lists("csv", path, None)
    assert str(finding.cases[0]) == "ann: split column: 2 to train on, 1 to test on"
    assert lists is not None  # all else is looked at all the same
    assert len(lists.videos) == 4


@pytest.mark.parametrize("split", ["group:nobody", "fold:9/3", "1", "folds"])
def test_a_split_that_is_not_there_is_wrong_usage(tmp_path: Path, split: str) -> None:
    with pytest.raises(InputError):
        read_lists("csv", listed(tmp_path, ROWS), split)


def test_a_column_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no column split"):
        read_lists("csv", listed(tmp_path, "video,label\na.avi,x\nb.avi,x\n"), "column")


def test_who_is_apart() -> None:
    a, b, c = Video("a", 0, "1"), Video("b", 0, "1"), Video("c", 1, "2")
    sides = Annotations("mine", "column", ("x", "y"), (a, c), (b,), shares_groups=True)
    groups = Annotations("mine", "groups", ("x", "y"), (), (a, b, c))

    def pairs(*splits: Annotations) -> list[str]:
        lists = Lists(splits)
        return [one + other for one, other in ("ab", "ac", "bc", "ad") if lists.apart(one, other)]

    assert pairs(sides) == ["ab", "bc"]
    assert pairs(groups) == ["ac", "bc"]
    assert pairs(sides, groups) == ["ab", "ac", "bc"]
    lists = Lists((sides,))
    assert lists.labelled_otherwise("a", "c")
    assert not lists.labelled_otherwise("a", "b")
    assert not lists.labelled_otherwise("a", "d")
    assert (lists.place("b"), lists.place("d")) == ("x, test", "not listed")
