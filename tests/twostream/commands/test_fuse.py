"""The command fuse on files: known answers, oracle (plain counting), round trips, refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow.errors import InputError
from twostream.commands.fuse import Fuse
from twostream.experiments import demo
from twostream.fusion import RULES, fuse
from twostream.fusion_study import Study
from twostream.runs import Data, Run, split_folder
from twostream.scores import Scores, Source

CLASSES = ("clap", "jump", "walk")
GROUPS = ("a", "b", "c", "d")
STREAMS = ("rgb", "flow")
KNOWS = {"rgb": 0.8, "flow": 1.6}
VIDEOS = {
    f"{label}/{group}{n}": (i, group)
    for i, label in enumerate(CLASSES)
    for group in GROUPS
    for n in range(5)
}


def scored(stream: str, split: str, ids: list[str], seed: int) -> Scores:
    rng = np.random.default_rng([seed, len(stream), len(split), ord(split[-1])])
    clips = rng.normal(size=(len(ids), 2, 3))
    clips[np.arange(len(ids)), :, [VIDEOS[name][0] for name in ids]] += KNOWS[stream]
    values = clips.astype(np.float32)
    source = Source("mine/list", split, stream, "2 clips", f"{stream} {split}", "s")
    return Scores(tuple(ids), CLASSES, values.mean(axis=1), values, source)


def write_split(folder: Path, split: str, lists: Path | None, held_out: bool = True) -> None:
    """Scores of the group that is tested and of one that is held out, of both streams."""
    tested = split[-1]
    other = GROUPS[GROUPS.index(tested) - 1]
    for stream in STREAMS:
        sides = [("scores.npz", tested)] + [("held_out.npz", other)] * held_out
        for name, group in sides:
            ids = [video for video, (_, g) in VIDEOS.items() if g == group]
            scored(stream, split, ids, len(name)).save(folder / stream / name)
        if lists is not None:
            run = Run(demo(), Data(lists, folder, "csv", split), stream)
            (folder / stream / "run.json").write_text(run.to_json())


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "list.csv"
    path.parent.mkdir()
    rows = [f"{name},{CLASSES[label]},{group}" for name, (label, group) in VIDEOS.items()]
    path.write_text("\n".join(["video,label,group", *rows]))
    return path


@pytest.fixture
def run(tmp_path: Path, lists: Path) -> Path:
    """A run of four splits, which says where its lists are."""
    for group in GROUPS:
        folder = tmp_path / "run" / split_folder(f"group:{group}")
        write_split(folder, f"group:{group}", lists)
    return tmp_path / "run"


def files(folder: Path) -> tuple[Path, ...]:
    return tuple(folder / stream / "scores.npz" for stream in STREAMS)


def right(scores: Scores) -> list[bool]:
    labels = [VIDEOS[name][0] for name in scores.video_ids]
    return (scores.logits.argmax(axis=1) == labels).tolist()


def study_of(path: Path) -> Study:
    return Study.from_json(path.read_text())


def test_each_row_of_a_run_is_what_its_fusion_counts(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Fuse((run,), choose=True)() == 0
    study = study_of(run / "fused.json")
    assert study.streams == STREAMS
    assert study.chosen == "chosen, softmax"
    assert (study.videos, study.held_out_videos) == (60, 60)
    splits = [[Scores.load(path) for path in files(run / f"group-{g}")] for g in GROUPS]
    rows = {row.name: row for row in study.rows}
    for number, stream in enumerate(STREAMS):
        answers = [each for split in splits for each in right(split[number])]
        assert rows[stream].top1 == pytest.approx(np.mean(answers))
    for rule in RULES:
        for name in (f"equal, {rule}", f"chosen, {rule}", f"best on the test list, {rule}"):
            row, answers = rows[name], []
            assert len(row.shares) == len(row.temperatures) == 4
            for split, share, temperatures in zip(
                splits, row.shares, row.temperatures, strict=True
            ):
                answers += right(fuse(split, [1 - share, share], rule, temperatures))
            assert row.top1 == pytest.approx(np.mean(answers))
            assert row.reportable == ("best" not in name)
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("chosen, softmax"))
    assert f"  {rows['chosen, softmax'].top1:.1%}  " in line
    assert printed.count("(not to be reported)") == 3
    assert printed.count("(written)") == 1
    assert "which held-out videos chose" in printed
    for path in run.rglob("held_out.npz"):
        path.unlink()
    assert Fuse((run,))() == 0
    assert "which held-out videos chose" not in capsys.readouterr().out


def test_curves_are_what_each_share_counts(run: Path) -> None:
    Fuse((run,), choose=True)()
    study = study_of(run / "fused.json")
    rows = {row.name: row for row in study.rows}
    for curve in study.curves:
        temperatures = rows[f"chosen, {curve.rule}"].temperatures
        for name, points in (("scores.npz", curve.test), ("held_out.npz", curve.held_out)):
            for share, top1 in zip(curve.shares, points, strict=True):
                answers = []
                for group, cool in zip(GROUPS, temperatures, strict=True):
                    pair = [Scores.load(run / f"group-{group}" / s / name) for s in STREAMS]
                    answers += right(fuse(pair, [1 - share, share], curve.rule, cool))
                assert top1 == pytest.approx(np.mean(answers))
        best = rows[f"best on the test list, {curve.rule}"]
        assert best.top1 == max(curve.test)
        assert curve.test[curve.shares.index(best.shares[0])] == best.top1


def test_the_fused_scores_of_a_run_are_those_of_its_splits(run: Path) -> None:
    Fuse((run,), choose=True, rule="log_probabilities")()
    joined = Scores.load(run / "fused.npz")
    assert joined.source.split == "groups"
    assert set(joined.video_ids) == set(VIDEOS)
    whole = {row.name: row for row in study_of(run / "fused.json").rows}
    for number, group in enumerate(GROUPS):
        folder = run / f"group-{group}"
        row = next(
            row
            for row in study_of(folder / "fused.json").rows
            if row.name == "chosen, log_probabilities"
        )
        assert row.shares == whole[row.name].shares[number : number + 1]
        pair = [Scores.load(path) for path in files(folder)]
        expected = fuse(pair, [1 - row.shares[0], row.shares[0]], row.rule, row.temperatures[0])
        fused = Scores.load(folder / "fused.npz")
        np.testing.assert_allclose(fused.logits, expected.logits, rtol=1e-5, atol=1e-6)
        rows = [joined.video_ids.index(video) for video in fused.video_ids]
        np.testing.assert_array_equal(joined.logits[rows], fused.logits)


def test_what_a_test_video_is_has_no_part_in_the_choice(run: Path) -> None:
    Fuse((run,), choose=True)()
    before = {row.name: row for row in study_of(run / "group-a" / "fused.json").rows}
    for path in files(run / "group-a"):
        scores = Scores.load(path)
        replace(scores, logits=-scores.logits, clip_logits=-scores.clip_logits).save(path)
    Fuse((run,), choose=True)()
    after = {row.name: row for row in study_of(run / "group-a" / "fused.json").rows}
    for rule in RULES:
        one, other = before[f"chosen, {rule}"], after[f"chosen, {rule}"]
        assert (one.shares, one.temperatures) == (other.shares, other.temperatures)
        assert one.top1 > other.top1


def test_a_split_alone_and_its_files_are_fused_alike(run: Path, tmp_path: Path) -> None:
    folder = run / "group-b"
    Fuse((folder,), choose=True)()
    Fuse(files(folder), tmp_path / "f.npz", choose=True)()
    assert (folder / "fused.json").read_text() == (tmp_path / "f.json").read_text()
    np.testing.assert_array_equal(
        Scores.load(folder / "fused.npz").logits, Scores.load(tmp_path / "f.npz").logits
    )


def test_scores_of_all_splits_joined_are_fused_by_the_lists_of_their_run(
    run: Path, tmp_path: Path
) -> None:
    Fuse((run,))()
    for stream in STREAMS:
        Fuse((run,), weights=(1, 0) if stream == "rgb" else (0, 1))()
        joined = Scores.load(run / "fused.npz")
        source = replace(joined.source, stream=stream, checkpoint=stream)
        replace(joined, source=source).save(run / stream / "scores.npz")
    assert Fuse(files(run), tmp_path / "f.npz")() == 0
    study = study_of(tmp_path / "f.json")
    assert (study.videos, study.held_out_videos) == (60, 0)
    assert all(curve.held_out == () for curve in study.curves)
    assert {row.name for row in study.rows} == {
        *STREAMS,
        *(f"{kind}, {rule}" for rule in RULES for kind in ("equal", "best on the test list")),
    }
    with pytest.raises(InputError, match=r"held_out\.npz is not there.*run's folder"):
        Fuse(files(run), tmp_path / "f.npz", choose=True)()


def test_scores_of_before_the_fine_tuning_are_chosen_on_where_nothing_was_held_out(
    run: Path,
) -> None:
    """By the same videos the same choice; where both are there, the network's own scores count."""
    Fuse((run,), choose=True)()
    expected = study_of(run / "fused.json")
    for path in run.rglob("held_out.npz"):
        known = Scores.load(path)
        source = replace(known.source, checkpoint="", protocol="own clips")
        replace(known, source=source).save(path.with_name("unseen.npz"))
        path.unlink()
    Fuse((run,), choose=True)()
    assert study_of(run / "fused.json") == expected
    for path in run.rglob("unseen.npz"):
        known = Scores.load(path)
        replace(known, source=replace(known.source, checkpoint="x")).save(
            path.with_name("held_out.npz")
        )
    with pytest.raises(InputError, match="differ from the test scores in protocol: 'own clips'"):
        Fuse((run,), choose=True)()
    next(run.rglob("flow/held_out.npz")).unlink()
    with pytest.raises(InputError, match="differ from the test scores in protocol: 'own clips'"):
        Fuse((run,), choose=True)()
    for path in run.rglob("flow/held_out.npz"):
        path.unlink()
    Fuse((run,), choose=True)()
    assert study_of(run / "fused.json") == expected


