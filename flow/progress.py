"""How far a long work is: a bar on a terminal, a line now and then in a file."""

import io
import sys
from typing import Any

from tqdm import tqdm


class _Lines(io.TextIOBase):
    """Where stderr is a file: each state of a bar on a line of its own."""

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)


def progress_bar(total: int | None, unit: str, shown: bool) -> "tqdm[Any]":
    """A bar over ``total`` units, with its rate and the time left; silent unless ``shown``."""
    if sys.stderr.isatty():
        return tqdm(total=total, unit=unit, smoothing=0, disable=not shown)
    seconds = 30
    return tqdm(
        total=total,
        unit=unit,
        smoothing=0,
        disable=not shown,
        file=_Lines(),
        ncols=0,
        mininterval=seconds,
        maxinterval=seconds,
    )
