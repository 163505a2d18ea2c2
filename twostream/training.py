"""Training of one stream: a plain loop over random clips."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from flow.errors import InputError
from flow.files import write_atomically
from twostream.data.annotations import Annotations
from twostream.data.clips import TrainingClips, batches, epoch_order, worker_context, worker_init
from twostream.experiments import Experiment
from twostream.log import Epoch, Log
from twostream.models import P3D, load_weights, parameter_groups, start_temporal
from twostream.runs import Checkpoint, Run, refuse_other


def train(run: Run, folder: Path, workers: int = 2, device: str = "auto") -> Epoch:
    """Train the run in ``folder``, going on from the checkpoint that is there.

    A checkpoint is written after every epoch. Which clips a step sees depends on the seed and the
    step alone, not on the number of workers or on an interruption.

    Returns:
        The last row of the log.

    Raises:
        InputError: Lists or store that do not fit, another run's folder, weights that do not fit,
            or a loss that is not finite.
    """
    refuse_other(folder, run)
    annotations, absent = run.data.annotations("train")
    _make_folder(folder)
    write_atomically(folder / "run.json", run.to_json().encode())
    report_missing(absent, folder / "missing_train.txt")
    torch.manual_seed(run.experiment.seed)
    model = run.build(len(annotations.classes))
    start_temporal(model, run.experiment.temporal_start)
    done, training = _restore(run, folder, model)
    if run.experiment.freeze_batchnorm:
        model.freeze_batchnorm()
    trainer = _Trainer(run.experiment, model.to(choose_device(device)), training)
    clips = TrainingClips(
        run.data.store,
        annotations.train,
        run.stream,
        length=run.experiment.clip_length,
        geometry=run.experiment.geometry(),
        seed=run.experiment.seed,
        short=run.experiment.short,
        mirror=run.experiment.mirror,
    )
    with Log(folder, run.stream, run.experiment, len(clips), done) as log:
        for step, parts in enumerate(_steps(clips, run.experiment, done, workers), done + 1):
            log.add(step, *trainer.step(step, parts))
            if log.epoch_ends(step):
                log.write(step, trainer.rate(step))
                _save(folder, run, annotations, step, trainer)
    return log.rows[-1]


def _restore(run: Run, folder: Path, model: P3D) -> tuple[int, dict[str, Any] | None]:
    """Load the folder's checkpoint, or else the weights to start from.

    Returns:
        The steps that are done, and what the optimiser needs to go on.
    """
    path = folder / "checkpoint.pt"
    if path.is_file():
        checkpoint = Checkpoint.load(path)
        model.load_state_dict(checkpoint.model)
        print(f"{path} has {checkpoint.step} of {run.experiment.steps} steps; going on from there")
        return checkpoint.step, checkpoint.training
    if run.experiment.weights is not None:
        report = load_weights(model, run.experiment.weights)
        if report.inflated:
            start_temporal(model, run.experiment.temporal_start)
        print(report)
    return 0, None


def _save(folder: Path, run: Run, annotations: Annotations, step: int, trainer: "_Trainer") -> None:
    Checkpoint(
        run,
        annotations.classes,
        tuple(video.id for video in annotations.train),
        step,
        trainer.model.state_dict(),
        {"optimizer": trainer.optimizer.state_dict(), "random": torch.get_rng_state()},
    ).save(folder / "checkpoint.pt")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(
            f"{folder} cannot be made ({problem.strerror}); give another run folder."
        ) from None


def choose_device(device: str = "auto") -> torch.device:
    """The device of that name; "auto" is the GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(
            f"Device {device!r} cannot be used ({reason}); give auto or cpu."
        ) from None
    return chosen


def report_missing(absent: tuple[str, ...], path: Path) -> None:
    """Name the listed videos that are left out: the count in a line, the names in a file."""
    if absent:
        write_atomically(path, ("\n".join(absent) + "\n").encode())
        print(f"{len(absent):,} listed videos are not in the store and left out; see {path}")


class _Batches(Sampler[list[tuple[int, int]]]):
    """Keys (epoch, video) of the clips that pass the network together, from a step on.

    Epochs follow each other without a gap: a step of 128 clips from 80 videos takes all 80 once
    and 48 of them again.
    """

    def __init__(self, videos: int, experiment: Experiment, start: int) -> None:
        self.videos = videos
        self.experiment = experiment
        self.start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batch, at_once = self.experiment.batch, self.experiment.clips_at_once
        order_of, order = -1, epoch_order(self.videos, self.experiment.seed, 0)
        for step in range(self.start, self.experiment.steps):
            keys = []
            for draw in range(step * batch, (step + 1) * batch):
                epoch, position = divmod(draw, self.videos)
                if epoch != order_of:
                    order_of, order = epoch, epoch_order(self.videos, self.experiment.seed, epoch)
                keys.append((epoch, int(order[position])))
            for first in range(0, batch, at_once):
                yield keys[first : first + at_once]


def _steps(
    clips: TrainingClips, experiment: Experiment, start: int, workers: int
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The clips and labels of each step, in parts that pass the network together."""
    loader = DataLoader(
        clips,
        batch_sampler=_Batches(len(clips), experiment, start),
        num_workers=workers,
        worker_init_fn=worker_init,
        multiprocessing_context=worker_context(workers),
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or it would draw from dropout's numbers
    )
    parts: list[tuple[Tensor, Tensor]] = []
    for tensors, labels, _ in batches(loader):
        parts.append((tensors, labels))
        if sum(len(part[1]) for part in parts) == experiment.batch:
            yield parts
            parts = []


class _Trainer:
    """A network and its optimiser; one call is one step."""

    def __init__(self, experiment: Experiment, model: P3D, state: dict[str, Any] | None) -> None:
        self.experiment = experiment
        self.model = model.train()
        self.device = next(model.parameters()).device
        groups = parameter_groups(
            model,
            experiment.rate,
            experiment.weight_decay,
            experiment.fc_weight_rate,
            experiment.fc_bias_rate,
        )
        self.optimizer = torch.optim.SGD(groups, lr=experiment.rate, momentum=experiment.momentum)
        self.ratios = [group["lr"] / experiment.rate for group in self.optimizer.param_groups]
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1: a tenth after every so many."""
        drops = (step - 1) // self.experiment.rate_drop_every
        return self.experiment.rate * 0.1**drops

    def step(self, step: int, parts: list[tuple[Tensor, Tensor]]) -> tuple[float, int, int]:
        """Follow the mean gradient over the parts' clips; summed loss, right clips, all clips."""
        clips = sum(len(labels) for _, labels in parts)
        loss_sum, right = 0.0, 0
        for tensors, labels in parts:
            labels = labels.to(self.device, non_blocking=True)
            images = tensors.to(self.device, non_blocking=True)
            logits = self.model(self.model.input.of_p3d(images))
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            torch.autograd.backward(loss / clips)
            loss_sum += loss.item()
            right += int((logits.argmax(dim=1) == labels).sum())
        if not math.isfinite(loss_sum):
            raise InputError(
                f"The loss is {loss_sum} at step {step}; "
                "train again with a lower rate, or find the clip that is not sound."
            )
        for group, ratio in zip(self.optimizer.param_groups, self.ratios, strict=True):
            group["lr"] = self.rate(step) * ratio
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss_sum, right, clips
