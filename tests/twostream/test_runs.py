"""What a run is: round trips, known answers of splits and their folders, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.experiments import demo
from twostream.runs import Data, Run, load_run, refuse_other, report_missing, sha256, split_folder

DATA = Data(Path("a b/l.csv"), Path("s"), split="group:x", allow_missing=True)
RUN = Run(replace(demo(), rates=(("conv1", 0.0),)), DATA, "flow")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "l.csv"
    rows = [f"a/{n}.avi,a,g{n}\nb/{n}.avi,b,g{n}" for n in (1, 2, 3)]
    path.write_text("video,label,group\n" + "\n".join(rows) + "\n")
    return path


def test_a_run_survives_its_json(tmp_path: Path) -> None:
    assert Run.from_json(RUN.to_json()) == RUN
    (tmp_path / "run.json").write_text(RUN.to_json())
    assert load_run(tmp_path) == RUN


def test_splits_that_test_every_video_once(lists: Path) -> None:
    data = Data(lists, Path("s"))
    splits = [one.split for one in replace(data, split="groups").splits()]
    assert splits == ["group:g1", "group:g2", "group:g3"]
    splits = [one.split for one in replace(data, split="folds:2").splits()]
    assert splits == ["fold:1/2", "fold:2/2"]
    official = Data(lists, Path("s"), dataset="ucf101", split="all").splits()
    assert [one.split for one in official] == ["1", "2", "3"]
    for split in ("column", "group:g1", "fold:1/2"):
        assert replace(data, split=split).splits() == (replace(data, split=split),)


@pytest.mark.parametrize("split", ["folds:0", "folds:1", "folds:9"])
def test_folds_that_there_are_not_are_refused(lists: Path, split: str) -> None:
    with pytest.raises(InputError, match="has 3 groups, so there is no fold"):
        Data(lists, Path("s"), split=split).splits()


@pytest.mark.parametrize(
    ("split", "folder"),
    [
        ("1", "split-1"),
        ("column", "split-column"),
        ("fold:2/5", "fold-2of5"),
        ("group:daria", "group-daria"),
        ("group:../x", "group-..%2Fx"),
        ("group:a b:c", "group-a%20b%3Ac"),
    ],
)
def test_a_splits_folder_stays_inside(split: str, folder: str) -> None:
    assert split_folder(split) == folder
    assert Path(folder).name == folder


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    refuse_other(tmp_path, RUN)
    (tmp_path / "run.json").write_text(RUN.to_json())
    refuse_other(tmp_path, RUN)
    refuse_other(tmp_path, replace(RUN, experiment=replace(RUN.experiment, steps=9999)))
    other = replace(RUN, data=replace(DATA, split="group:y"))
    with pytest.raises(InputError, match="holds a run with split group:x instead of group:y"):
        refuse_other(tmp_path, other)
    with pytest.raises(InputError, match="holds a run with stream flow instead of rgb"):
        refuse_other(tmp_path, replace(RUN, stream="rgb"))


def test_a_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json is not there"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"stream": "rgb"}')
    with pytest.raises(InputError, match="does not describe a run"):
        load_run(tmp_path)


def test_missing_videos_are_counted_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_missing((), tmp_path / "m.txt")
    assert not (tmp_path / "m.txt").exists()
    report_missing(("a/1", "b/2"), tmp_path / "m.txt")
    assert (tmp_path / "m.txt").read_text() == "a/1\nb/2\n"
    assert "2 listed videos are not in the store" in capsys.readouterr().out


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f").startswith("ba7816bf8f01cfea414140de5dae2223")
