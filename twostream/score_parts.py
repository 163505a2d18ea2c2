"""Scores that are not all there yet: what is done lies beside the score file that it becomes."""

import io
import shutil
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.files import make_writable, write_atomically

SECONDS_APART = 10.0  # of two parts: the longest time that an interruption costs
Rows = NDArray[np.float32]


class Parts:
    """The scored videos of an unfinished score file, some in each part.

    As a context: what is not written yet is written at its end, whatever ends it. Each video lies
    under a key that tells all that its scores depend on, so that it is found again in another list
    or order, and what has changed is not.

    Args:
        out: The score file; its parts lie in ``<name>.parts`` beside it. None: nothing is kept.
    """

    def __init__(self, out: Path | None) -> None:
        self.folder = out and out.with_suffix(".parts")
        self._new: dict[str, Rows] = {}
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        if self.folder is not None:
            make_writable(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write()

    def load(self) -> Mapping[str, Rows]:
        """The logits float32 (N, classes) of each video that is there, by its key.

        Raises:
            InputError: A file that is no part.
        """
        found: dict[str, Rows] = {}
        if self.folder is not None and self.folder.is_dir():
            for path in sorted(self.folder.glob("*.npz")):
                found |= _read(path)
        return found

    def add(self, key: str, rows: Rows) -> None:
        """Keep a video's logits (N, classes)."""
        if self.folder is None:
            return
        self._new[key] = rows
        if time.monotonic() - self._written >= SECONDS_APART:
            self._write()

    def remove(self) -> None:
        """Remove all parts, once the score file is written."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        if self.folder is not None and self._new:
            # Named after what is in it: several processes write into the folder.
            name = sha256("\n".join(self._new).encode()).hexdigest()[:16]
            buffer = io.BytesIO()
            keys, rows = np.array(list(self._new)), np.stack(list(self._new.values()))
            np.savez(buffer, keys=keys, clip_logits=rows)
            write_atomically(self.folder / f"{name}.npz", buffer.getvalue())
        self._new = {}
        self._written = time.monotonic()


def _read(path: Path) -> dict[str, Rows]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            keys, rows = data["keys"].tolist(), data["clip_logits"]
            if rows.dtype != np.float32 or rows.ndim != 3:
                raise ValueError(f"{rows.dtype} {rows.shape}")
            return dict(zip(keys, rows, strict=True))
    except Exception as problem:  # a damaged zip or array fails in a dozen ways
        raise InputError(
            f"{path} is no part of scores ({type(problem).__name__}: {problem}); remove it and "
            "score again."
        ) from problem