def test_given_weights_are_a_row_and_what_is_written(run: Path) -> None:
    Fuse((run,), weights=(1, 3), rule="logits")()
    study = study_of(run / "fused.json")
    row = next(row for row in study.rows if row.name == study.chosen)
    assert (row.name, row.shares) == ("given, logits", (0.75,) * 4)
    assert row.top1 == pytest.approx(np.mean(right(Scores.load(run / "fused.npz"))))


def test_a_linear_svm_on_the_held_out_scores(run: Path, lists: Path) -> None:
    """A group alone is held out of each split, which is refused; two are learnt from."""
    with pytest.raises(InputError, match="have 1 groups; an SVM needs 2"):
        Fuse((run,), rule="svm")()
    for group in GROUPS:
        ids = [video for video, (_, g) in VIDEOS.items() if g != group]
        for stream in STREAMS:
            path = run / f"group-{group}" / stream / "held_out.npz"
            scored(stream, f"group:{group}", ids, 3).save(path)
    Fuse((run,), rule="svm")()
    study, fused = study_of(run / "fused.json"), Scores.load(run / "fused.npz")
    row = next(row for row in study.rows if row.name == study.chosen)
    assert (row.name, row.rule, row.shares) == ("chosen, svm", "svm", ())
    assert row.top1 == pytest.approx(np.mean(right(fused)))
    # Of 60 videos the deviation is 0.05.
    assert row.top1 > max(row.top1 for row in study.rows if row.name in STREAMS) - 0.1


