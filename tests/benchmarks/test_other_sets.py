"""One list of several data sets: what it names can be trained on, and nothing of the target is."""

import sys
from pathlib import Path

import other_sets
import pytest

from twostream.data.annotations import load

UCF101_VIDEOS = ("Biking/v_Biking_g02_c01", "Biking/v_Biking_g02_c04", "Rowing/v_Rowing_g02_c01")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in other_sets.LISTED:
        (tmp_path / name).mkdir()
        lines = ["video,label,group", f"a/{name}.avi,hit,g1", f"b/{name}.avi,hug,g2"]
        (tmp_path / name / "annotations.csv").write_text("\n".join(lines) + "\n")
    for each in UCF101_VIDEOS:
        path = tmp_path / "ucf101" / "videos" / f"{each}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize("target", other_sets.LISTED)
def test_every_video_but_the_targets_is_to_be_trained_on(
    data: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = data / "lists.csv"
    monkeypatch.setattr(sys, "argv", ["other_sets.py", str(data), target, "--out", str(out)])
    assert other_sets.main() == 0
    listed = load("csv", out, "column")
    others = [name for name in other_sets.LISTED if name != target]
    expected = [f"{name}/videos/{each}/{name}" for name in others for each in "ab"]
    expected += [f"ucf101/videos/{each}" for each in UCF101_VIDEOS]
    assert [video.id for video in listed.train] == expected
    assert listed.test == ()
    labels = [f"{name} {label}" for name in others for label in ("hit", "hug")]
    assert listed.classes == tuple(sorted([*labels, "ucf101 Biking", "ucf101 Rowing"]))
    # Videos of one class and group of UCF101 are of one source; g02 of another class is another.
    groups = [video.group for video in listed.train]
    assert groups[-3] == groups[-2] != groups[-1]
    assert len(set(groups)) == 6


def test_a_data_set_that_is_missing_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "weizmann" / "annotations.csv").unlink()
    out = data / "lists.csv"
    arguments = ["other_sets.py", str(data), "ut_interaction", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert other_sets.main() == 2
    assert "weizmann/annotations.csv is not there; put the data set into" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_no_video_of_ucf101_is_refused(data: Path) -> None:
    (data / "ucf101" / "videos" / "Biking" / "mine.avi").touch()
    with pytest.raises(other_sets.InputError, match=r"mine.avi is not named as a video of UCF101"):
        other_sets.others(data, "weizmann")
