"""The official lists: known answers on the real ones, errors on made-up ones of their size."""

from collections import Counter
from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.data.annotations import Video, only
from twostream.data.official_lists import hmdb51, hmdb51_unused, ucf101


def ucf101_lists(folder: Path) -> Path:
    """Lists of split 1 in the official form and size, of made-up classes but for one."""
    names = [f"Class{number:03d}" for number in range(1, 101)] + ["HandstandPushups"]
    folder.mkdir()
    (folder / "classInd.txt").write_text(
        "".join(f"{number} {name}\n" for number, name in enumerate(names, start=1))
    )
    for file, count, first_group in (("trainlist01", 9537, 8), ("testlist01", 3783, 1)):
        lines = []
        for number in range(count):
            label, clip = number % 101, number // 101
            group = first_group + clip % 7
            line = f"{names[label]}/v_{names[label]}_g{group:02d}_c{clip // 7 + 1:02d}.avi"
            line = line.replace("v_HandstandPushups", "v_HandStandPushups")
            lines.append(f"{line} {label + 1}\n" if file == "trainlist01" else f"{line}\n")
        (folder / f"{file}.txt").write_text("".join(lines))
    return folder


def hmdb51_lists(folder: Path) -> Path:
    """Lists of split 2 in the official form and size, of made-up classes."""
    folder.mkdir()
    for number in range(51):
        name = f"do_{number:02d}"
        lines = [
            f"Film_{clip}_{name}_f_cm_np1_ba_med_{clip}.avi {1 if clip < 70 else 2} \n"
            for clip in range(100)
        ]
        lines.append(f"No (1) & [x]_{name}_f_cm_np10_ba_med_0.avi 0 \n")
        (folder / f"{name}_test_split2.txt").write_text("".join(lines))
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# UCF101


@pytest.mark.parametrize(
    ("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)]
)
def test_ucf101_official_lists(shared, split, train, test):
    lists = ucf101(shared / "data/ucf101/splits", split)
    assert (len(lists.classes), len(lists.train), len(lists.test)) == (101, train, test)
    assert lists.classes[0] == "ApplyEyeMakeup"
    assert lists.shared_groups() == ()
    assert len({video.group for video in (*lists.train, *lists.test)}) == 101 * 25
    pushups = lists.classes.index("HandstandPushups")
    mine = [video for video in (*lists.train, *lists.test) if video.label == pushups]
    assert len(mine) == 128
    assert mine[0].id.startswith("HandstandPushups/v_HandStandPushups_g")
    for video in (*lists.train, *lists.test):
        assert video.id.startswith(f"{lists.classes[video.label]}/v_")
        assert not video.id.endswith(".avi")


def test_ucf101_videos_that_are_there_are_listed_under_their_ids(shared):
    lists = ucf101(shared / "data/ucf101/splits", 1)
    videos = shared / "data/ucf101/videos"
    there = {str(path.relative_to(videos).with_suffix("")) for path in videos.rglob("*.avi")}
    assert len(there) == 66
    listed = only(lists, there)
    assert len(listed.train) + len(listed.test) == 66
    assert listed.classes == lists.classes


def test_ucf101_class_comes_from_the_folder_whatever_its_case(tmp_path):
    folder = ucf101_lists(tmp_path / "lists")
    text = (folder / "testlist01.txt").read_text()
    (folder / "testlist01.txt").write_text(
        text.replace("HandstandPushups/", "HandStandPushups/"), newline="\r\n"
    )
    lists = ucf101(folder, 1)
    assert lists.train[100] == Video(
        "HandstandPushups/v_HandStandPushups_g08_c01", 100, "HandstandPushups/g08"
    )
    assert lists.test[100] == Video(
        "HandStandPushups/v_HandStandPushups_g01_c01", 100, "HandstandPushups/g01"
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("classInd.txt", "101 HandstandPushups\n", "", "names 100 classes, not 101"),
        ("classInd.txt", "2 Class002", "3 Class002", "classInd.txt, line 2: '3 Class002'"),
        ("classInd.txt", "2 Class002", "2 class001", "names 100 classes, not 101"),
        ("trainlist01.txt", "_c01.avi 1\n", "_c01.avi 2\n", "trainlist01.txt, line 1: 'Class001/"),
        ("trainlist01.txt", "_c01.avi 1\n", "_c01.avi\n", "line 1: .* and its class number"),
        (
            "testlist01.txt",
            "Class002/v_Class002_g01_c01.avi\n",
            "",
            "hold 9537 training and 3782 test videos, not 9537 and 3783",
        ),
        ("testlist01.txt", "Class002/v_", "Class002b/v_", "testlist01.txt, line 2"),
        ("testlist01.txt", "Class002_g01_c01", "Class002_c01", "testlist01.txt, line 2"),
        ("testlist01.txt", "Class001_g01_c01", "Class001_g02_c01", "lists video .* twice"),
        (
            "testlist01.txt",
            "v_Class001_g01_c01",
            "v_Class001_g08_c77",
            "group 'Class001/g08' on both",
        ),
        ("testlist01.txt", "v_Class001_g01", "../../../v_Class001_g01", "line 1: The video name"),
    ],
)
def test_ucf101_lists_that_are_wrong(tmp_path, file, old, new, reason):
    folder = ucf101_lists(tmp_path / "lists")
    change(folder / file, old, new)
    with pytest.raises(InputError, match=reason):
        ucf101(folder, 1)


