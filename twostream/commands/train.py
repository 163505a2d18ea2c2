"""python -m twostream train: both streams by a named experiment."""

from dataclasses import dataclass
from pathlib import Path

from twostream.experiments import Experiment
from twostream.runs import Data, Run
from twostream.streams import Stream


@dataclass(frozen=True)
class Train:
    """Train both streams by one experiment.

    Attributes:
        experiment: The recipe; each of its values can be given another.
        data: What to train on.
        run: Folder of the run; each stream gets a folder of its own in it.
        streams: Which to train, one after the other.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    experiment: Experiment
    data: Data
    run: Path
    streams: tuple[Stream, ...] = ("rgb", "flow")
    workers: int = 2
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.training import train

        for stream in self.streams:
            folder = self.run / stream
            last = train(Run(self.experiment, self.data, stream), folder, self.workers, self.device)
            print(
                f"{stream}: {last.step} steps, loss {last.loss:.3f}, top-1 of training clips "
                f"{last.clip_top1:.1%}; {folder / 'checkpoint.pt'}"
            )
        return 0
