"""Who trains and who tests: known answers on the real lists, errors on small ones, properties."""

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold

from flow.errors import InputError
from flow.store import store_path, video_id
from twostream.data.annotations import (
    Annotations,
    Video,
    csv_annotations,
    folds,
    groups,
    hmdb51,
    hold_out,
    load,
    missing,
    only,
    require,
    ucf101,
)


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


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(text.encode())
    return path


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


def test_lists_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"classInd\.txt cannot be read \(No such file"):
        ucf101(tmp_path, 1)
    with pytest.raises(InputError, match="holds 0 files"):
        hmdb51(tmp_path, 1)
    with pytest.raises(InputError, match="cannot be read"):
        csv_annotations(tmp_path, "column")
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        csv_annotations(tmp_path / "image.csv", "column")


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


# CSV


ROWS = (
    "video,label,group,split\n"
    "b/1.mp4,walk,ann,train\n"
    "a/1.avi,run,ann,train\n"
    "a/2.b.avi,run,bo,test\n"
)


def test_csv_with_a_split_column(tmp_path):
    lists = load("csv", csv_file(tmp_path, "\ufeff" + ROWS.replace("\n", "\r\n")), "column")
    assert lists == Annotations(
        f"{tmp_path.name}/mine",
        "column",
        ("run", "walk"),
        (Video("b/1", 1, "ann"), Video("a/1", 0, "ann")),
        (Video("a/2.b", 0, "bo"),),
    )


def test_csv_leave_one_group_out(tmp_path):
    path = csv_file(tmp_path, ROWS)
    assert groups(path) == ("ann", "bo")
    names = [f"g{number}" for number in range(9)]
    rows = "".join(f"{name}.avi,x,{name}\n" for name in reversed(names))
    (tmp_path / "many.csv").write_text(f"video,label,group\n{rows}")
    assert groups(tmp_path / "many.csv") == tuple(names)
    assert folds(path) == ("group:ann", "group:bo")
    lists = csv_annotations(path, "group:ann")
    assert [video.id for video in lists.test] == ["b/1", "a/1"]
    assert [video.id for video in lists.train] == ["a/2.b"]


def test_csv_quotes_and_commas(tmp_path):
    text = 'label,video,remark\n"jump, high","x/a, ""b"".avi",\nrun,./y/-c.avi,old\n\n'
    lists = csv_annotations(csv_file(tmp_path, text), "fold:2/2")
    videos = {video.id: video for video in (*lists.train, *lists.test)}
    assert set(videos) == {'x/a, "b"', "y/-c"}
    assert lists.classes == ("jump, high", "run")
    # Without groups each video is its own.
    assert len({video.group for video in videos.values()}) == 2


def test_ids_are_those_of_the_store(tmp_path):
    names = [
        "a.avi",
        "b/a.b.mp4",
        "b/.c.avi",
        "-d/e f.avi",
        "g/h&;[!]#~.avi",
        "ü/ü.avi",
        "i",
        "new\nline.avi",
    ]
    path = csv_file(tmp_path, "".join(["video,label\n", *(f'"{name}",x\n' for name in names)]))
    lists = csv_annotations(path, "fold:1/2")
    ids = {video.id for video in (*lists.train, *lists.test)}
    assert ids == {video_id(PurePosixPath(name)) for name in names}
    for id_ in ids:
        assert store_path(tmp_path, id_).parent.is_relative_to(tmp_path)


def test_csv_folds_test_each_video_once_and_split_no_group(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"v{i}.avi,{'ab'[i % 2]},g{rng.integers(11)}" for i in range(60)]
    path = csv_file(tmp_path, "\n".join(["video,label,group", *rows]))
    videos = [row.split(".")[0] for row in rows]
    sources = [row.split(",")[2] for row in rows]
    oracle = GroupKFold(4).split(videos, groups=sources)
    tested = []
    for split, (_, test) in zip(folds(path, 4), oracle, strict=True):
        lists = csv_annotations(path, split)
        assert [video.id for video in lists.test] == [videos[row] for row in test]
        assert len(lists.train) + len(lists.test) == 60
        assert not {v.group for v in lists.train} & {v.group for v in lists.test}
        tested += [video.id for video in lists.test]
    assert sorted(tested) == sorted(f"v{i}" for i in range(60))