def test_three_streams_have_weights_and_no_curve(run: Path, tmp_path: Path) -> None:
    folder = run / "group-a"
    for name in ("scores.npz", "held_out.npz"):
        rgb = Scores.load(folder / "rgb" / name)
        source = replace(rgb.source, stream="sound", checkpoint="sound")
        noise = np.random.default_rng(0).normal(size=rgb.clip_logits.shape).astype(np.float32)
        replace(rgb, logits=noise[:, 0], clip_logits=noise, source=source).save(
            folder / "sound" / name
        )
    three = (*files(folder), folder / "sound" / "scores.npz")
    Fuse(three, tmp_path / "f.npz", choose=True, rule="log_probabilities")()
    study = study_of(tmp_path / "f.json")
    assert study.curves == ()
    assert study.streams == ("rgb", "flow", "sound")
    assert {len(row.temperatures[0]) for row in study.rows if row.temperatures} == {3}


def test_without_labels_there_is_no_study_and_nothing_to_choose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tmp_path / "x", "group:a", None)
    out = tmp_path / "f.npz"
    out.with_suffix(".json").write_text("of other scores")
    Fuse(files(tmp_path / "x"), out)()
    assert "no study of the weights" in capsys.readouterr().out
    assert not out.with_suffix(".json").exists()
    assert Scores.load(out).source.stream == "rgb+flow"
    for command in (Fuse(files(tmp_path / "x"), out, choose=True), Fuse((tmp_path / "x",))):
        with pytest.raises(InputError, match="give --lists and --dataset"):
            command()


