"""Experiments: round trip of the JSON, and values that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.experiments import EXPERIMENTS, Experiment, paper


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_survives_its_json(name: str) -> None:
    experiment = replace(EXPERIMENTS[name](), weights=Path("a b/w.pt"), seed=7)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "p3d64"}, "Model 'p3d64' is unknown"),
        ({"blocks": ("A", "D")}, "Blocks"),
        ({"blocks": ()}, "Blocks"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"steps": 0}, "steps is 0"),
        ({"rate": -1.0}, "learning rate is -1.0"),
        ({"crop": (200, 200)}, "does not fit"),
    ],
)
def test_bad_values_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(paper(), **change)
