"""The stage from videos to stored flow: only what is missing is computed.

Every run leaves two tables in the store that state the truth of that moment: ``manifest.csv``, a
row for each video that lies in the store or that failed now, sorted by its id, and
``failures.csv``, a row for each video that failed now, with the reason.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from flow import engines
from flow.errors import InputError
from flow.files import make_writable, remove_leftovers
from flow.gpu import AT_A_TIME, GpuProcess
from flow.processors import usable_processors
from flow.progress import progress_bar
from flow.record import Record
from flow.settings import Settings
from flow.sources import find_videos, source_bytes, source_id, take_shard
from flow.store import store_path
from flow.store_video import Busy, DiskFull, Job, Outcome, Refused, Stored, store_video
from flow.throughput import Throughput

Engine = Literal["local", "ray"]

_Event = engines.Progress[Job] | engines.Done[Job, Outcome] | engines.Failed[Job]
_Events = Generator[_Event, None, None]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        store: Where.
        stored: Videos whose flow was computed.
        present: Videos that were there already.
        damaged: Videos among both of which a part is stored, as the rest cannot be read.
        failures: Source and reason of each video that failed.
        flows: Flow fields that were computed.
        seconds: How long the run took.
        bytes: Size of the store files of all these videos.
        clipped: Share of their flow values that lies beyond the bound.
        throughput: What each stage did.
    """

    store: Path
    stored: int
    present: int
    damaged: int
    failures: tuple[tuple[str, str], ...]
    flows: int
    seconds: float
    bytes: int
    clipped: float
    throughput: Throughput

    def __str__(self) -> str:
        damaged = f" ({self.damaged} up to where they are damaged)" if self.damaged else ""
        text = (
            f"{self.stored} videos stored, {self.present} already there{damaged}, "
            f"{len(self.failures)} failed: {self.flows:,} flows in {self.seconds:.1f} s "
            f"({self.flows / self.seconds:.1f} flows/s), {self.bytes / 1e6:,.1f} MB, "
            f"{self.clipped:.2%} of the values clipped, in {self.store}"
        )
        return f"{text}\n{self.throughput}".rstrip()


def extract(
    videos: Path,
    store: Path,
    settings: Settings | None = None,
    workers: int | None = None,
    progress: bool = True,
    shard: str = "1/1",
    *,
    keep_readable: bool = False,
    retry_failed: bool = False,
    engine: Engine = "local",
    address: str | None = None,
) -> Summary:
    """Store the flow of every video in a folder, at every depth, but for what is stored already.

    A video is stored already where its store file was made from a file of the same name, size and
    hash. A run that was interrupted is finished by another one. Two runs on one store at once share
    the work: each video is done by one of them.

    Args:
        videos: A folder. Hidden files and folders in it are left out; a folder of images in it is
            a video.
        store: A folder, made where it is not there.
        settings: What to compute; ``Settings()`` where not given.
        workers: Processes, each at one video at a time; one a processor where not given.
        progress: Whether to show on stderr how far it is.
        shard: "3/8" does the third eighth of the videos, for eight runs, at once if need be. They
            may share a store.
        keep_readable: Store a damaged video up to the damage, and say so in its meta data and in
            the manifest, rather than not at all.
        retry_failed: Try again what an earlier run found to be no whole video, though the file is
            the same. (What failed for another reason is always tried again.)
        engine: "local", the processes of this machine, or "ray", those of a Ray cluster.
        address: Of the Ray cluster; one is started on this machine where not given.

    Raises:
        InputError: Before anything is computed: a folder without videos, a solver that cannot run
            here, a store that cannot be written or that holds flow of other settings. Later: a
            disk that is full.
    """
    started = time.perf_counter()
    if workers is not None and workers < 1:
        raise InputError(f"The number of workers is {workers}; give 1 or more.")
    if address is not None and engine != "ray":
        raise InputError("An address is that of a Ray cluster; give the engine ray, too.")
    if engine == "ray":  # other machines start in other folders
        videos, store = videos.absolute(), store.absolute()
    found = take_shard(find_videos(videos), shard)
    settings = (settings or Settings()).resolved(try_it=engine == "local")
    make_writable(store)
    record = Record(store, shared=shard != "1/1")
    record.refuse_other(settings)
    remove_leftovers(store)
    jobs = [
        replace(
            job,
            stored=record.metas.get(job.video),
            refused=None if retry_failed or keep_readable else record.refused(job),
            keep_readable=keep_readable,
        )
        for job in record.admit(_job(path, videos, store, settings) for path in found)
    ]
    with ExitStack() as stack:
        stack.callback(record.write)
        stack.callback(remove_leftovers, store)
        if engine == "ray":
            run = partial(_on_ray, workers=workers, address=address)
            throughput = Throughput()
        else:
            gpus = [stack.enter_context(GpuProcess(name)) for name in _gpus(settings)]
            run = partial(_here, workers=workers, gpus=[gpu.address for gpu in gpus])
            throughput = Throughput(len(gpus))
        shown = stack.enter_context(closing(_Progress(jobs, throughput, progress)))
        while jobs:
            jobs = _work(run, jobs, record, shown)
    return _summary(store, record, throughput, time.perf_counter() - started)


