"""Experiments: round trip of the JSON, the paper's numbers, and values that are refused."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.experiments import (
    EXPERIMENTS,
    Experiment,
    frames,
    modern,
    paper,
    paper_flow,
    takes_width,
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_survives_its_json(name: str) -> None:
    experiment = replace(EXPERIMENTS[name](), weights=Path("a b/w.pt"), seed=7)
    assert Experiment.from_json(experiment.to_json()) == experiment


def test_fields_of_every_form_survive_their_json() -> None:
    experiment = replace(
        modern(),
        rates=(("conv1", 0.0), ("*.temporal*", 2.0)),
        scale=(0.5, 1.0),
        resize=None,
        patience=3,
        validate_on="held_out",
    )
    assert Experiment.from_json(experiment.to_json()) == experiment


def test_the_paper_is_the_paper() -> None:
    """Qiu, Yao, Mei 2017, section 3.3, and its author's replies."""
    recipe = paper()
    assert (recipe.batch, recipe.steps, recipe.rate, recipe.rate_drop_every) == (
        128,
        7500,
        0.001,
        3000,
    )
    assert (recipe.dropout, recipe.freeze_batchnorm, recipe.clip_length) == (0.9, True, 16)
    assert (recipe.resize, recipe.crop, recipe.test_clips) == ((182, 242), (160, 160), 20)
    assert (recipe.fc_weight_rate, recipe.fc_bias_rate) == (10, 20)
    assert (recipe.optimiser, recipe.momentum, recipe.schedule) == ("sgd", 0.9, "drops")
    assert recipe.temporal_start == "gaussian"


def test_the_papers_other_runs_differ_in_what_they_must() -> None:
    def differing(experiment: Experiment) -> set[str]:
        base = asdict(paper())
        return {name for name, value in asdict(experiment).items() if value != base[name]}

    assert differing(paper_flow()) == {"dropout", "scale"}
    assert differing(frames()) == {"clip_length", "clips_at_once", "temporal_start", "rates"}


def test_the_width_is_that_of_resnet_18_and_34() -> None:
    assert [takes_width(name) for name in ("p3d63", "p3d_resnet18", "p3d_resnet34")] == [
        False,
        True,
        True,
    ]
    assert replace(paper(), model="p3d_resnet34", width_factor=0.5).width_factor == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "p3d64"}, "Model 'p3d64' is unknown"),
        ({"blocks": ("A", "D")}, "Blocks"),
        ({"blocks": ()}, "Blocks"),
        ({"width_factor": 0.5}, "p3d63 has no width_factor; give it to one of p3d_resnet18"),
        ({"lineage": "caffe"}, "Lineage caffe is that of no weights"),
        ({"dropout": 1.0}, "dropout is 1.0; give 0 or more and less than 1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"steps": 0}, "steps is 0; give 1 or more"),
        ({"rate": -1.0}, "rate is -1.0; give more than 0"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"warmup_steps": 8000}, "warmup_steps is 8000; give 0 or more and 7500 or less"),
        ({"ema": 1.0}, "ema is 1.0; give more than 0 and less than 1"),
        ({"held_out": 0.0}, "held_out is 0.0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"rates": (("conv1", -1.0),)}, "rate factor of 'conv1' is -1.0"),
        ({"patience": 2}, "patience of 2 needs held-out videos"),
        ({"patience": 2, "validate_on": "test"}, "patience of 2 needs held-out videos"),
        ({"seed": -1}, "seed is -1"),
        ({"crop": (200, 200)}, "does not fit"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"jitter": 2.0}, "jitter"),
    ],
)
def test_bad_values_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(paper(), **change)
