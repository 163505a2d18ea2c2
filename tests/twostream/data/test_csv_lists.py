"""Lists of a user's own: known answers on small and real ones, errors, scikit-learn as oracle."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from flow.errors import InputError
from flow.store import store_path, video_id
from twostream.data.annotations import Annotations, Video, load
from twostream.data.csv_lists import csv_annotations, folds, groups


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(text.encode())
    return path


def test_csv_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        csv_annotations(tmp_path, "column")
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        csv_annotations(tmp_path / "image.csv", "column")


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


def test_csv_with_a_group_on_both_sides_can_be_looked_at(tmp_path):
    path = csv_file(tmp_path, ROWS.replace("bo", "ann"))
    lists = csv_annotations(path, "column", shares_groups=True)
    assert lists.shared_groups() == ("ann",)
    assert [video.id for video in lists.test] == ["a/2.b"]


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
        (ROWS, "1", "Split '1' .* is unknown; give column, group:NAME, fold:K/N or all"),
    ],
)
def test_csv_files_that_are_wrong(tmp_path, text, split, reason):
    with pytest.raises(InputError, match=reason):
        csv_annotations(csv_file(tmp_path, text), split)


@pytest.mark.parametrize("split", ["groups", "folds:3"])
def test_all_folds_together_test_every_video_and_train_on_none(tmp_path: Path, split: str) -> None:
    path = csv_file(tmp_path, "video,label,group\na.avi,x,1\nb.avi,y,2\nc.avi,x,3\nd.avi,y,3\n")
    every = csv_annotations(path, split)
    assert every.train == ()
    assert [video.id for video in every.test] == ["a", "b", "c", "d"]
    each = [csv_annotations(path, one) for one in folds(path, 3 if ":" in split else None)]
    assert {video for one in each for video in one.test} == set(every.test)
    assert {one.classes for one in each} == {every.classes}
