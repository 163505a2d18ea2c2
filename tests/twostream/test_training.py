"""Training and scoring on stored clips: identity (resume, workers), laws, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flow.errors import InputError
from twostream import training
from twostream.experiments import Experiment, demo
from twostream.log import read_log
from twostream.runs import Checkpoint, Data, Run
from twostream.scores import softmax
from twostream.scoring import score
from twostream.training import train

STEPS = 6


@pytest.fixture
def run(demo_data: Path) -> Run:
    """24 training clips, 8 a step: an epoch is 3 steps."""
    experiment = replace(
        demo(), steps=STEPS, batch=8, clips_at_once=4, clip_length=4, crop=(48, 48)
    )
    return Run(experiment, Data(demo_data / "annotations.csv", demo_data / "store"), "flow")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(folder / "checkpoint.pt").model


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_a_run_leaves_what_it_was_and_learns(run: Run, tmp_path: Path) -> None:
    last = train(run, tmp_path / "r", workers=0)
    assert Run.from_json((tmp_path / "r" / "run.json").read_text()) == run
    rows = read_log(tmp_path / "r" / "log.csv")
    assert [row.step for row in rows] == [3, 6]
    assert [row.epoch for row in rows] == [1.0, 2.0]
    assert rows[-1] == last
    checkpoint = Checkpoint.load(tmp_path / "r" / "checkpoint.pt")
    assert checkpoint.run == run
    assert len(checkpoint.trained_on) == 24
    assert checkpoint.step == STEPS
    assert list((tmp_path / "r" / "curves").iterdir())


def test_an_interrupted_run_goes_on_bit_for_bit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run, tmp_path / "whole", workers=0)
    step = training._Trainer.step

    def interrupted(self: training._Trainer, number: int, *rest: object) -> object:
        if number == 5:
            raise KeyboardInterrupt
        return step(self, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(training._Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(run, tmp_path / "cut", workers=0)
    assert Checkpoint.load(tmp_path / "cut" / "checkpoint.pt").step == 3
    train(run, tmp_path / "cut", workers=0)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    logs = [read_log(tmp_path / name / "log.csv") for name in ("whole", "cut")]
    assert [(row.step, row.loss) for row in logs[0]] == [(row.step, row.loss) for row in logs[1]]


def test_the_number_of_workers_changes_nothing(run: Run, tmp_path: Path) -> None:
    train(run, tmp_path / "none", workers=0)
    train(run, tmp_path / "two", workers=2)
    assert_equal(weights(tmp_path / "none"), weights(tmp_path / "two"))


def test_gradients_of_parts_add_up_to_those_of_the_whole(run: Run, tmp_path: Path) -> None:
    """With BatchNorm frozen, clips at once are a matter of memory alone, up to rounding."""
    torch.manual_seed(0)
    clips, labels = torch.randn(8, 2, 4, 32, 32), torch.arange(8)
    start = run.build(12).state_dict()
    states = []
    for at_once in (3, 8):
        model = run.build(12)
        model.load_state_dict(start)
        model.freeze_batchnorm(except_first=False)
        model.dropout.p = 0.0
        parts = list(zip(clips.split(at_once), labels.split(at_once), strict=True))
        training._Trainer(run.experiment, model, None).step(1, parts)
        states.append(model.state_dict())
    assert not torch.equal(states[0]["fc.weight"], start["fc.weight"])
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-6)


def test_the_rate_falls_to_a_tenth(run: Run) -> None:
    experiment = replace(run.experiment, rate=0.5, rate_drop_every=10)
    trainer = training._Trainer(experiment, run.build(3), None)
    assert [trainer.rate(step) for step in (1, 10, 11, 20, 21)] == pytest.approx(
        [0.5, 0.5, 0.05, 0.05, 0.005]
    )


def test_a_step_of_more_clips_than_videos_takes_each_equally_often(run: Run) -> None:
    experiment = replace(run.experiment, batch=16, clips_at_once=5, steps=5)
    keys = [key for batch in training._Batches(10, experiment, 0) for key in batch]
    assert len(keys) == 80
    assert sorted(keys) == [(epoch, video) for epoch in range(8) for video in range(10)]
    later = [key for batch in training._Batches(10, experiment, 2) for key in batch]
    assert later == keys[32:]


def test_another_experiment_in_the_same_folder_is_refused(run: Run, tmp_path: Path) -> None:
    train(replace(run, experiment=replace(run.experiment, steps=1)), tmp_path, workers=0)
    other = replace(run, experiment=replace(run.experiment, rate=0.5))
    with pytest.raises(InputError, match=r"holds a run with rate 0\.03 instead of 0\.5"):
        train(other, tmp_path, workers=0)


def test_a_loss_that_is_not_finite_stops_the_run(run: Run, tmp_path: Path) -> None:
    wild = replace(run, experiment=replace(run.experiment, rate=1e30))
    with pytest.raises(InputError, match=r"The loss is (nan|inf) at step \d"):
        train(wild, tmp_path, workers=0)


def test_a_missing_video_is_named_or_left_out(run: Run, tmp_path: Path) -> None:
    lists = tmp_path / "lists.csv"
    lines = run.data.lists.read_text().splitlines()
    lists.write_text("\n".join([*lines, "gone/gone.avi,checks_left,g99,train"]) + "\n")
    with pytest.raises(InputError, match=r"1 of 25 train videos .* first: gone/gone"):
        train(replace(run, data=replace(run.data, lists=lists)), tmp_path / "r", workers=0)
    allowed = replace(
        run,
        data=replace(run.data, lists=lists, allow_missing=True),
        experiment=replace(run.experiment, steps=1),
    )
    train(allowed, tmp_path / "r", workers=0)
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
    train(run, tmp_path, workers=0)
    scores = score(tmp_path / "checkpoint.pt", workers=0)
    annotations, _ = run.data.annotations("test")
    assert scores.video_ids == tuple(video.id for video in annotations.test)
    assert scores.clip_logits.shape == (12, run.experiment.test_clips, 12)
    mean = softmax(scores.clip_logits).mean(axis=1)
    np.testing.assert_allclose(softmax(scores.logits), mean, rtol=1e-5)
    assert scores.source.stream == "flow"
    again = score(tmp_path / "checkpoint.pt", workers=2)
    np.testing.assert_array_equal(again.clip_logits, scores.clip_logits)


def test_a_checkpoint_that_saw_a_test_video_is_refused(run: Run, tmp_path: Path) -> None:
    train(replace(run, experiment=replace(run.experiment, steps=1)), tmp_path, workers=0)
    with pytest.raises(InputError, match="trained on 12 of the test videos"):
        score(tmp_path / "checkpoint.pt", replace(run.data, split="group:g01"), workers=0)


def test_a_checkpoint_of_other_classes_is_refused(run: Run, tmp_path: Path) -> None:
    train(replace(run, experiment=replace(run.experiment, steps=1)), tmp_path, workers=0)
    lists = tmp_path / "lists.csv"
    lists.write_text(run.data.lists.read_text().replace("checks_left,", "checks_west,"))
    with pytest.raises(InputError, match="knows 12 classes"):
        score(tmp_path / "checkpoint.pt", replace(run.data, lists=lists), workers=0)


def test_a_damaged_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint"):
        score(tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"none\.pt is not there"):
        score(tmp_path / "none.pt")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="Device 'cuda:99' cannot be used"):
        training.choose_device("cuda:99")


def test_experiment_fields_reach_the_network(run: Run) -> None:
    changed: Experiment = replace(run.experiment, blocks=("B",), dropout=0.7)
    model = replace(run, experiment=changed).build(5)
    assert set(model.kinds()) == {"B"}
    assert model.dropout.p == 0.7
    assert model.fc.out_features == 5
    assert model.in_channels == 2
