"""What learns and how fast: groups of parameters, the optimiser, the schedule, the average."""

import copy
import math
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import InputError
from twostream.experiments import Experiment
from twostream.models import P3D
from twostream.models.layers import BatchNorm

Rates = tuple[tuple[str, float], ...]


def rate_at(experiment: Experiment, step: int) -> float:
    """The learning rate of a step, counted from 1."""
    begun = step - 1
    if begun < experiment.warmup_steps:
        return experiment.rate * step / (experiment.warmup_steps + 1)
    if experiment.schedule == "drops":
        return experiment.rate * 0.1 ** (begun // experiment.rate_drop_every)
    # Loshchilov and Hutter, ICLR 2017 (arXiv:1608.03983), equation 5, without restarts.
    left = experiment.steps - experiment.warmup_steps
    return (
        experiment.rate * 0.5 * (1 + math.cos(math.pi * (begun - experiment.warmup_steps) / left))
    )


def make_optimiser(model: P3D, experiment: Experiment) -> torch.optim.Optimizer:
    """The optimiser over groups of equal rate, each with its "factor"; freezes what does not learn.

    Raises:
        InputError: A pattern of the rates that fits no parameter, or nothing that learns.
    """
    groups = parameter_groups(model, experiment)
    fused = next(model.parameters()).is_cuda
    if experiment.optimiser == "adamw":
        return torch.optim.AdamW(
            groups,
            experiment.rate,
            betas=(experiment.momentum, 0.999),
            weight_decay=experiment.weight_decay,
            fused=fused,
        )
    return torch.optim.SGD(
        groups,
        experiment.rate,
        momentum=experiment.momentum,
        weight_decay=experiment.weight_decay,
        fused=fused,
    )


def parameter_groups(model: P3D, experiment: Experiment) -> list[dict[str, Any]]:
    """The parameters that learn, by the factor of their learning rate; the others are frozen."""
    names = [name for name, _ in model.named_parameters()]
    for pattern, _ in experiment.rates:
        if not any(_fits(name, pattern) for name in names):
            parts = ", ".join(name for name, _ in model.named_children())
            raise InputError(
                f"The rate of {pattern!r} is that of no parameter; give one of {parts}, "
                "or a part of these."
            )
    _freeze(model, experiment.rates)
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        factor = factor_of(name, experiment)
        if factor == 0:
            parameter.requires_grad_(False)
        elif parameter.requires_grad:
            groups.setdefault(factor, []).append(parameter)
    if not groups:
        raise InputError("No parameter learns; give one a rate above 0.")
    return [{"params": groups[factor], "factor": factor} for factor in sorted(groups)]


def factor_of(name: str, experiment: Experiment) -> float:
    """The learning rate of a parameter over ``experiment.rate``."""
    last = {"fc.weight": experiment.fc_weight_rate, "fc.bias": experiment.fc_bias_rate}
    return _first(name, experiment.rates) * last.get(name, 1.0)


def _freeze(model: nn.Module, rates: Rates) -> None:
    """Hold the BatchNorms that do not learn at their statistics, too."""
    for name, module in model.named_modules():
        if isinstance(module, BatchNorm) and _first(f"{name}.weight", rates) == 0:
            module.freeze()


def _first(name: str, rates: Rates) -> float:
    """The factor of the first pattern that fits; 1 where none does."""
    return next((factor for pattern, factor in rates if _fits(name, pattern)), 1.0)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


class Average:
    """The exponential moving average of a network: its parameters and its statistics.

    average <- d average + (1 - d) network, with d = min(decay, (1 + step) / (10 + step)), so that
    the first steps do not weigh on it for long (as tf.train.ExponentialMovingAverage does).

    Args:
        model: Where the average starts.
        decay: Of the average, from 0 to 1.

    Attributes:
        model: The averaged network, in evaluation mode.
    """

    def __init__(self, model: P3D, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def follow(self, model: P3D, step: int) -> None:
        """Count the network after a step, counted from 1."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for average, value in zip(_tensors(self.model), _tensors(model), strict=True):
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)  # BatchNorm's count of batches


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