@pytest.mark.parametrize(
    ("name", "videos", "folds_of_group", "classes"),
    [("weizmann", 90, 9, 10), ("ut_interaction", 60, 10, 6), ("surveillance_fight", 300, 60, 2)],
)
def test_csv_real_data(shared, name, videos, folds_of_group, classes):
    path = shared / "data" / name / "annotations.csv"
    assert len(folds(path)) == folds_of_group
    tested = [video for split in folds(path, 5) for video in csv_annotations(path, split).test]
    assert len({video.id for video in tested}) == len(tested) == videos
    assert len({video.label for video in tested}) == classes
    there = {
        str(file.relative_to(path.parent / "videos").with_suffix(""))
        for file in (path.parent / "videos").rglob("*.*")
    }
    assert {video.id for video in tested} == there


@pytest.mark.parametrize(
    ("text", "split", "reason"),
    [
        ("", "column", "columns of an empty file"),
        ("video,class\na.avi,x\n", "column", "columns video, class; give video,label"),
        ("video,label,label\na.avi,x,y\n", "column", "each once"),
        ("video,label\n", "column", "lists no video"),
        ("video,label\na.avi\n", "column", r"mine\.csv, line 2: 1 cells under 2 columns"),
        ("video,label\na.avi,x\nb, c.avi,x\n", "column", r"line 3: 3 cells under 2"),
        ("video,label\n,x\n", "column", "line 2: video is empty"),
        ("video,label,group\na.avi,x,\n", "column", "line 2: group is empty"),
        ('video,label\n"a"b.avi,x\n', "column", "line 2: .* mend the quotes"),
        ("video,label\na.avi,x\na.mp4,x\n", "fold:1/2", "line 3: video 'a' is listed before"),
        ("video,label\n/a.avi,x\n", "fold:1/2", "line 2: The video name '/a'"),
        ("video,label\nb/../../a.avi,x\n", "fold:1/2", "line 2: The video name"),
        ("video,label\nb\\a.avi,x\n", "fold:1/2", "with / between folders"),
        ("video,label\n.,x\n", "fold:1/2", "line 2"),
        ("video,label\na\0.avi,x\n", "fold:1/2", "line 2"),
        ("video,label\na.avi,x\n", "column", "line 2: there is no column split"),
        (
            "video,label,split\na.avi,x,val\n",
            "column",
            "line 2: split is 'val'; give train or test",
        ),
        (ROWS.replace("bo", "ann"), "column", "group 'ann' on both sides"),
        ("video,label\na.avi,x\n", "group:a", "no column group"),
        (ROWS, "group:cy", "no group 'cy'; give 'ann' or 'bo'"),
        (ROWS, "fold:3/2", "no fold 3 of 2"),
        (ROWS, "fold:0/2", "no fold 0 of 2"),
        (ROWS, "fold:1/3", "has 2 groups, .* N from 2 to 2"),
        (ROWS, "1", "Split '1' .* is unknown; give column, group:NAME or fold:K/N"),
    ],
)
def test_csv_files_that_are_wrong(tmp_path, text, split, reason):
    with pytest.raises(InputError, match=reason):
        csv_annotations(csv_file(tmp_path, text), split)


# The type, and what is done with it


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


# Validation groups


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


@pytest.mark.parametrize("split", ["groups", "folds:3"])
def test_all_folds_together_test_every_video_and_train_on_none(tmp_path: Path, split: str) -> None:
    path = csv_file(tmp_path, "video,label,group\na.avi,x,1\nb.avi,y,2\nc.avi,x,3\nd.avi,y,3\n")
    every = csv_annotations(path, split)
    assert every.train == ()
    assert [video.id for video in every.test] == ["a", "b", "c", "d"]
    each = [csv_annotations(path, one) for one in folds(path, 3 if ":" in split else None)]
    assert {video for one in each for video in one.test} == set(every.test)
    assert {one.classes for one in each} == {every.classes}
