"""The checkpoints of a run's folder: the newest, some before it, and the best."""

import os
import re
import time
from pathlib import Path

from flow.errors import InputError
from flow.files import write_atomically
from twostream.runs import Checkpoint

OLDER = re.compile(r"checkpoint-\d+\.pt")
SECONDS_APART = 10.0  # of two checkpoints at the ends of epochs, which may be shorter


class Checkpoints:
    """Reads and writes the checkpoints of a folder.

    ``checkpoint.pt`` is the newest and ``best.pt`` the best by validation. Each is replaced in one
    move, so that there is a whole one at any moment.

    Args:
        folder: Of the run.
        minutes: The longest time that a crash may cost; 0: a checkpoint after every step.
        keep: How many of the newest to keep; older ones are ``checkpoint-STEP.pt``.

    Raises:
        InputError: Minutes below 0, or less than one to keep.
    """

    def __init__(self, folder: Path, minutes: float = 10.0, keep: int = 1) -> None:
        if not minutes >= 0:
            raise InputError(f"A checkpoint is due every {minutes} minutes; give 0 or more.")
        if keep < 1:
            raise InputError(f"There are {keep} checkpoints to keep; give 1 or more.")
        self.newest = folder / "checkpoint.pt"
        self.best = folder / "best.pt"
        self.seconds = 60 * minutes
        self.keep = keep
        self._step: int | None = None
        self._saved = time.monotonic()

    def load(self) -> Checkpoint | None:
        """The newest; None where there is none.

        Raises:
            InputError: A damaged file.
        """
        if not self.newest.is_file():
            return None
        try:
            checkpoint = Checkpoint.load(self.newest)
        except InputError as problem:
            if not (older := self._older()):
                raise
            raise InputError(
                f"{str(problem).removesuffix('; train again')}; "
                f"to go on from step {_step_of(older[-1])}, copy {older[-1]} over it."
            ) from problem
        self._step = checkpoint.step
        return checkpoint

    def due(self, epoch_ends: bool) -> bool:
        """Whether it is time to save."""
        apart = min(self.seconds, SECONDS_APART) if epoch_ends else self.seconds
        return time.monotonic() - self._saved >= apart

    def save(self, checkpoint: Checkpoint, best: bool = False) -> None:
        """Write the newest, and before it the best where it is that as well."""
        if best:
            checkpoint.save(self.best)
        if self.keep > 1 and self._step not in (None, checkpoint.step):
            _keep(self.newest, self.newest.with_name(f"checkpoint-{self._step}.pt"))
        checkpoint.save(self.newest)
        self._step = checkpoint.step
        self._saved = time.monotonic()
        older = self._older()
        for path in older[: max(0, len(older) - (self.keep - 1))]:
            path.unlink()

    def _older(self) -> list[Path]:
        """Those before the newest, oldest first."""
        paths = self.newest.parent.glob("checkpoint-*.pt")
        return sorted((path for path in paths if OLDER.fullmatch(path.name)), key=_step_of)


def to_test(folder: Path) -> Path:
    """The checkpoint that speaks for a run's stream: the best where one was chosen."""
    best = folder / "best.pt"
    return best if best.is_file() else folder / "checkpoint.pt"


def _keep(path: Path, name: Path) -> None:
    """Give a file, if it is there, a second name."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except FileNotFoundError:
        return
    except OSError:  # a file system without hard links
        write_atomically(name, path.read_bytes())


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))
