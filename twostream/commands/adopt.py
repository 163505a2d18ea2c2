"""python -m twostream adopt: published weights as a run."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from flow.errors import InputError
from twostream.runs import Data
from twostream.streams import Stream


@dataclass(frozen=True)
class Adopt:
    """Make a run of published weights, to be scored, fused and asked as if it was trained here.

    Attributes:
        weights: A published P3D, or weights of ours without a run, with a last layer of the
            lists' classes.
        data: What to test on.
        run: Folder of the run.
        stream: Which stream the weights are of.
        model: The network that they belong to.
        classes: A text file with the names of the network's outputs in their order, one a line.
            Without it they are the classes of the lists, a CSV file's in sorted order, as those of
            Kinetics are.
    """

    weights: Positional[Path]
    data: Data
    run: Path
    stream: Stream
    model: str = "p3d199"
    classes: Path | None = None

    def __call__(self) -> int:
        from twostream.adoption import adopt
        from twostream.experiments import Experiment
        from twostream.runs import Run

        run = Run(Experiment(model=self.model, weights=self.weights), self.data, self.stream)
        folder = self.run / self.stream
        print(adopt(run, folder, self._names()))
        print(f"{self.stream}: {folder / 'checkpoint.pt'}")
        return 0

    def _names(self) -> tuple[str, ...] | None:
        from twostream.data.list_files import lines_of

        if self.classes is None:
            return None
        names = tuple(name for _, name in lines_of(self.classes))
        if not names:
            raise InputError(f"{self.classes} names no class; give one a line.")
        return names
