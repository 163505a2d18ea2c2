"""Validation: how well the network does on videos that it is not trained on, epoch by epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.data.holding_out import hold_out
from twostream.devices import autocast
from twostream.distributed import World
from twostream.experiments import Experiment
from twostream.feeding import Part, packed_loader, protocol_clips, read_parts
from twostream.models import P3D
from twostream.protocols import own
from twostream.runs import Run


@dataclass(frozen=True)
class Sides:
    """Videos to train on, and those to validate on, of which there may be none."""

    train: tuple[Video, ...]
    validation: tuple[Video, ...]


def sides(annotations: Annotations, experiment: Experiment) -> Sides:
    """Who trains and who validates.

    Raises:
        InputError: No group can be held out, or no test video is stored to validate on.
    """
    if experiment.validate_on == "nothing":
        return Sides(annotations.train, ())
    if experiment.validate_on == "test":
        if not annotations.test:
            raise InputError(
                f"No test video of {annotations.name} split {annotations.split} is stored; "
                "extract them, or validate on held_out videos."
            )
        return Sides(annotations.train, annotations.test)
    return Sides(*hold_out(annotations.train, experiment.held_out, experiment.seed))


@dataclass(frozen=True)
class Validation:
    """Means over the validation videos.

    Attributes:
        loss: Minus the logarithm of the probability of the right class, nats; a video's
            probabilities are the mean of its clips' softmax.
        top1: Share of the videos whose best class is right.
    """

    loss: float
    top1: float

    def better_than(self, other: "Validation | None") -> bool:
        """More videos right; where equally many, a smaller loss."""
        return other is None or (self.top1, -self.loss) > (other.top1, -other.loss)


class Validator:
    """Validates a network on a share of the videos, together with the other processes.

    Args:
        run: Tells the stream, the store and the clips.
        videos: All videos to validate on.
        workers: Processes that read clips; they stay between validations.
        world: The processes that divide the videos among themselves.
    """

    def __init__(self, run: Run, videos: tuple[Video, ...], workers: int, world: World) -> None:
        self.experiment = run.experiment
        self.world = world
        self.clips = run.experiment.validation_clips
        self.videos = tuple(world.share(videos))
        self.loader: DataLoader[Any] | None = None
        if self.videos:
            protocol = replace(own(run.experiment), clips=self.clips)
            self.loader = packed_loader(
                protocol_clips(run.data.store, self.videos, run.stream, protocol),
                run.experiment.clips_at_once,
                workers,
                pin=world.device.type == "cuda",
                stay=True,
            )

    def __call__(self, model: P3D, go_on: Callable[[], None] = lambda: None) -> Validation:
        """The figures of ``model``, which is left in evaluation mode.

        Args:
            model: The network.
            go_on: Called between batches; raises what is to end the validation.

        Raises:
            InputError: A loss that is not finite.
        """
        device = self.world.device
        shape = len(self.videos), model.fc.out_features
        probabilities = torch.zeros(shape, dtype=torch.float64, device=device)
        model.eval()
        with torch.no_grad(), autocast(device, self.experiment.precision):
            for part in read_parts(self.loader) if self.loader else ():
                probabilities += self._sums(model, part)
                go_on()
        figures = self._figures(probabilities / self.clips)
        loss, right, videos = self.world.total(figures).tolist()
        if not math.isfinite(loss):
            raise InputError(
                "The network gives no finite scores in the validation; "
                "train again with a lower rate, or go on with --precision fp32."
            )
        return Validation(loss / videos, right / videos)

    def _sums(self, model: P3D, part: Part) -> torch.Tensor:
        """Of each video the summed softmax of its clips in this part: (videos, classes)."""
        device = self.world.device
        logits = model(model.input.of_p3d(part.clips.to(device, non_blocking=True)))
        shape = len(self.videos), logits.shape[1]
        sums = torch.zeros(shape, dtype=torch.float64, device=device)
        sums.index_add_(0, part.videos.to(device), logits.double().softmax(1))
        return sums

    def _figures(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Summed loss, right videos and videos, of probabilities (videos, classes)."""
        labels = torch.tensor([video.label for video in self.videos], dtype=torch.int64)
        labels = labels.to(probabilities.device)
        surprise = -probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
        loss = surprise.gather(1, labels[:, None]).sum()
        right = (probabilities.argmax(1) == labels).sum()
        return torch.stack((loss, right, torch.full_like(loss, len(labels))))


class Selection:
    """Which epoch is the best so far, and whether it is time to end.

    Args:
        patience: Epochs without a better one after which training ends; None: never.

    Attributes:
        best: The figures of the best epoch.
        waited: Epochs since.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best: Validation | None = None
        self.waited = 0

    def add(self, validation: Validation) -> bool:
        """Count an epoch; whether it is the best."""
        if validation.better_than(self.best):
            self.best, self.waited = validation, 0
            return True
        self.waited += 1
        return False

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` goes on from."""
        best = None if self.best is None else [self.best.loss, self.best.top1]
        return {"best": best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self.best = None if state["best"] is None else Validation(*state["best"])
        self.waited = state["waited"]