def test_lists_are_given(tmp_path: Path, lists: Path) -> None:
    write_split(tmp_path / "x", "group:a", None)
    Fuse(files(tmp_path / "x"), tmp_path / "f.npz", choose=True, lists=lists)()
    Fuse((tmp_path / "x",), choose=True, lists=lists)()
    assert study_of(tmp_path / "f.json") == study_of(tmp_path / "x" / "fused.json")


def remove(*parts: str) -> Callable[[Path], None]:
    return lambda run: run.joinpath(*parts).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("group-c", "flow", "scores.npz"), r"1 score files .*group-c/flow/scores.npz first"),
        (remove("group-c", "flow", "held_out.npz"), r"group-c/flow/held_out.npz is not there"),
    ],
)
def test_a_run_that_lacks_a_file_is_refused(
    run: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(run)
    with pytest.raises(InputError, match=message):
        Fuse((run,), choose=True)()
    assert not (run / "fused.npz").exists()


def test_lists_of_other_videos_are_refused(run: Path, lists: Path, tmp_path: Path) -> None:
    text = lists.read_text()
    other = tmp_path / "other" / "mine" / "list.csv"
    other.parent.mkdir(parents=True)
    other.write_text(text.replace("walk/a0,", "walk/a9,"))
    with pytest.raises(InputError, match="1 scored videos are not on the list, 'walk/a0' first"):
        Fuse((run,), lists=other)()
    other.write_text(text.replace(",jump,", ",hop,"))
    with pytest.raises(InputError, match="give those that were scored"):
        Fuse((run,), lists=other)()


def test_what_contradicts_itself_is_refused(run: Path, tmp_path: Path) -> None:
    pair, out = files(run / "group-a"), tmp_path / "f.npz"
    for command, message in (
        (Fuse(pair, out, weights=(1, 2), choose=True), "or have them chosen"),
        (Fuse(pair, out, weights=(1, 2), rule="svm"), "or have them chosen"),
        (Fuse(pair), "Give --out"),
        (Fuse((), out), "0 streams"),
        (Fuse(pair, out, weights=(1,)), "2 streams and 1 weights"),
        (Fuse((run,), weights=(1, 2, 3)), "2 streams and 3 weights"),
        (Fuse((pair[0], pair[0]), out), "one rgb network"),
        (Fuse((tmp_path / "none.npz", pair[0]), out), "none.npz is not there"),
    ):
        with pytest.raises(InputError, match=message):
            command()
    assert not out.exists()


def test_the_study_is_plain_json(run: Path) -> None:
    Fuse((run,))()
    values = json.loads((run / "fused.json").read_text())
    assert set(values) == {"streams", "curves", "rows", "chosen", "videos", "held_out_videos"}
