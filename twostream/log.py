"""What a training says of itself: a bar, a line an epoch, log.csv, and curves for TensorBoard."""

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from flow.errors import InputError
from flow.files import write_atomically
from flow.progress import progress_bar
from twostream.distributed import World
from twostream.experiments import Experiment
from twostream.streams import Stream
from twostream.validation import Validation

MUCH_WAITING = 0.2


@dataclass(frozen=True)
class StepResult:
    """What a step says, over all processes.

    Attributes:
        loss_sum: Sum of the clips' losses, nats.
        right: Clips whose best class was right, dropout included.
        clips: Clips.
        gradient_norm: Norm of the gradient over all parameters, before it was clipped.
        signal: The number of the signal that asks to stop; 0: none.
    """

    loss_sum: float
    right: int
    clips: int
    gradient_norm: float
    signal: int = 0


@dataclass(frozen=True)
class Epoch:
    """A row of log.csv: means over the steps since the row before.

    Attributes:
        epoch: How often the training list has been gone through.
        step: Steps since the start.
        rate: Learning rate of the last of them.
        loss: Mean loss of a clip, nats.
        clip_top1: Share of the training clips whose best class was right, dropout included.
        gradient_norm: The largest norm of a step's gradient, before it was clipped.
        clips_per_second: Loading included, validation and checkpoints not.
        waiting: Share of that time in which the network waited for clips.
        validation_loss: Mean over the validation videos, nats; None where there was no validation.
        validation_top1: Share of the validation videos whose best class was right.
    """

    epoch: float
    step: int
    rate: float
    loss: float
    clip_top1: float
    gradient_norm: float
    clips_per_second: float
    waiting: float
    validation_loss: float | None
    validation_top1: float | None


@dataclass
class _Sums:
    """Over the steps since the last row."""

    loss: float = 0.0
    right: int = 0
    clips: int = 0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0


class Log:
    """The log of a training from step ``done`` on; rows of later steps are written anew.

    Args:
        folder: Of the run.
        stream: For the lines.
        experiment: Tells the steps.
        videos: Videos on the training list.
        done: Steps that are done.
        world: Whose main process writes and prints.
        workers: Processes that read clips; for the warning that they are too few.
    """

    def __init__(
        self,
        folder: Path,
        stream: Stream,
        experiment: Experiment,
        videos: int,
        done: int,
        world: World,
        workers: int,
    ) -> None:
        self.path = folder / "log.csv"
        self.stream = stream
        self.experiment = experiment
        self.videos = videos
        self.main = world.main
        self.workers = workers
        self.steps_an_epoch = max(1, round(videos / experiment.batch))
        self.rows = [row for row in read_log(self.path) if row.step <= done]
        self.curves = _curves(folder / "curves", done) if world.main else None
        self.bar = progress_bar(experiment.steps, " steps", shown=world.main)
        self.bar.initial = self.bar.n = done
        self.sums = _Sums()
        self._first = True
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.close()
        if self.curves is not None:
            self.curves.close()

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` goes on from in the middle of an epoch."""
        return asdict(self.sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self.sums = _Sums(**state)

    def add(self, result: StepResult, seconds: float, waited: float) -> None:
        """Count a step of so many seconds, of which it waited for its clips."""
        if self._first:  # it waited for the processes to start
            seconds, waited, self._first = seconds - waited, 0.0, False
        sums = self.sums
        sums.loss += result.loss_sum
        sums.right += result.right
        sums.clips += result.clips
        sums.gradient_norm = max(sums.gradient_norm, result.gradient_norm)
        sums.seconds += seconds
        sums.waited += waited
        self.bar.set_postfix_str(self._figures(), refresh=False)
        self.bar.update(1)

    def row_is_due(self, step: int) -> bool:
        """Whether an epoch, or the training, ends with this step and its row is not written."""
        ends = step % self.steps_an_epoch == 0 or step == self.experiment.steps
        return ends and self.sums.clips > 0

    def write(self, step: int, rate: float, validation: Validation | None = None) -> None:
        """Write the row of the steps since the last one."""
        sums = self.sums
        row = Epoch(
            epoch=step * self.experiment.batch / self.videos,
            step=step,
            rate=rate,
            loss=sums.loss / sums.clips,
            clip_top1=sums.right / sums.clips,
            gradient_norm=sums.gradient_norm,
            clips_per_second=sums.clips / sums.seconds,
            waiting=sums.waited / sums.seconds,
            validation_loss=validation.loss if validation else None,
            validation_top1=validation.top1 if validation else None,
        )
        self.rows.append(row)
        if self.main:
            self._publish(row)
        self.sums = _Sums()

    def _publish(self, row: Epoch) -> None:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, [field.name for field in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_atomically(self.path, table.getvalue().encode())
        if self.curves is not None:
            for name, value in asdict(row).items():
                if name not in ("epoch", "step") and value is not None:
                    self.curves.add_scalar(name, value, row.step)
        tqdm.write(self._line(row))
        if row.waiting > MUCH_WAITING and not self._warned:
            self._warned = True
            tqdm.write(
                f"{row.waiting:.0%} of the time goes into waiting for clips; "
                f"give more than {self.workers} --workers, or a store of smaller images"
            )

    def _line(self, row: Epoch) -> str:
        left = (self.experiment.steps - row.step) * self.experiment.batch / row.clips_per_second
        line = (
            f"{self.stream} epoch {row.epoch:5.1f}  step {row.step}/{self.experiment.steps}  "
            f"rate {row.rate:.2g}  {self._figures()}  {tqdm.format_interval(left)} left"
        )
        if row.validation_top1 is not None:
            line += f"  validation: loss {row.validation_loss:.3f}, top-1 {row.validation_top1:.1%}"
        return line

    def _figures(self) -> str:
        sums = self.sums
        return (
            f"loss {sums.loss / sums.clips:.3f}  clip top-1 {sums.right / sums.clips:6.1%}  "
            f"{sums.clips / sums.seconds:.1f} clips/s  {sums.waited / sums.seconds:.0%} waiting"
        )


def read_log(path: Path) -> list[Epoch]:
    """The rows of a log.csv; none where there is no file.

    Raises:
        InputError: A file with other columns or with what is no number.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            return [_row(row) for row in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(
            f"{path} is no log of a training ({type(problem).__name__}: {problem}); move it away."
        ) from problem


def _row(cells: dict[str, str]) -> Epoch:
    numbers = {name: float(cell) if cell else None for name, cell in cells.items()}
    return Epoch(**{**numbers, "step": int(cells["step"])})  # type: ignore[arg-type]


def _curves(folder: Path, done: int) -> Any:
    """A TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed, so no curves are written; log.csv has the figures")
        return None
    return SummaryWriter(str(folder), purge_step=done + 1)
