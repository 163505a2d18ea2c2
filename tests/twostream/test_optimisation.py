"""What learns and how fast: known answers of the schedules, laws of the groups, the average."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flow.errors import InputError
from twostream.experiments import Experiment, demo, frames, paper
from twostream.models import P3D, start_temporal
from twostream.models.layers import BatchNorm
from twostream.optimisation import Average, factor_of, make_optimiser, parameter_groups, rate_at
from twostream.runs import Data, Run


def build(experiment: Experiment) -> P3D:
    torch.manual_seed(0)
    return Run(experiment, Data(Path("l"), Path("s")), "rgb").build(5)


def test_the_rate_falls_to_a_tenth() -> None:
    experiment = replace(demo(), rate=0.5, rate_drop_every=10)
    assert [rate_at(experiment, step) for step in (1, 10, 11, 20, 21)] == pytest.approx(
        [0.5, 0.5, 0.05, 0.05, 0.005]
    )


def test_the_paper_drops_twice_in_its_7500_steps() -> None:
    rates = [rate_at(paper(), step) for step in (1, 3000, 3001, 6000, 6001, 7500)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_the_rate_warms_up_and_falls_along_half_a_cosine() -> None:
    experiment = replace(
        demo(), rate=0.4, schedule="cosine", warmup_steps=3, steps=103, rate_drop_every=1
    )
    rates = [rate_at(experiment, step) for step in range(1, 104)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rates[53] == pytest.approx(0.2)
    assert rates[28] == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 1e-3 * 0.4


def test_each_parameter_that_learns_is_in_one_group_at_its_rate() -> None:
    experiment = replace(
        demo(),
        fc_weight_rate=10.0,
        fc_bias_rate=20.0,
        rates=(("conv1", 0.0), ("res2.0.temporal", 3.0), ("res2", 0.5), ("*.temporal*", 2.0)),
    )
    model = build(experiment)
    groups = parameter_groups(model, experiment)
    factors = {id(p): group["factor"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(factors)
    wanted = {
        "fc.weight": 10.0,
        "fc.bias": 20.0,
        "res2.0.temporal.conv.weight": 3.0,
        "res2.0.spatial.conv.weight": 0.5,
        "res3.0.temporal.conv.weight": 2.0,
        "res5.0.restore.conv.weight": 1.0,
    }
    for name, parameter in model.named_parameters():
        if name in wanted:
            assert factors[id(parameter)] == wanted[name], name
        assert parameter.requires_grad == (not name.startswith("conv1."))
        assert (id(parameter) in factors) == parameter.requires_grad


def test_what_does_not_learn_is_frozen_with_its_batchnorm() -> None:
    experiment = replace(demo(), rates=(("conv1", 0.0), ("res3", 0.0)))
    model = build(experiment).train()
    make_optimiser(model, experiment)
    frozen = {
        name.split(".")[0]
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and module.frozen
    }
    assert frozen == {"conv1", "res3"}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    for name, value in model.state_dict().items():
        if name.startswith(("conv1.", "res3.")):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(
        model.res2[0].reduce.bn.running_mean, before["res2.0.reduce.bn.running_mean"]
    )


def test_a_prefix_is_a_whole_name() -> None:
    """``res2`` is not ``res20``, nor is ``res2.1`` ``res2.10``."""
    experiment = replace(demo(), rates=(("res2.1", 0.0),))
    assert factor_of("res2.1.spatial.conv.weight", experiment) == 0
    assert factor_of("res2.10.spatial.conv.weight", experiment) == 1


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ((("res9", 0.0),), r"'res9' is that of no parameter; give one of conv1, res2"),
        ((("*", 0.0),), "No parameter learns"),
    ],
)
def test_rates_that_mean_nothing_are_refused(rates: Any, message: str) -> None:
    experiment = replace(demo(), rates=rates)
    with pytest.raises(InputError, match=message):
        make_optimiser(build(experiment), experiment)


def test_frames_train_a_2d_network() -> None:
    """On one frame the held temporal kernels change nothing: neither now nor after steps."""
    experiment = replace(frames(), model="p3d_small", freeze_batchnorm=False, dropout=0.0)
    model = build(experiment)
    start_temporal(model, experiment.temporal_start)
    optimiser = make_optimiser(model, experiment)
    learned = {id(p) for group in optimiser.param_groups for p in group["params"]}
    temporal = [name for name, p in model.named_parameters() if id(p) not in learned]
    assert temporal
    assert all(".temporal" in name for name in temporal)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(2, 3, 1, 32, 32)).sum().backward()
    optimiser.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed
    assert not any(".temporal" in name for name in changed)


def test_optimisers_are_what_they_are_called() -> None:
    sgd = make_optimiser(build(demo()), demo())
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.9
    assert sgd.defaults["weight_decay"] == demo().weight_decay
    experiment = replace(demo(), optimiser="adamw", momentum=0.8, weight_decay=0.05)
    adamw = make_optimiser(build(experiment), experiment)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["betas"] == (0.8, 0.999)
    assert adamw.defaults["weight_decay"] == 0.05


def test_the_average_follows_its_formula() -> None:
    """Known answer: d = min(decay, (1 + step) / (10 + step))."""
    model = build(demo())
    average = Average(model, decay=0.2)
    bias, expected = model.fc.bias, torch.zeros(5)
    for step in range(1, 5):
        with torch.no_grad():
            bias += step
        decay = min(0.2, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * bias.detach()
        average.follow(model, step)
    torch.testing.assert_close(average.model.fc.bias.detach(), expected)
    assert not any(p.requires_grad for p in average.model.parameters())
    assert not average.model.training


def test_the_average_takes_the_statistics_along() -> None:
    model = build(demo()).train()
    average = Average(model, decay=0.9)
    model(torch.randn(2, 3, 4, 32, 32))
    average.follow(model, 1)
    bn, own = average.model.conv1.bn, model.conv1.bn
    torch.testing.assert_close(bn.running_mean, (1 - 2 / 11) * own.running_mean)
    assert bn.num_batches_tracked == own.num_batches_tracked == 1
