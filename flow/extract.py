"""The stage from videos to stored flow: only what is missing is computed.

Every run leaves two tables in the store that state the truth of that moment: ``manifest.csv``, a
row for each video that lies in the store or that failed now, sorted by its id, and
``failures.csv``, a row for each video that failed now, with the reason.
"""

import errno
import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow import engines
from flow.encoding import Scheme, clipped_fraction, encode
from flow.errors import InputError
from flow.files import remove_leftovers
from flow.manifest import failed_row, read_manifest, stored_row, write_tables
from flow.processors import usable_processors
from flow.progress import progress_bar
from flow.sources import find_videos, take_shard
from flow.store import Meta, StoreWriter, find_store_files, read_meta, store_path, video_id
from flow.tvl1 import Solver, TVL1Params, choose_solver, tvl1, tvl1_video
from flow.video import Video, check_file, grey, use_one_thread

WINDOWS = {"cpu": (16, 1 << 22), "cuda": (512, 1 << 26)}
"""Pairs of frames that are in memory at a time: so many, and not more than so many pixels."""

WORKERS_A_GPU = 4
"""Processes that decode for a GPU and wait for it in turns; each holds half a gigabyte of it."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Settings:
    """What makes flow what it is: all flow in a store is made with the same.

    Attributes:
        solver: What computes the flow, as for ``flow.tvl1``; auto is the fastest of this machine.
        bound: Motion in pixels that the images can hold; what is beyond is clipped.
        encoding: "symmetric", or "dense_flow" for weights that were trained on that tool's images.
        quality: Of the JPEG files, 1 to 100.
        params: Parameters of TV-L1.
    """

    solver: Solver = "auto"
    bound: float = 20.0
    encoding: Scheme = "symmetric"
    quality: int = 95
    params: TVL1Params = field(default_factory=TVL1Params)

    def __post_init__(self) -> None:
        encode(np.zeros(1, np.float32), self.bound, self.encoding)  # raises what is wrong with them
        if not 1 <= self.quality <= 100:
            raise InputError(f"The JPEG quality is {self.quality}; give a number from 1 to 100.")

    def resolved(self) -> "Settings":
        """The same with the solver that "auto" means here; InputError where that cannot run."""
        blank = np.zeros((32, 32), np.uint8)
        tvl1(blank, blank, self.params, self.solver)
        return replace(self, solver=choose_solver(self.solver))  # type: ignore[arg-type]

    def difference(self, meta: Meta) -> str | None:
        """What a store file was made with otherwise, if anything."""
        mine = asdict(self)
        params = mine.pop("params")
        for theirs, ours in ((vars(meta), mine), (meta.params, params)):
            for name, value in ours.items():
                if theirs.get(name) != value:
                    return f"{name} {theirs.get(name)}, not {value}"
        return None


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        store: Where.
        stored: Videos whose flow was computed.
        present: Videos that were there already.
        failures: Source and reason of each video that failed.
        flows: Flow fields that were computed.
        seconds: How long the run took.
        bytes: Size of the store files of all these videos.
        clipped: Share of their flow values that lies beyond the bound.
    """

    store: Path
    stored: int
    present: int
    failures: tuple[tuple[str, str], ...]
    flows: int
    seconds: float
    bytes: int
    clipped: float

    def __str__(self) -> str:
        return (
            f"{self.stored} videos stored, {self.present} already there, "
            f"{len(self.failures)} failed: {self.flows:,} flows in {self.seconds:.1f} s "
            f"({self.flows / self.seconds:.1f} flows/s), {self.bytes / 1e6:,.1f} MB, "
            f"{self.clipped:.2%} of the values clipped, in {self.store}"
        )


