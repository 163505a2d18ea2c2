"""Validation: oracle (NumPy) for its figures, laws of who is held out and of the selection."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flow.errors import InputError
from twostream.data import clips as data
from twostream.distributed import World, alone
from twostream.experiments import demo
from twostream.models import P3D
from twostream.runs import Data, Run
from twostream.validation import Selection, Validation, Validator, sides


@pytest.fixture
def run(demo_data: Path) -> Run:
    experiment = replace(
        demo(), clip_length=4, crop=(48, 48), clips_at_once=5, validation_clips=2, precision="fp32"
    )
    return Run(experiment, Data(demo_data / "annotations.csv", demo_data / "store"), "rgb")


@pytest.fixture
def model(run: Run) -> P3D:
    torch.manual_seed(0)
    return run.build(12)


def test_the_figures_are_those_of_the_videos(run: Run, model: P3D) -> None:
    annotations, _ = run.data.annotations("test")
    experiment = run.experiment
    clips = data.TestClips(
        run.data.store,
        annotations.test,
        "rgb",
        length=4,
        clips=2,
        geometry=experiment.geometry(),
        short=experiment.short,
    )
    losses, right = [], []
    with torch.no_grad():
        for index in range(len(clips)):
            tensors, label, _ = clips[index]
            logits = model.eval()(tensors).double().numpy()
            probability = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).mean(0)
            losses.append(-np.log(probability[label]))
            right.append(probability.argmax() == label)
    found = Validator(run, annotations.test, 0, alone("cpu"))(model.train())
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.top1 == pytest.approx(np.mean(right))


def test_shares_of_processes_add_up(run: Run, model: P3D, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that see each other's sums: 11 videos, so that one has more."""
    videos = run.data.annotations("test")[0].test[:11]
    whole = Validator(run, videos, 0, alone("cpu"))(model)
    sums: list[torch.Tensor] = []
    for _ in range(2):
        for rank in range(2):
            world = World(torch.device("cpu"), rank, size=2)
            monkeypatch.setattr(World, "total", lambda self, values: _kept(values, sums))
            Validator(run, videos, 0, world)(model)
    loss, right, count = (sums[0] + sums[1]).tolist()
    assert count == 11
    assert loss / count == pytest.approx(whole.loss, rel=1e-6)
    assert right / count == pytest.approx(whole.top1)


def _kept(values: torch.Tensor, sums: list[torch.Tensor]) -> torch.Tensor:
    sums.append(values)
    return values


def test_a_process_without_a_video_takes_part(run: Run, model: P3D) -> None:
    videos = run.data.annotations("test")[0].test[:1]
    Validator(run, videos, 0, World(torch.device("cpu"), 0, 1))(model)
    assert Validator(run, videos, 0, World(torch.device("cpu"), 1, 2)).loader is None


def test_scores_that_are_not_finite_are_refused_not_counted(run: Run, model: P3D) -> None:
    """NaN is no class; argmax would make it class 0."""
    with torch.no_grad():
        model.fc.bias[3] = float("nan")
    videos = run.data.annotations("test")[0].test[:2]
    with pytest.raises(InputError, match="no finite scores in the validation"):
        Validator(run, videos, 0, alone("cpu"))(model)


def test_who_is_held_out(run: Run) -> None:
    annotations, _ = run.data.annotations("train")
    nobody = sides(annotations, run.experiment)
    assert (nobody.train, nobody.validation) == (annotations.train, ())
    held = sides(annotations, replace(run.experiment, validate_on="held_out", held_out=0.5))
    assert {v.group for v in held.train}.isdisjoint({v.group for v in held.validation})
    assert {*held.train, *held.validation} == set(annotations.train)
    assert held.validation
    tested = sides(annotations, replace(run.experiment, validate_on="test"))
    assert (tested.train, tested.validation) == (annotations.train, annotations.test)
    with pytest.raises(InputError, match="No test video"):
        sides(replace(annotations, test=()), replace(run.experiment, validate_on="test"))


def test_better_is_more_right_and_then_less_loss() -> None:
    figures = Validation(loss=1.0, top1=0.5)
    assert figures.better_than(None)
    assert Validation(2.0, 0.6).better_than(figures)
    assert Validation(0.9, 0.5).better_than(figures)
    assert not Validation(1.0, 0.5).better_than(figures)
    assert not Validation(0.1, 0.4).better_than(figures)


def test_patience_counts_epochs_without_a_better_one() -> None:
    selection = Selection(patience=2)
    better = [selection.add(Validation(1.0, top1)) for top1 in (0.5, 0.4, 0.6, 0.6)]
    assert better == [True, False, True, False]
    assert not selection.over
    other = Selection(patience=2)
    other.load_state_dict(selection.state_dict())
    assert not other.add(Validation(1.0, 0.6))
    assert other.over
    assert not Selection(None).over
