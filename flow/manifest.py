"""The two tables of a store: what lies in it, and which videos failed and why."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from flow.errors import InputError
from flow.files import atomic, write_atomically
from flow.meta import Meta
from flow.store import store_path

MANIFEST, FAILURES = "manifest.csv", "failures.csv"
STORED, PARTIAL, FAILED = "stored", "partial", "failed"
"""What a video can be: stored, up to where it is damaged, or not."""

Tables = tuple[Iterable[Sequence[object]], Iterable[Sequence[object]]]
_MANIFEST_COLUMNS = (
    *("video", "source", "bytes", "sha256", "frames", "flows", "width", "height", "fps"),
    *("algorithm", "solver", "version", "params", "short_side", "step", "bound", "encoding"),
    *("codec", "quality", "rgb", "clipped", "seconds", "status", "damage"),
)
_FAILURES_COLUMNS = ("video", "reason")


def write_tables(store: Path, tables: Callable[[], Tables]) -> None:
    """Write the rows of the manifest and of the failures, which ``tables`` gives.

    Nobody else writes them between its look at those that are there and the end.

    Raises:
        OSError: The store cannot be written.
    """
    with atomic(store / MANIFEST) as file:
        rows, failures = tables()
        write_atomically(store / FAILURES, _csv(_FAILURES_COLUMNS, failures))
        file.write(_csv(_MANIFEST_COLUMNS, rows))


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


def disagreements(store: Path, metas: Mapping[str, Meta | None]) -> list[str]:
    """Where a store's manifest does not tell of the files that are there, in a sentence each.

    Args:
        store: The folder.
        metas: What each store file says, by the id of its video; None where it is damaged.
    """
    try:
        rows = read_manifest(store)
    except InputError as error:
        return [str(error)]
    faults = []
    listed = {row["video"]: row for row in rows}
    for video, row in listed.items():
        if row["status"] != FAILED and video not in metas:
            faults.append(f"{store_path(store, video)} is gone; extract its video again.")
    for video, meta in metas.items():
        if meta is None:
            continue
        known = listed.get(video)
        if known is None:
            faults.append(
                f"{store_path(store, video)} is not in {MANIFEST}; extract again to list it."
            )
        elif known["status"] != FAILED:
            now = stored_row(video, meta, known["seconds"])
            for column, value in zip(_MANIFEST_COLUMNS, now, strict=True):
                if str(value) != known[column]:
                    faults.append(
                        f"{store_path(store, video)} is not what {MANIFEST} tells of: its {column} "
                        f"is {value}, not {known[column]}; remove it and extract its video again."
                    )
                    break
    return faults


def stored_row(video: str, meta: Meta, seconds: str) -> tuple[object, ...]:
    """A row of the manifest for a video that is stored."""
    source = PurePosixPath(video).with_name(meta.source)
    return (
        *(video, source, meta.source_bytes, meta.source_sha256, meta.frames, meta.flows),
        *(meta.width, meta.height, meta.fps, meta.algorithm, meta.solver, meta.version),
        *(json.dumps(meta.params), meta.short_side or "", meta.step, meta.bound, meta.encoding),
        *(meta.codec, meta.quality, meta.rgb, meta.clipped, seconds),
        *(PARTIAL if meta.damage else STORED, meta.damage or ""),
    )


def failed_row(
    video: str, source: str, size: int | str = "", digest: str = ""
) -> tuple[object, ...]:
    """A row of the manifest for a video that failed; with size and hash, for good."""
    known = {"video": video, "source": source, "bytes": size, "sha256": digest, "status": FAILED}
    return tuple(known.get(column, "") for column in _MANIFEST_COLUMNS)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    # All texts are quoted: before Python 3.13 a bare "\r" in one would not be.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([columns, *rows])
    # A file name that is no UTF-8 is the reason of a failure, and must be told.
    return text.getvalue().encode(errors="backslashreplace")
