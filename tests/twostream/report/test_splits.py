"""Score files of several splits, by the command: known answers, what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flow.errors import InputError
from store_files import VIDEOS, write_store
from twostream.__main__ import main
from twostream.data.annotations import Annotations, load
from twostream.fusion_study import Row, Study
from twostream.report.splits import by_split, files_of_run, pooled, study_beside, title
from twostream.scores import Scores, Source

CLASSES = ("a", "b")
GROUPS = ("g1", "g2", "g3")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Twelve videos of two classes in three groups; the first ones are in a small store."""
    names = [*VIDEOS, *(f"v{k}" for k in range(9))]
    path = tmp_path / "data" / "mine.csv"
    path.parent.mkdir()
    rows = [f'"{name}.avi",{CLASSES[k % 2]},{GROUPS[k % 3]}\n' for k, name in enumerate(names)]
    path.write_text("video,label,group\n" + "".join(rows))
    return path


def score(annotations: Annotations, stream: str, wrong: int) -> Scores:
    """All right but for the first ``wrong``."""
    logits = np.zeros((len(annotations.test), len(annotations.classes)), np.float32)
    for row, video in enumerate(annotations.test):
        label = (video.label + (row < wrong)) % len(annotations.classes)
        logits[row, label] = 2 + row / 100
    source = Source(annotations.name, annotations.split, stream, "p", stream, "s")
    ids = tuple(video.id for video in annotations.test)
    return Scores(ids, annotations.classes, logits, logits[:, None], source)


def write_folds(lists: Path, run: Path) -> list[str]:
    """Of three folds of four videos: rgb has 0, 1 and 2 wrong, flow and fused none."""
    files = []
    for number, group in enumerate(GROUPS):
        annotations = load("csv", lists, f"group:{group}")
        for stream, wrong in (("rgb", number), ("flow", 0)):
            files.append(run / f"group-{group}" / stream / "scores.npz")
            score(annotations, stream, wrong).save(files[-1])
        files.append(run / f"group-{group}" / "fused.npz")
        score(annotations, "rgb+flow", 0).save(files[-1])
    return [str(path) for path in files]


