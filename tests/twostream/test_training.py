"""Training and scoring on stored clips: identity (resume, workers), laws, and what is refused."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import training_runs
from flow.errors import InputError
from twostream import training
from twostream.checkpoints import to_test
from twostream.commands.fuse import Fuse
from twostream.data.holding_out import hold_out
from twostream.distributed import alone
from twostream.experiments import Experiment, demo
from twostream.fusion_study import Study
from twostream.interruption import Interrupted
from twostream.log import Epoch, read_log
from twostream.runs import Checkpoint, Data, Run
from twostream.scores import Scores, softmax
from twostream.scoring import score
from twostream.streams import STREAMS
from twostream.trainer import Trainer
from twostream.validation import Validator

STEPS = 6


def train(run: Run, folder: Path, workers: int = 0, **options: Any) -> Epoch:
    return training.train(run, folder, workers, alone("cpu"), **options)


@pytest.fixture
def run(demo_data: Path) -> Run:
    """24 training clips in 2 groups, 8 a step: an epoch is 3 steps."""
    experiment = replace(
        demo(), steps=STEPS, batch=8, clips_at_once=4, clip_length=4, crop=(48, 48)
    )
    return Run(experiment, Data(demo_data / "annotations.csv", demo_data / "store"), "flow")


def changed(run: Run, **changes: Any) -> Run:
    return replace(run, experiment=replace(run.experiment, **changes))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(folder / "checkpoint.pt").model


def assert_same_training(one: Path, two: Path) -> None:
    training_runs.assert_same_training(one, two, "checkpoint.pt", to_test(one).name)


def test_a_run_leaves_what_it_was_and_learns(run: Run, tmp_path: Path) -> None:
    last = train(run, tmp_path / "r")
    assert Run.from_json((tmp_path / "r" / "run.json").read_text()) == run
    rows = read_log(tmp_path / "r" / "log.csv")
    assert [row.step for row in rows] == [3, 6]
    assert [row.epoch for row in rows] == [1.0, 2.0]
    assert rows[-1] == last
    checkpoint = Checkpoint.load(tmp_path / "r" / "checkpoint.pt")
    assert checkpoint.run == run
    assert len(checkpoint.trained_on) == 24
    assert checkpoint.held_out == ()
    assert checkpoint.step == STEPS
    assert list((tmp_path / "r" / "curves").iterdir())
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"run.json", "checkpoint.pt", "log.csv", "curves"}


def test_training_learns(run: Run, tmp_path: Path) -> None:
    """Guessing among 12 classes costs log 12 = 2.48; 30 steps were measured to reach 2.0."""
    last = train(changed(run, steps=30, rate=0.003, dropout=0.0), tmp_path)
    assert last.loss < 2.3


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema": 0.9, "validate_on": "held_out", "held_out": 0.5, "optimiser": "adamw"}],
    ids=["plain", "averaged"],
)
def test_ctrl_c_finishes_the_step_and_the_run_goes_on_bit_for_bit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = changed(run, **changes)
    train(run, tmp_path / "whole")
    step = Trainer.step

    def interrupted(self: Trainer, number: int, *rest: Any) -> Any:
        if number == 4:
            signal.raise_signal(signal.SIGINT)
        return step(self, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(Interrupted, match="interrupted after step 4") as stopped:
            train(run, tmp_path / "cut")
    assert stopped.value.status == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert Checkpoint.load(tmp_path / "cut" / "checkpoint.pt").step == 4
    train(run, tmp_path / "cut")
    assert_same_training(tmp_path / "whole", tmp_path / "cut")


def test_sigterm_in_a_validation_leaves_at_once_and_it_is_made_up_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = changed(run, validate_on="held_out", held_out=0.5, validation_clips=2)
    train(run, tmp_path / "whole")
    sums, calls = Validator._sums, 0

    def interrupted(self: Validator, *rest: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 8:  # of 6 batches in each validation
            signal.raise_signal(signal.SIGTERM)
        return sums(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Validator, "_sums", interrupted)
        with pytest.raises(Interrupted, match="interrupted after step 4") as stopped:
            train(run, tmp_path / "cut")
    assert (stopped.value.status, calls) == (143, 8)
    assert [row.step for row in read_log(tmp_path / "cut" / "log.csv")] == [2]
    train(run, tmp_path / "cut")
    assert_same_training(tmp_path / "whole", tmp_path / "cut")


def test_a_crash_costs_what_came_after_the_last_checkpoint(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run, tmp_path / "whole")
    step = Trainer.step

    def crashing(self: Trainer, number: int, *rest: Any) -> Any:
        if number == 5:
            raise RuntimeError("the power fails")
        return step(self, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", crashing)
        with pytest.raises(RuntimeError):
            train(run, tmp_path / "cut", minutes=0)
    assert Checkpoint.load(tmp_path / "cut" / "checkpoint.pt").step == 4
    train(run, tmp_path / "cut")
    assert_same_training(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_run_is_left_as_it_is(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(run, steps=1)
    last = train(run, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert train(run, tmp_path) == last
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert "has 1 of 1 steps" in capsys.readouterr().out


def test_more_steps_go_on_where_the_rate_does_not_depend_on_them(run: Run, tmp_path: Path) -> None:
    train(changed(run, steps=3), tmp_path / "longer")
    train(run, tmp_path / "longer")
    train(run, tmp_path / "whole")
    assert_same_training(tmp_path / "whole", tmp_path / "longer")
    cosine = changed(run, schedule="cosine", steps=1)
    train(cosine, tmp_path / "cosine")
    with pytest.raises(InputError, match="holds a run with steps 1 instead of 2"):
        train(changed(cosine, steps=2), tmp_path / "cosine")


def test_the_number_of_workers_changes_nothing(run: Run, tmp_path: Path) -> None:
    train(run, tmp_path / "none", workers=0)
    train(run, tmp_path / "two", workers=2)
    assert_same_training(tmp_path / "none", tmp_path / "two")


def test_held_out_groups_choose_the_best_and_are_not_trained_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = changed(run, validate_on="held_out", held_out=0.5, validation_clips=2)
    train(held, tmp_path)
    annotations, _ = run.data.annotations("train")
    rest, validation = hold_out(annotations.train, 0.5, run.experiment.seed)
    assert len(rest) == len(validation) == 12
    best = Checkpoint.load(tmp_path / "best.pt")
    rows = read_log(tmp_path / "log.csv")
    figures = [(row.validation_top1, -(row.validation_loss or 0)) for row in rows]
    assert best.step == rows[figures.index(max(figures))].step
    assert best.held_out == tuple(sorted(video.id for video in validation))
    assert set(best.held_out) < set(best.trained_on)
    assert "validation: loss" in capsys.readouterr().out


def test_patience_ends_the_training_and_it_stays_ended(run: Run, tmp_path: Path) -> None:
    """With a rate of almost zero no epoch is better than the first."""
    still = changed(
        run,
        rate=1e-30,
        validate_on="held_out",
        held_out=0.5,
        patience=2,
        steps=100,
        freeze_batchnorm=False,
        rates=(("conv1.bn", 0.0), ("*.bn", 0.0)),
    )
    last = train(still, tmp_path)
    assert last.step == 3 * max(1, round(12 / 8))
    assert Checkpoint.load(tmp_path / "best.pt").step == read_log(tmp_path / "log.csv")[0].step
    assert train(still, tmp_path) == last


def test_validation_on_the_test_list_chooses_nothing(run: Run, tmp_path: Path) -> None:
    last = train(changed(run, validate_on="test", steps=3), tmp_path)
    assert last.validation_top1 is not None
    assert not (tmp_path / "best.pt").exists()
    assert Checkpoint.load(tmp_path / "checkpoint.pt").held_out == ()


def test_another_experiment_in_the_same_folder_is_refused(run: Run, tmp_path: Path) -> None:
    train(changed(run, steps=1), tmp_path)
    with pytest.raises(InputError, match=r"holds a run with rate 0\.03 instead of 0\.5"):
        train(changed(run, rate=0.5), tmp_path)


def test_another_list_in_the_same_folder_is_refused(run: Run, tmp_path: Path) -> None:
    lists = tmp_path / "lists.csv"
    lines = run.data.lists.read_text().splitlines()
    lists.write_text("\n".join(lines) + "\n")
    copied = replace(changed(run, steps=1), data=replace(run.data, lists=lists))
    train(copied, tmp_path / "r")
    train_rows = [line for line in lines if line.endswith(",train")]
    lists.write_text("\n".join(line for line in lines if line != train_rows[0]) + "\n")
    with pytest.raises(InputError, match="was trained on another list"):
        train(copied, tmp_path / "r")


def test_a_loss_that_is_not_finite_stops_the_run(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The loss is not finite at step \d.*_g0\d"):
        train(changed(run, rate=1e30), tmp_path)


def test_a_missing_video_is_named_or_left_out(run: Run, tmp_path: Path) -> None:
    lists = tmp_path / "lists.csv"
    lines = run.data.lists.read_text().splitlines()
    lists.write_text("\n".join([*lines, "gone/gone.avi,checks_left,g99,train"]) + "\n")
    with pytest.raises(InputError, match=r"1 of 25 train videos .* first: gone/gone"):
        train(replace(run, data=replace(run.data, lists=lists)), tmp_path / "r")
    data = replace(run.data, lists=lists, allow_missing=True)
    train(replace(changed(run, steps=1), data=data), tmp_path / "r")
    assert (tmp_path / "r" / "missing_train.txt").read_text() == "gone/gone\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_store_file_is_one_sentence(run: Run, tmp_path: Path, workers: int) -> None:
    store = tmp_path / "store"
    shutil.copytree(run.data.store, store)
    damaged = sorted((store / "rings_left").glob("*_g01.zip"))[0]
    content = bytearray(damaged.read_bytes())
    content[200:-20_000] = bytes(len(content) - 20_200)  # the directory at the end stays
    damaged.write_bytes(content)
    hurt = replace(run, data=replace(run.data, store=store))
    with pytest.raises(InputError, match=f"{damaged.name} .*flow verify") as error:
        train(hurt, tmp_path / "r", workers=workers)
    assert len(str(error.value).splitlines()) == 1


def test_scores_are_those_of_the_network_on_even_clips(run: Run, tmp_path: Path) -> None:
    train(run, tmp_path)
    scores = score(tmp_path / "checkpoint.pt", workers=0)
    annotations, _ = run.data.annotations("test")
    assert scores.video_ids == tuple(video.id for video in annotations.test)
    assert scores.clip_logits.shape == (12, run.experiment.test_clips, 12)
    mean = softmax(scores.clip_logits).mean(axis=1)
    np.testing.assert_allclose(softmax(scores.logits), mean, rtol=1e-5)
    assert scores.source.stream == "flow"
    again = score(tmp_path / "checkpoint.pt", workers=2)
    np.testing.assert_array_equal(again.clip_logits, scores.clip_logits)


def test_where_the_last_layer_is_fitted_a_fusion_can_be_chosen_by_the_training_videos(
    run: Run, tmp_path: Path
) -> None:
    """None of them held out; and of those that are, none is among them."""
    one_step = changed(run, steps=1, last_layer="fitted")
    annotations, _ = run.data.annotations("train")
    for stream in STREAMS:
        folder = tmp_path / stream
        train(replace(one_step, stream=stream), folder)
        score(folder / "checkpoint.pt", workers=0).save(folder / "scores.npz")
        unseen = Scores.load(folder / "unseen.npz")
        assert unseen.video_ids == tuple(video.id for video in annotations.train)
        assert unseen.classes == annotations.classes
    Fuse((tmp_path,), choose=True)()
    study = Study.from_json((tmp_path / "fused.json").read_text())
    assert (study.chosen, study.videos, study.held_out_videos) == ("chosen, softmax", 12, 24)
    held = changed(run, steps=1, last_layer="fitted", validate_on="held_out", held_out=0.5)
    train(held, tmp_path / "held")
    rest, _ = hold_out(annotations.train, 0.5, run.experiment.seed)
    assert not (tmp_path / "held" / "unseen.npz").exists()  # the rest is a group alone
    assert len({video.group for video in rest}) == 1


def test_a_checkpoint_that_saw_a_test_video_is_refused(run: Run, tmp_path: Path) -> None:
    train(changed(run, steps=1), tmp_path)
    with pytest.raises(InputError, match="trained on 12 of the test videos"):
        score(tmp_path / "checkpoint.pt", replace(run.data, split="group:g01"), workers=0)


def test_a_checkpoint_of_other_classes_is_refused(run: Run, tmp_path: Path) -> None:
    train(changed(run, steps=1), tmp_path)
    lists = tmp_path / "lists.csv"
    lists.write_text(run.data.lists.read_text().replace("checks_left,", "checks_west,"))
    with pytest.raises(InputError, match="knows 12 classes"):
        score(tmp_path / "checkpoint.pt", replace(run.data, lists=lists), workers=0)


def test_a_damaged_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint"):
        train(run, tmp_path)
    with pytest.raises(InputError, match=r"none\.pt is not there"):
        Checkpoint.load(tmp_path / "none.pt")


def test_experiment_fields_reach_the_network(run: Run) -> None:
    experiment: Experiment = replace(run.experiment, blocks=("B",), dropout=0.7)
    model = replace(run, experiment=experiment).build(5)
    assert set(model.kinds()) == {"B"}
    assert model.dropout.p == 0.7
    assert model.fc.out_features == 5
    assert model.in_channels == 2
    narrow = changed(run, model="p3d_resnet18", width_factor=0.25).build(5)
    assert narrow.conv1.conv.out_channels == 16
