"""What a training says of itself: a bar, a line an epoch, log.csv, and curves for TensorBoard."""

import csv
import io
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from flow.files import write_atomically
from twostream.experiments import Experiment
from twostream.streams import Stream


@dataclass(frozen=True)
class Epoch:
    """A row of log.csv: means over the steps since the row before.

    Attributes:
        epoch: How often the training list has been gone through.
        step: Steps since the start.
        rate: Learning rate of the last of them.
        loss: Mean cross-entropy of a clip, nats.
        clip_top1: Share of the training clips whose best class was right, dropout included.
        clips_per_second: Loading included.
    """

    epoch: float
    step: int
    rate: float
    loss: float
    clip_top1: float
    clips_per_second: float


class Log:
    """The log of a training from step ``done`` on; rows of later steps are written anew."""

    def __init__(
        self, folder: Path, stream: Stream, experiment: Experiment, videos: int, done: int
    ) -> None:
        self.path = folder / "log.csv"
        self.stream = stream
        self.experiment = experiment
        self.videos = videos
        self.steps_an_epoch = max(1, round(videos / experiment.batch))
        self.rows = [row for row in read_log(self.path) if row.step <= done]
        self.curves = _curves(folder / "curves", done)
        self.bar = tqdm(
            total=experiment.steps, initial=done, unit="step", disable=None, leave=False
        )
        self._begin()

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

    def add(self, step: int, loss_sum: float, right: int, clips: int) -> None:
        """Count a step: summed loss, clips that were right, clips."""
        self.loss_sum += loss_sum
        self.right += right
        self.clips += clips
        self.bar.set_postfix_str(f"loss {self.loss_sum / self.clips:.3f}", refresh=False)
        self.bar.update(1)

    def epoch_ends(self, step: int) -> bool:
        """Whether a row is due after this step."""
        return step % self.steps_an_epoch == 0 or step == self.experiment.steps

    def write(self, step: int, rate: float) -> None:
        """Write the row of the steps since the last one."""
        row = Epoch(
            epoch=step * self.experiment.batch / self.videos,
            step=step,
            rate=rate,
            loss=self.loss_sum / self.clips,
            clip_top1=self.right / self.clips,
            clips_per_second=self.clips / (time.perf_counter() - self.begun),
        )
        self.rows.append(row)
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, [field.name for field in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_atomically(self.path, table.getvalue().encode())
        if self.curves is not None:
            for name in ("loss", "clip_top1", "rate", "clips_per_second"):
                self.curves.add_scalar(name, getattr(row, name), step)
        tqdm.write(self._line(row))
        self._begin()

    def _line(self, row: Epoch) -> str:
        left = (self.experiment.steps - row.step) * self.experiment.batch / row.clips_per_second
        return (
            f"{self.stream} epoch {row.epoch:5.1f}  step {row.step}/{self.experiment.steps}  "
            f"rate {row.rate:.2g}  loss {row.loss:.3f}  clip top-1 {row.clip_top1:6.1%}  "
            f"{row.clips_per_second:.1f} clips/s  {tqdm.format_interval(left)} left"
        )

    def _begin(self) -> None:
        self.loss_sum, self.right, self.clips = 0.0, 0, 0
        self.begun = time.perf_counter()


def read_log(path: Path) -> list[Epoch]:
    """The rows of a log.csv; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            Epoch(
                epoch=float(row["epoch"]),
                step=int(row["step"]),
                rate=float(row["rate"]),
                loss=float(row["loss"]),
                clip_top1=float(row["clip_top1"]),
                clips_per_second=float(row["clips_per_second"]),
            )
            for row in csv.DictReader(file)
        ]


def _curves(folder: Path, done: int) -> Any:
    """A TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed, so no curves are written; log.csv has the figures")
        return None
    return SummaryWriter(str(folder), purge_step=done)
