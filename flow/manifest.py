"""The two tables of a store: what lies in it, and which videos failed and why."""

import csv
import io
from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath

from flow.errors import InputError
from flow.files import write_atomically
from flow.store import Meta, store_path

MANIFEST, FAILURES = "manifest.csv", "failures.csv"
_MANIFEST_COLUMNS = (
    *("video", "source", "bytes", "sha256", "frames", "flows", "width", "height", "fps"),
    *("solver", "bound", "encoding", "clipped", "seconds", "status"),
)
_FAILURES_COLUMNS = ("video", "reason")


def write_tables(
    store: Path, rows: Iterable[Sequence[object]], failures: Iterable[Sequence[object]]
) -> None:
    """Write the manifest and the failures; raises OSError where the store cannot be written."""
    _write(store / MANIFEST, _MANIFEST_COLUMNS, rows)
    _write(store / FAILURES, _FAILURES_COLUMNS, failures)


def read_manifest(store: Path) -> list[dict[str, str]]:
    """The rows of a store's manifest; raises InputError where it has none that is whole."""
    path = store / MANIFEST
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); extract again.") from None
    if any(tuple(row) != _MANIFEST_COLUMNS or None in row.values() for row in rows):
        raise InputError(f"{path} has not the columns of a manifest; extract again.")
    return rows


def read_failures(store: Path) -> dict[str, str]:
    """Source and reason of each video that failed in a store's last run, as far as it says so."""
    try:
        with (store / FAILURES).open(newline="", encoding="utf-8") as file:
            return {row["video"]: row["reason"] for row in csv.DictReader(file, strict=True)}
    except (OSError, ValueError, KeyError, csv.Error):
        return {}


def missing(store: Path, ids: Container[str]) -> list[str]:
    """What a store's manifest lists and is gone; or what is wrong with the manifest."""
    try:
        rows = read_manifest(store)
    except InputError as error:
        return [str(error)]
    return [
        f"{store_path(store, row['video'])} is gone; extract its video again."
        for row in rows
        if row["status"] == "stored" and row["video"] not in ids
    ]


def stored_row(video: str, meta: Meta, seconds: str) -> tuple[object, ...]:
    """A row of the manifest for a video that is stored."""
    source = PurePosixPath(video).with_name(meta.source)
    return (
        *(video, source, meta.source_bytes, meta.source_sha256, meta.frames, meta.flows),
        *(meta.width, meta.height, meta.fps, meta.solver, meta.bound, meta.encoding),
        *(meta.clipped, seconds, "stored"),
    )


def failed_row(video: str, source: str) -> tuple[object, ...]:
    """A row of the manifest for a video that failed."""
    blank = [""] * (len(_MANIFEST_COLUMNS) - 3)
    return (video, source, *blank, "failed")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    # All texts are quoted: before Python 3.13 a bare "\r" in one would not be.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([columns, *rows])
    # A file name that is no UTF-8 is the reason of a failure, and must be told.
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))
