"""python -m twostream train: both streams by a named experiment."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twostream.experiments import Experiment
from twostream.readers import READERS
from twostream.runs import Data, Run, split_folder
from twostream.streams import Stream


@dataclass(frozen=True)
class Train:
    """Train both streams by one experiment.

    Attributes:
        experiment: The recipe; each of its values can be given another.
        data: What to train on.
        run: Folder of the run; each stream gets a folder of its own in it, and where there are
            several splits, each of these before.
        streams: Which to train, one after the other.
        workers: Processes that read clips, for each process that trains.
        device: "auto", "cpu", "cuda" or "cuda:N".
        checkpoint_minutes: The longest time between two checkpoints; there is one at the end of
            every epoch, too, unless epochs last only seconds.
        keep: How many of the newest checkpoints to keep.
    """

    experiment: Experiment
    data: Data
    run: Path
    streams: tuple[Stream, ...] = ("rgb", "flow")
    workers: int = READERS
    device: str = "auto"
    checkpoint_minutes: float = 10.0
    keep: int = 1

    def __call__(self) -> int:
        from twostream.distributed import joined
        from twostream.linear_head import Known
        from twostream.training import train

        runs = dict(self._runs())
        for run in runs.values():
            run.data.annotations("train")  # what is missing in the last split is told now
        known: Known = {}
        with joined(self.device) as world:
            for folder, run in runs.items():
                last = train(
                    run,
                    folder,
                    self.workers,
                    world,
                    minutes=self.checkpoint_minutes,
                    keep=self.keep,
                    known=known,
                )
                world.say(
                    f"{run.stream}: {last.step} steps, loss {last.loss:.3f}, top-1 of training "
                    f"clips {last.clip_top1:.1%}; {folder / 'checkpoint.pt'}"
                )
        return 0

    def _runs(self) -> Iterator[tuple[Path, Run]]:
        """The run of each split and stream, and its folder."""
        splits = self.data.splits()
        for data in splits:
            folder = self.run / split_folder(data.split) if len(splits) > 1 else self.run
            for stream in self.streams:
                yield folder / stream, Run(self.experiment, data, stream)