def _work(
    run: Callable[[Sequence[Job]], _Events], jobs: Sequence[Job], record: Record, shown: "_Progress"
) -> list[Job]:
    """Do jobs; what is left are those that another run is at, to be waited for."""
    left = []
    with closing(run(jobs)) as events:
        for event in events:
            if isinstance(event, engines.Failed):
                record.failed(event.task, event.reason)
            elif isinstance(event, engines.Done):
                job, result = event.task, event.result
                if isinstance(result, Busy):
                    left.append(replace(job, wait=True))
                    continue
                if isinstance(result, DiskFull):
                    raise InputError(result.reason)
                if isinstance(result, Refused):
                    record.failed(job, result.reason, result)
                else:
                    record.stored(job, result)
            shown.take(event)
    return left


def _here(jobs: Sequence[Job], workers: int | None, gpus: Sequence[str]) -> _Events:
    """Events of the jobs, done by the processes and GPUs of this machine."""
    processors = usable_processors()
    workers = workers or processors
    # Processors that have no video of their own help with the others'.
    threads = max(1, processors // max(1, min(workers, len(jobs))))
    # The largest ones first, so that in the end no processor waits long for another.
    ordered = sorted(jobs, key=lambda job: -job.bytes)
    return engines.run(
        store_video,
        [
            replace(job, threads=threads, gpu=gpus[i % len(gpus)] if gpus else None)
            for i, job in enumerate(ordered)
        ],
        workers,
    )


def _on_ray(jobs: Sequence[Job], workers: int | None, address: str | None) -> _Events:
    """Events of the jobs, done by a Ray cluster."""
    from flow import engine_ray

    share = 1 / AT_A_TIME if jobs[0].settings.solver == "cuda" else 0.0
    return engine_ray.run(
        store_video,
        [replace(job, gpu="cuda" if share else None, share=share) for job in jobs],
        workers,
        address=address,
        gpus_a_task=share,
    )


def _job(path: Path, videos: Path, store: Path, settings: Settings) -> Job:
    video = source_id(path, videos)
    # A folder of images may itself be what was given.
    source = path.relative_to(videos).as_posix() if path != videos else video
    return Job(path, source, video, store_path(store, video), settings, source_bytes(path))


def _gpus(settings: Settings) -> list[str]:
    if settings.solver != "cuda":
        return []
    from flow.tvl1 import cuda

    return cuda.devices()


def _summary(store: Path, record: Record, throughput: Throughput, seconds: float) -> Summary:
    handled = record.computed + record.present
    return Summary(
        store=store,
        stored=len(record.computed),
        present=len(record.present),
        damaged=sum(bool(record.metas[video].damage) for video in handled),
        failures=tuple(sorted(record.failures)),
        flows=sum(record.metas[video].flows for video in record.computed),
        seconds=seconds,
        bytes=record.bytes(),
        clipped=record.clipped(),
        throughput=throughput,
    )


class _Progress:
    """A bar in flows. How many there will be is estimated from the sizes of the videos to do."""

    def __init__(self, jobs: Sequence[Job], throughput: Throughput, shown: bool) -> None:
        self._bar = progress_bar(None, " flows", shown)
        self._throughput = throughput
        self._videos, self._ended = len(jobs), 0
        self._bytes_left = sum(job.bytes for job in jobs)
        self._bytes_done = 0

    def take(self, event: _Event) -> None:
        flows = 0
        if isinstance(event, engines.Progress):
            self._throughput.add(event.amount)
            flows = event.amount.frames["solve"]
        else:
            self._end(event)
        state = f"{self._ended}/{self._videos} videos"
        brief = self._throughput.brief()
        self._bar.set_postfix_str(f"{state}, {brief}" if brief else state, refresh=False)
        self._bar.update(flows)

    def close(self) -> None:
        self._bar.close()

    def _end(self, event: engines.Done[Job, Outcome] | engines.Failed[Job]) -> None:
        self._ended += 1
        self._bytes_left -= event.task.bytes
        result = event.result if isinstance(event, engines.Done) else None
        if isinstance(result, Stored) and result.seconds is not None:
            self._bytes_done += event.task.bytes
            flows_left = self._bar.n * self._bytes_left / max(1, self._bytes_done)
            self._bar.total = self._bar.n + round(flows_left)