def test_official_lists_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"classInd\.txt cannot be read \(No such file"):
        ucf101(tmp_path, 1)
    with pytest.raises(InputError, match="holds 0 files"):
        hmdb51(tmp_path, 1)


# HMDB51


@pytest.mark.parametrize(("split", "films"), [(1, 133), (2, 149), (3, 144)])
def test_hmdb51_official_lists(shared, split, films):
    lists = hmdb51(shared / "data/hmdb51/splits", split)
    assert (len(lists.classes), len(lists.train), len(lists.test)) == (51, 3570, 1530)
    assert list(lists.classes) == sorted(lists.classes)
    assert set(Counter(video.label for video in lists.train).values()) == {70}
    assert set(Counter(video.label for video in lists.test).values()) == {30}
    assert len(lists.shared_groups()) == films
    # Within a class no film is on both sides.
    train, test = ({(v.group, v.label) for v in side} for side in (lists.train, lists.test))
    assert not train & test


def test_hmdb51_names_and_films(shared):
    lists = hmdb51(shared / "data/hmdb51/splits", 1)
    videos = {video.id: video for video in (*lists.train, *lists.test)}
    wave = videos["wave/TrumanShow_wave_f_nm_np1_fr_med_26"]
    assert (lists.classes[wave.label], wave.group) == ("wave", "TrumanShow")
    # A film's name may hold spaces' stand-ins, brackets, the class, or ten people and more.
    ring = videos["shoot_bow/Return_of_the_King_7_shoot_bow_u_nm_np10_ba_med_2"]
    assert ring.group == "Return_of_the_King_7"
    assert sum(any(mark in id_ for mark in "&;[(!#+@~") for id_ in videos) > 100


@pytest.mark.parametrize("split", [1, 2, 3])
def test_hmdb51_clips_that_a_split_leaves_out(shared, split):
    folder = shared / "data/hmdb51/splits"
    used, unused = hmdb51(folder, split), hmdb51_unused(folder, split)
    every = {video.id for video in (*used.train, *used.test, *unused)}
    assert (len(unused), len(every)) == (1666, 6766)


def test_hmdb51_reads_from_the_right(tmp_path):
    folder = hmdb51_lists(tmp_path / "lists")
    change(folder / "do_03_test_split2.txt", "Film_0_", "a 1; [b] & (c)! do_03_")
    lists = hmdb51(folder, 2)
    video = next(video for video in lists.train if video.label == 3)
    assert video.id == "do_03/a 1; [b] & (c)! do_03_do_03_f_cm_np1_ba_med_0"
    assert video.group == "a 1; [b] & (c)! do_03"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("med_0.avi 1", "med_0.avi 3", "line 1: .* is not a clip of do_05 with 0, 1 or 2"),
        ("med_0.avi 1", "med_0.avi", "line 1"),
        ("med_0.avi 1", "med_0.avi 2", "69 training and 31 test"),
        ("_do_05_f_cm_np1_ba_med_0", "_do_06_f_cm_np1_ba_med_0", "not a clip of do_05"),
        ("Film_0_", "../Film_0_", "line 1: The video name"),
    ],
)
def test_hmdb51_lists_that_are_wrong(tmp_path, old, new, reason):
    folder = hmdb51_lists(tmp_path / "lists")
    change(folder / "do_05_test_split2.txt", old, new)
    with pytest.raises(InputError, match=reason):
        hmdb51(folder, 2)


def test_hmdb51_with_a_class_missing(tmp_path):
    folder = hmdb51_lists(tmp_path / "lists")
    (folder / "do_05_test_split2.txt").unlink()
    with pytest.raises(InputError, match=r"holds 50 files \*_test_split2.txt of HMDB51, not 51"):
        hmdb51(folder, 2)