def extract(
    videos: Path,
    store: Path,
    settings: Settings | None = None,
    workers: int | None = None,
    progress: bool = True,
    shard: str = "1/1",
) -> Summary:
    """Store the flow of every video in a folder, at every depth, but for what is stored already.

    A video is stored already where its store file was made from a file of the same name, size and
    hash. A run that was interrupted is finished by another one, which also tries again what failed.

    Args:
        videos: A folder. Hidden files and folders in it are left out.
        store: A folder, made where it is not there.
        settings: What to compute; ``Settings()`` where not given.
        workers: Processes, each at one video at a time; one a processor where not given, with the
            solver "cuda" four a GPU at most.
        progress: Whether to show on stderr how far it is.
        shard: "3/8" does the third eighth of the videos, for eight runs, at once if need be. They
            may share a store; its failures are then those of the run that ended last.

    Raises:
        InputError: Before anything is computed: a folder without videos, a solver that cannot run
            here, a store that cannot be written or that holds flow of other settings. Later: a
            disk that is full.
    """
    started = time.perf_counter()
    found = take_shard(find_videos(videos), shard)
    settings = (settings or Settings()).resolved()
    gpus = _gpus(settings)
    if workers is None:
        workers = min(usable_processors(), len(gpus) * WORKERS_A_GPU or usable_processors())
    if workers < 1:
        raise InputError(f"The number of workers is {workers}; give 1 or more.")
    _make_writable(store)
    record = _Record(store)
    record.refuse_other(settings)
    remove_leftovers(store)
    jobs = record.admit([_Job.of(path, videos, store, settings) for path in found])
    # Processors that have no video of their own help with the others'.
    threads = max(1, usable_processors() // max(1, min(workers, len(jobs))))
    jobs = [
        replace(job, threads=threads, gpu=gpus[i % len(gpus)] if gpus else None)
        for i, job in enumerate(jobs)
    ]
    try:
        with (
            closing(engines.run(_store_video, jobs, workers)) as events,
            closing(_Progress(jobs, progress)) as shown,
        ):
            for event in events:
                record.take(event)
                shown.take(event)
    finally:
        remove_leftovers(store)
        record.write()
    return record.summary(time.perf_counter() - started)


@dataclass(frozen=True)
class _Job:
    """A video: where it lies, its path in the folder of videos, its id, and where its flow goes."""

    path: Path
    source: str
    video: str
    target: Path
    settings: Settings
    bytes: int
    stored: Meta | None = None
    threads: int = 1
    gpu: str | None = None

    @classmethod
    def of(cls, path: Path, videos: Path, store: Path, settings: Settings) -> "_Job":
        source = path.relative_to(videos)
        video = video_id(source)
        size = path.stat().st_size if path.is_file() else 0
        return cls(path, source.as_posix(), video, store_path(store, video), settings, size)


@dataclass(frozen=True)
class _Stored:
    """A job's result: what its store file holds, and the time it took if it was not there."""

    meta: Meta
    seconds: float | None


@dataclass(frozen=True)
class _DiskFull:
    """A job's result that every other job would share."""

    reason: str


_Event = engines.Progress[_Job] | engines.Done[_Job, _Stored | _DiskFull] | engines.Failed[_Job]


def _store_video(job: _Job, tell: engines.Tell) -> _Stored | _DiskFull:
    """Do a job, in a process of its own."""
    use_one_thread()
    started = time.perf_counter()
    check_file(job.path)
    with job.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        origin = (job.path.name, file.tell(), digest)
    if job.stored and job.stored.origin == origin:
        return _Stored(job.stored, None)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        meta = _write(job, origin, tell)
    except OSError as error:
        reason = f"{job.target} cannot be written ({error.strerror}); mend that and run again."
        if error.errno in _FULL:
            return _DiskFull(reason)
        raise InputError(reason) from error
    return _Stored(meta, time.perf_counter() - started)


def _write(job: _Job, origin: tuple[str, int, str], tell: engines.Tell) -> Meta:
    video, settings = Video(job.path), job.settings
    flows, clipped = 0, 0.0
    with StoreWriter(job.target, settings.quality) as writer:
        for window in _windows(video, writer, *WINDOWS["cuda" if job.gpu else "cpu"]):
            images, beyond = _flow_images(window, job)
            for image in images:
                writer.add_flow(image)
            flows += len(images)
            clipped += len(images) * beyond
            tell(len(images))
        if flows == 0:
            raise InputError(f"{job.path} has one frame; give a video of two or more.")
        height, width = video.size
        meta = Meta(
            *origin,
            frames=flows + 1,
            fps=video.fps,
            width=width,
            height=height,
            decoder=video.decoder,
            solver=settings.solver,
            params=asdict(settings.params),
            bound=settings.bound,
            encoding=settings.encoding,
            clipped=clipped / flows,
            quality=settings.quality,
        )
        writer.finish(meta)
    return meta


def _flow_images(window: NDArray[np.uint8], job: _Job) -> tuple[NDArray[np.uint8], float]:
    """Encoded flow between the frames, and the share of it that is clipped."""
    settings = job.settings
    if job.gpu:
        from flow.tvl1 import cuda

        encoded = cuda.encode_video(
            window, settings.params, settings.bound, settings.encoding, job.gpu
        )
        return encoded.images, encoded.clipped
    flow = tvl1_video(window, settings.params, settings.solver, threads=job.threads)
    images = encode(flow, settings.bound, settings.encoding)
    return images, clipped_fraction(flow, settings.bound)


def _gpus(settings: Settings) -> list[str]:
    if settings.solver != "cuda":
        return []
    from flow.tvl1 import cuda

    return cuda.devices()


def _windows(
    video: Video, writer: StoreWriter, most_pairs: int, most_pixels: int
) -> Iterator[NDArray[np.uint8]]:
    """Grey frames (2 or more, H, W); a window begins with the last frame of the one before.

    Every frame goes to the writer on its way.
    """
    height, width = video.size
    pairs = max(1, min(most_pairs, most_pixels // (height * width)))
    window: list[NDArray[np.uint8]] = []
    for frame in video:
        writer.add_frame(frame)
        window.append(grey(frame))
        if len(window) > pairs:
            yield np.stack(window)
            window = window[-1:]
    if len(window) > 1:
        yield np.stack(window)


class _Record:
    """What is true of a store while a run goes on."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._metas: dict[str, Meta] = {}
        self._find()
        self._seconds: dict[str, str] = {}
        with suppress(InputError):  # how long the earlier runs took stands nowhere else
            self._seconds = {row["video"]: row["seconds"] for row in read_manifest(store)}
        self._computed: list[str] = []
        self._present: list[str] = []
        self._failed: dict[str, str] = {}
        self._failures: list[tuple[str, str]] = []

    def refuse_other(self, settings: Settings) -> None:
        """Raise InputError where a store file was made with other settings."""
        for video, meta in self._metas.items():
            if difference := settings.difference(meta):
                raise InputError(
                    f"{self._store} holds {video!r} with {difference}; "
                    "give the same settings, or another store."
                )

    def admit(self, jobs: Iterable[_Job]) -> list[_Job]:
        """The jobs that can be done, each with what is stored of it: the first one of each id."""
        admitted: dict[str, _Job] = {}
        for job in jobs:
            if job.video in admitted:
                first = admitted[job.video].source
                reason = f"{job.source} would be stored under the same name as {first}; rename it."
                self._failures.append((job.source, reason))
            else:
                admitted[job.video] = replace(job, stored=self._metas.get(job.video))
        return list(admitted.values())

    def take(self, event: _Event) -> None:
        """Note how a job ended; raises InputError where no other one can end better."""
        if isinstance(event, engines.Failed):
            self._failed[event.task.video] = event.task.source
            self._failures.append((event.task.source, event.reason))
        elif isinstance(event, engines.Done):
            video, result = event.task.video, event.result
            if isinstance(result, _DiskFull):
                raise InputError(result.reason)
            self._metas[video] = result.meta
            if result.seconds is None:
                self._present.append(video)
            else:
                self._computed.append(video)
                self._seconds[video] = f"{result.seconds:.2f}"

    def write(self) -> None:
        """Write both tables."""
        self._find()  # an interrupted run may have stored what it did not hear of any more
        failed = [failed_row(video, source) for video, source in self._failed.items()]
        stored = [
            stored_row(video, meta, self._seconds.get(video, ""))
            for video, meta in self._metas.items()
            if video not in self._failed
        ]
        rows = sorted(stored + failed, key=lambda row: str(row[0]))
        try:
            write_tables(self._store, rows, sorted(self._failures))
        except OSError as error:
            raise InputError(
                f"{self._store} cannot be written ({error.strerror}); mend that and run again."
            ) from error

    def _find(self) -> None:
        """Read what is in the store and was not known yet."""
        for video, path in find_store_files(self._store).items():
            if video not in self._metas:
                with suppress(InputError):  # damaged: as good as not there
                    self._metas[video] = read_meta(path)

    def summary(self, seconds: float) -> Summary:
        ended = [(video, self._metas[video]) for video in self._computed + self._present]
        values = {video: meta.flows * meta.width * meta.height for video, meta in ended}
        clipped = sum(meta.clipped * values[video] for video, meta in ended)
        return Summary(
            store=self._store,
            stored=len(self._computed),
            present=len(self._present),
            failures=tuple(sorted(self._failures)),
            flows=sum(self._metas[video].flows for video in self._computed),
            seconds=seconds,
            bytes=sum(store_path(self._store, video).stat().st_size for video in values),
            clipped=clipped / sum(values.values()) if values else 0.0,
        )


class _Progress:
    """A bar in flows. How many there will be is estimated from the sizes of the videos to do."""

    def __init__(self, jobs: Sequence[_Job], shown: bool) -> None:
        self._bar = progress_bar(None, " flows", shown)
        self._videos, self._ended = len(jobs), 0
        self._bytes_left = sum(job.bytes for job in jobs)
        self._bytes_done = 0

    def take(self, event: _Event) -> None:
        if isinstance(event, engines.Progress):
            self._bar.update(event.units)
            return
        self._ended += 1
        self._bytes_left -= event.task.bytes
        result = event.result if isinstance(event, engines.Done) else None
        if isinstance(result, _Stored) and result.seconds is not None:
            self._bytes_done += event.task.bytes
            flows_left = self._bar.n * self._bytes_left / self._bytes_done
            self._bar.total = self._bar.n + round(flows_left)
        self._bar.set_postfix_str(f"{self._ended}/{self._videos} videos", refresh=False)
        self._bar.update(0)

    def close(self) -> None:
        self._bar.close()


def _make_writable(store: Path) -> None:
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=store) as file:
            file.write(b"written")
    except OSError as error:
        raise InputError(
            f"{store} cannot be written ({error.strerror}); make it writable or give another store."
        ) from error