def test_folds_are_told_one_by_one_and_together(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_folds(lists, tmp_path / "run")
    store = write_store(tmp_path / "store")
    out = tmp_path / "report"
    command = ["evaluate", *files, "--lists", str(lists), "--store", str(store)]
    assert main([*command, "--report", str(out)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "data/mine, split group:g2: 4 of 4 test videos" in text
    assert "mean over the splits 75.0% 100.0% 100.0%" in text
    assert "standard deviation 25.0% 0.0% 0.0%" in text
    assert "top-1 by clip 75.0% 100.0% 100.0%" in text.split("all splits together")[1]
    assert "over 3 groups: rgb 50.0 to 100.0, flow no spread" in text
    table = pd.read_csv(out / "splits.csv", index_col=0)
    assert table["rgb"].tolist() == [1.0, 0.75, 0.5, 0.75, 0.25]
    assert pd.read_csv(out / "summary.csv", index_col=0).loc["top-1 by video", "rgb"] == 0.75
    for group in GROUPS:
        assert (out / f"group-{group}" / "index.html").is_file()
        assert f'href="group-{group}/index.html"' in (out / "index.html").read_text()
    assert "One group alone" in (out / "group-g1" / "index.html").read_text()


def test_the_worst_video_has_its_pictures(lists: Path, tmp_path: Path) -> None:
    annotations = load("csv", lists, "groups")
    score(annotations, "rgb", 4).save(tmp_path / "scores.npz")
    store = write_store(tmp_path / "store")
    command = ["evaluate", str(tmp_path / "scores.npz"), "--lists", str(lists)]
    assert main([*command, "--report", str(tmp_path / "a"), "--store", str(store)]) == 0
    text = (tmp_path / "a" / "index.html").read_text()
    assert text.count("data:image/jpeg") == len(VIDEOS) * 4 * 2
    assert text.count("does not hold this video") == 1
    assert main([*command, "--report", str(tmp_path / "b")]) == 0
    assert (tmp_path / "b" / "index.html").read_text().count("No store is known") == 4


def test_official_splits_are_averaged_and_not_pooled(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = shared / "data" / "hmdb51" / "splits"
    run = tmp_path / "run"
    for number, wrong in (("1", 0), ("2", 153), ("3", 306)):
        annotations = load("hmdb51", splits, number)
        for stream in ("rgb", "flow"):
            path = run / f"split-{number}" / stream / "scores.npz"
            score(annotations, stream, wrong).save(path)
    command = ["evaluate", str(run), "--lists", str(splits), "--dataset", "hmdb51"]
    assert main([*command, "--report", str(tmp_path / "report")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "hmdb51, split 3: 1,530 of 1,530 test videos" in text
    assert "split 1 100.0% 100.0% split 2 90.0% 90.0% split 3 80.0% 80.0%" in text
    assert "mean over the splits 90.0% 90.0% standard deviation 10.0% 10.0%" in text
    assert "all splits together" not in text
    left = {path.stem for path in (tmp_path / "report").glob("*.csv")}
    assert left == {"splits", "means"}
    first = pd.read_csv(tmp_path / "report" / "split-2" / "summary.csv", index_col=0)
    assert first.loc["top-1 by video", "rgb"] == pytest.approx(0.9)


def test_a_run_gives_its_streams_and_what_they_are_fused_to(lists: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    files = write_folds(lists, run)
    assert [str(path) for path in files_of_run(run)] == [
        path for number in (0, 3, 6) for path in (files[number + k] for k in range(3))
    ]
    whole = load("csv", lists, "groups")
    for path in ("rgb/scores.npz", "flow/scores.npz", "fused/scores.npz"):
        score(whole, path.split("/")[0], 0).save(run / path)
    assert [path.parent.name for path in files_of_run(run)] == ["rgb", "flow", "fused"]
    score(whole, "rgb+flow", 0).save(run / "fused.npz")
    assert files_of_run(run)[-1] == run / "fused.npz"
    with pytest.raises(InputError, match="holds no scores"):
        files_of_run(lists.parent)


def test_scores_of_two_data_sets_are_refused(lists: Path, tmp_path: Path) -> None:
    score(load("csv", lists, "groups"), "rgb", 0).save(tmp_path / "a.npz")
    other = lists.with_name("other.csv")
    other.write_text(lists.read_text())
    score(load("csv", other, "groups"), "rgb", 0).save(tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"of data/mine and of data/other"):
        by_split([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_only_splits_without_a_common_video_are_pooled(lists: Path) -> None:
    names = [f"group:{group}" for group in GROUPS]
    annotations = {name: load("csv", lists, name) for name in names}
    scores = {name: [score(each, "rgb", 0)] for name, each in annotations.items()}
    found = pooled(scores, annotations)
    assert found is not None
    (joined,), whole = found
    assert set(joined.video_ids) == {video.id for video in load("csv", lists, "groups").test}
    assert {video.group for video in whole.test} == set(GROUPS)
    halves = {name: load("csv", lists, name) for name in ("groups", "group:g1")}
    twice = {name: [score(each, "rgb", 0)] for name, each in halves.items()}
    assert pooled(twice, halves) is None
    # UCF101's official splits share no test video, and are averaged all the same.
    official = {str(k): replace(each, split=str(k)) for k, each in enumerate(annotations.values())}
    alike = {name: [score(each, "rgb", 0)] for name, each in official.items()}
    assert pooled(alike, official) is None


def test_the_study_is_the_one_beside_the_last_scores(lists: Path, tmp_path: Path) -> None:
    score(load("csv", lists, "groups"), "rgb+flow", 0).save(tmp_path / "fused.npz")
    files = by_split([tmp_path / "fused.npz"])["groups"]
    assert study_beside(files) is None
    study = Study(("rgb", "flow"), (), (Row("rgb", "", (), (), 0.5, True),), "rgb", 12, 0)
    (tmp_path / "fused.json").write_text(study.to_json())
    assert study_beside(files) == study
    (tmp_path / "fused.json").write_text(study.to_json().replace("12", "13"))
    with pytest.raises(InputError, match=r"fused.json is of 13 videos, the scores beside it of 12"):
        study_beside(files)
    (tmp_path / "fused.json").write_text("{")
    with pytest.raises(InputError, match=r"fused.json: This is no study"):
        study_beside(files)


def test_of_many_splits_the_title_names_the_ends() -> None:
    assert title(["1", "2", "3"]) == "1, 2, 3"
    assert title([f"fold:{k}/9" for k in range(1, 10)]) == "fold:1/9 to fold:9/9"
