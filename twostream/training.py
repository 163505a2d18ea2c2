"""Training of one stream: a plain loop over random clips."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import torch

from flow.errors import InputError
from flow.files import make_writable, remove_leftovers, write_atomically
from twostream.checkpoints import Checkpoints
from twostream.data.annotations import Annotations, Video
from twostream.distributed import World, alone
from twostream.feeding import steps, training_clips
from twostream.fusion_files import UNSEEN
from twostream.image_settings import describe
from twostream.initialisation import initialise
from twostream.interruption import Interrupted, Interruption
from twostream.linear_head import Known, fit_last_layer
from twostream.log import Epoch, Log
from twostream.models import P3D
from twostream.optimisation import rate_at
from twostream.readers import READERS
from twostream.runs import Checkpoint, Run, refuse_other, report_missing
from twostream.trainer import Trainer
from twostream.validation import Selection, Sides, Validator, sides


def train(
    run: Run,
    folder: Path,
    workers: int = READERS,
    world: World | None = None,
    *,
    minutes: float = 10.0,
    keep: int = 1,
    known: Known | None = None,
) -> Epoch:
    """Train the run in ``folder``, going on from the checkpoint that is there.

    On a CPU a run that was interrupted, however often, ends bit for bit as one that was not: which
    clips a step sees and which numbers it draws depend on the seed and the step alone.

    Args:
        run: What to train on what.
        folder: Its folder.
        workers: Processes that read clips.
        world: The processes that train together; where not given, this one, on the GPU or else the
            CPU.
        minutes: The longest time between two checkpoints.
        keep: How many of the newest checkpoints to keep.
        known: Features of networks as they start, to share among the splits of a data set.

    Returns:
        The last row of the log.

    Raises:
        InputError: Lists or store that do not fit, another run's folder, weights that do not fit,
            or a loss that is not finite.
        Interrupted: By Ctrl-C or SIGTERM, after a checkpoint.
    """
    world = world or alone()
    if run.experiment.batch < world.size:
        raise InputError(
            f"A step of {run.experiment.batch} clips is too small for {world.size} processes; "
            "give a larger batch or fewer processes."
        )
    refuse_other(folder, run)
    annotations, absent = run.data.annotations("train")
    videos = sides(annotations, run.experiment)
    make_writable(folder)
    if world.main:
        remove_leftovers(folder)
        write_atomically(folder / "run.json", run.to_json().encode())
        report_missing(absent, folder / "missing_train.txt")
    checkpoints = Checkpoints(folder, minutes, keep)
    torch.manual_seed(run.experiment.seed)
    model = run.build(len(annotations.classes))
    begun = _begin(model, run, annotations, videos, checkpoints, workers, world, known)
    log = Log(folder, run.stream, run.experiment, len(videos.train), begun.step, world, workers)
    with log, Interruption(repeated=world.size == 1) as interruption:
        _Loop(model, videos, begun, checkpoints, log, interruption, workers, world).go()
    return log.rows[-1]


class _Loop:
    """A training from a checkpoint on."""

    def __init__(
        self,
        model: P3D,
        videos: Sides,
        begun: Checkpoint,
        checkpoints: Checkpoints,
        log: Log,
        interruption: Interruption,
        workers: int,
        world: World,
    ) -> None:
        run = begun.run
        self.experiment = run.experiment
        self.checkpoints = checkpoints
        self.log = log
        self.interruption = interruption
        self.world = world
        self.trainer = Trainer(model, run.experiment, videos.train, world)
        self.selection = Selection(run.experiment.patience)
        self.validator = None
        if videos.validation:
            self.validator = Validator(run, videos.validation, workers, world)
        clips = training_clips(run, videos.train)
        self.feed = steps(clips, run.experiment, begun.step, workers, world)
        for name, state in begun.training.items():
            self._parts()[name].load_state_dict(state)
        images = describe(run.data.store, videos.train[0].id)
        self.begun = replace(begun, model={}, training={}, images=images)
        self.step = begun.step

    def go(self) -> None:
        """Make the steps that are left; where a signal comes, write a checkpoint and leave."""
        try:
            if self.log.row_is_due(self.step):  # interrupted between a step and its row
                self._end_epoch()
            while self.step < self.experiment.steps and not self.selection.over:
                if signal := self._next_step():
                    raise Interrupted(self.step, signal)
                if self.log.row_is_due(self.step):
                    self._end_epoch()
                elif self.checkpoints.due(epoch_ends=False):
                    self._save()
            self._leave_if_asked()
        except Interrupted:
            self._save()
            raise

    def _next_step(self) -> int:
        """One step; the signal that asks to stop after it, or 0."""
        started = time.perf_counter()
        parts = next(self.feed)
        waited = time.perf_counter() - started
        result = self.trainer.step(self.step + 1, parts, self.interruption.received)
        self.step += 1
        self.log.add(result, time.perf_counter() - started, waited)
        return result.signal

    def _end_epoch(self) -> None:
        """Validate, write the row, and save where that is due."""
        validation, best = None, False
        if self.validator is not None:
            validation = self.validator(self.trainer.tested, self._leave_if_asked)
            self.trainer.model.train()
            if self.experiment.validate_on == "held_out":
                best = self.selection.add(validation)
        self.log.write(self.step, rate_at(self.experiment, self.step), validation)
        last = self.step == self.experiment.steps or self.selection.over
        if best or last or self.checkpoints.due(epoch_ends=True):
            self._save(best)

    def _leave_if_asked(self) -> None:
        if signal := self.interruption.received():
            raise Interrupted(self.step, signal)

    def _save(self, best: bool = False) -> None:
        if self.world.main:
            model = self.trainer.tested.state_dict()
            training = {name: part.state_dict() for name, part in self._parts().items()}
            now = replace(self.begun, step=self.step, model=model, training=training)
            self.checkpoints.save(now, best)

    def _parts(self) -> dict[str, Trainer | Selection | Log]:
        """What a checkpoint holds beside the network."""
        return {"trainer": self.trainer, "selection": self.selection, "log": self.log}


def _begin(
    model: P3D,
    run: Run,
    annotations: Annotations,
    videos: Sides,
    checkpoints: Checkpoints,
    workers: int,
    world: World,
    known: Known | None,
) -> Checkpoint:
    """Where training goes on from, or begins; ``model`` gets its weights."""
    digest = _digest(videos.train)
    if before := checkpoints.load():
        if before.list_sha256 != digest:
            raise InputError(
                f"{checkpoints.newest} was trained on another list than {run.data.lists} and "
                f"{run.data.store} now make; give another folder, or the list as it was."
            )
        model.load_state_dict(before.model)
        line = f"{checkpoints.newest} has {before.step} of {run.experiment.steps} steps"
        if world.device.type == "cuda":
            line += "; on a GPU the rest equals an uninterrupted run to rounding, not bit for bit"
        world.say(line)
        return replace(before, run=run)
    start = initialise(model, run, annotations, videos.validation)
    world.say(start.notes)
    if run.experiment.last_layer == "fitted":
        trained = replace(annotations, train=videos.train)
        fit = fit_last_layer(model, run, trained, workers, world, known)
        world.say(fit.said)
        if fit.unseen is not None:
            fit.unseen.save(checkpoints.newest.with_name(UNSEEN))
    return Checkpoint(
        run,
        annotations.name,
        annotations.classes,
        trained_on=tuple(sorted(start.seen | {video.id for video in annotations.train})),
        held_out=tuple(sorted({v.id for v in annotations.train} - {v.id for v in videos.train})),
        list_sha256=digest,
        step=0,
        model=model.state_dict(),
        training={},
    )


def _digest(videos: tuple[Video, ...]) -> str:
    lines = "".join(f"{video.id}\n{video.label}\n" for video in videos)
    return hashlib.sha256(lines.encode()).hexdigest()
