"""One step of training: the mean gradient over a batch of clips, and the optimiser's answer."""

import math
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from flow.errors import InputError
from twostream.data.annotations import Video
from twostream.devices import autocast
from twostream.distributed import World, summing
from twostream.experiments import Experiment
from twostream.feeding import Part
from twostream.log import StepResult
from twostream.memory import keep_freed
from twostream.models import P3D
from twostream.optimisation import Average, make_optimiser, rate_at

NAMED = 8  # videos in a message


class Trainer:
    """A network, its optimiser and its average; one call of ``step`` is one step.

    Args:
        model: With the weights to start from; moved to the device, and frozen where it is to be.
        experiment: How it learns.
        videos: The training list, to name the videos of clips that make a loss that is not finite.
        world: The processes that train together.

    Attributes:
        model: The network.
        tested: The network to validate and to test: the average, where there is one.
    """

    def __init__(
        self, model: P3D, experiment: Experiment, videos: tuple[Video, ...], world: World
    ) -> None:
        self.experiment = experiment
        self.videos = videos
        self.world = world
        if world.device.type == "cpu":
            keep_freed()
        # Kernels in the layout of the clips, or each convolution would turn them round first.
        to_device: Any = model.to
        self.model: P3D = to_device(world.device, memory_format=torch.channels_last_3d).train()
        if experiment.freeze_batchnorm:
            model.freeze_batchnorm()
        self.model.checkpoint_activations = experiment.checkpoint_activations
        self.average = Average(model, experiment.ema) if experiment.ema is not None else None
        self.optimizer = make_optimiser(model, experiment)
        self.learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.network = world.spread(model)

    @property
    def tested(self) -> P3D:
        return self.model if self.average is None else self.average.model

    def step(
        self, step: int, parts: list[Part], stopped_by: Callable[[], int] = lambda: 0
    ) -> StepResult:
        """Follow the mean gradient over all clips of a step, counted from 1.

        Args:
            step: What is random depends on it and the seed alone.
            parts: This process's clips.
            stopped_by: Gives the signal by which this process is asked to stop, or 0.

        Raises:
            InputError: A loss or a gradient that is not finite; the weights are as before.
        """
        torch.manual_seed(_random_seed(self.experiment.seed, step, self.world.rank))
        losses, right = [], []
        for part in parts:
            with summing(self.network, last=part is parts[-1]):
                loss, best = self._forward(part)
                # DistributedDataParallel takes the mean over the processes, not their sum.
                scale = self.world.size / self.experiment.batch
                torch.autograd.backward(loss.sum() * scale)
            losses.append(loss.detach())
            right.append(best)
        norm = clip_grad_norm_(self.learned, self.experiment.clip_norm or math.inf)
        result = self._result(torch.cat(losses), torch.cat(right), norm, stopped_by())
        if not math.isfinite(result.loss_sum + result.gradient_norm):
            raise self._not_finite(step, parts, torch.cat(losses))
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.experiment, step) * group["factor"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.follow(self.model, step)
        return result

    def _forward(self, part: Part) -> tuple[Tensor, Tensor]:
        """The loss of each clip, and whether its best class is right; both (N,)."""
        clips = part.clips.to(self.world.device, non_blocking=True)
        labels = part.labels.to(self.world.device, non_blocking=True)
        with autocast(self.world.device, self.experiment.precision):
            logits = self.network(self.model.input.of_p3d(clips)).float()
        smoothing = self.experiment.label_smoothing
        loss = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return loss, logits.argmax(dim=1) == labels

    def _result(self, losses: Tensor, right: Tensor, norm: Tensor, stop: int) -> StepResult:
        """Over all processes; reading it waits for the device, once a step."""
        counts = losses.new_tensor([len(losses), float(stop > 0)])
        sums = self.world.total(torch.cat((losses.sum()[None], right.sum()[None], counts)))
        loss_sum, hits, clips, asked, gradient_norm = torch.cat((sums, norm[None])).tolist()
        other = int(signal.SIGTERM) if asked else 0
        return StepResult(loss_sum, int(hits), int(clips), gradient_norm, stop or other)

    def _not_finite(self, step: int, parts: list[Part], losses: Tensor) -> InputError:
        """The error that names the clips, of any process, by which the loss is not finite."""
        places = torch.cat([part.videos for part in parts]).to(losses.device)
        found = losses.new_zeros(len(self.videos))
        found[places[~losses.isfinite()]] = 1
        bad = self.world.total(found).nonzero()[:, 0].tolist()
        clips = self.experiment.batch
        if not bad:
            return InputError(
                f"The gradient is not finite at step {step}, although the losses of its clips are; "
                "train again with a lower rate or --precision fp32."
            )
        names = ", ".join(self.videos[place].id for place in bad[:NAMED])
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        return InputError(
            f"The loss is not finite at step {step}, for {len(bad)} of {clips} clips: "
            f"{names}{more}; train again with a lower rate, or look at these videos."
        )

    def state_dict(self) -> dict[str, Any]:
        """What going on needs beside the tested network."""
        own = None if self.average is None else self.model.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "model": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``; the tested network's state was given at the start."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["model"] is not None:
            self.model.load_state_dict(state["model"])


def _random_seed(seed: int, step: int, rank: int) -> int:
    """Of the numbers that one process draws in one step."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
