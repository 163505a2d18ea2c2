"""What is true of a store while an extraction goes on, and the tables that say so."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flow.errors import InputError
from flow.manifest import (
    FAILED,
    Tables,
    failed_row,
    read_failures,
    read_manifest,
    stored_row,
    write_tables,
)
from flow.meta import Meta
from flow.settings import Settings
from flow.store import find_store_files, read_meta, store_path
from flow.store_video import Job, Refused, Stored


class Record:
    """The store files that are there, and how each video ended in this run.

    Args:
        store: The folder.
        shared: Whether the run has a part of the videos only: what the tables say of the others
            then stays.

    Attributes:
        metas: What is stored, by the ids of the videos.
        computed: Ids of what this run has stored.
        present: Ids of what was there before.
        failures: Source and reason of each video that failed.
    """

    def __init__(self, store: Path, shared: bool = False) -> None:
        self._store, self._shared = store, shared
        self.metas: dict[str, Meta] = {}
        self.computed: list[str] = []
        self.present: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self._failed: dict[str, Sequence[object]] = {}
        self._sources: set[str] = set()
        self._find()
        self._rows: Mapping[str, Mapping[str, str]] = {}
        with suppress(InputError):  # how long the earlier runs took stands nowhere else
            self._rows = {row["video"]: row for row in read_manifest(store)}
        self._reasons = read_failures(store)
        self._seconds = {video: row["seconds"] for video, row in self._rows.items()}

    def refuse_other(self, settings: Settings) -> None:
        """Raise InputError where a store file was made with other settings."""
        for video, meta in self.metas.items():
            if difference := settings.difference(meta):
                raise InputError(
                    f"{self._store} holds {video!r} with {difference}; "
                    "give the same settings, or another store."
                )

    def admit(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that can be done: the first one of each id."""
        admitted: dict[str, Job] = {}
        for job in jobs:
            self._sources.add(job.source)
            if first := admitted.get(job.video):
                reason = (
                    f"{job.source} would be stored under the same name as {first.source}; "
                    "rename it."
                )
                self.failures.append((job.source, reason))
            else:
                admitted[job.video] = job
        return list(admitted.values())

    def refused(self, job: Job) -> Refused | None:
        """How an earlier run found that a video cannot be stored."""
        row, reason = self._rows.get(job.video), self._reasons.get(job.source)
        if row is None or reason is None or not row["bytes"].isdecimal():
            return None
        return Refused((Path(job.source).name, int(row["bytes"]), row["sha256"]), reason)

    def failed(self, job: Job, reason: str, refused: Refused | None = None) -> None:
        """Note that a video failed; for good, where it was refused."""
        size, digest = refused.origin[1:] if refused else ("", "")
        self._failed[job.video] = failed_row(job.video, job.source, size, digest)
        self.failures.append((job.source, reason))

    def stored(self, job: Job, result: Stored) -> None:
        """Note that a video is stored."""
        self.metas[job.video] = result.meta
        if result.seconds is None:
            self.present.append(job.video)
        else:
            self.computed.append(job.video)
            self._seconds[job.video] = f"{result.seconds:.2f}"

    def write(self) -> None:
        """Write both tables."""
        try:
            write_tables(self._store, self._tables)
        except OSError as error:
            raise InputError(
                f"{self._store} cannot be written ({error.strerror}); mend that and run again."
            ) from error

    def bytes(self) -> int:
        """Size of the store files of all videos of this run."""
        return sum(
            store_path(self._store, video).stat().st_size for video in self.computed + self.present
        )

    def clipped(self) -> float:
        """Share of their flow values that lies beyond the bound."""
        metas = [self.metas[video] for video in self.computed + self.present]
        values = [meta.flows * meta.width * meta.height for meta in metas]
        beyond = sum(meta.clipped * n for meta, n in zip(metas, values, strict=True))
        return beyond / sum(values) if values else 0.0

    def _tables(self) -> Tables:
        self._find()  # an interrupted run may have stored what it did not hear of any more
        failed, failures = dict(self._failed), list(self.failures)
        if self._shared:
            for source, reason in read_failures(self._store).items():
                if source not in self._sources:
                    failures.append((source, reason))
            with suppress(InputError):
                for row in read_manifest(self._store):
                    if row["status"] == FAILED and row["source"] not in self._sources:
                        failed.setdefault(row["video"], tuple(row.values()))
        rows: dict[str, Sequence[object]] = {
            video: stored_row(video, meta, self._seconds.get(video, ""))
            for video, meta in self.metas.items()
        }
        rows |= failed
        return [rows[video] for video in sorted(rows)], sorted(failures)

    def _find(self) -> None:
        """Read what is in the store and was not known yet."""
        for video, path in find_store_files(self._store).items():
            if video not in self.metas:
                with suppress(InputError):  # damaged: as good as not there
                    self.metas[video] = read_meta(path)
