"""The way of one video into its store file, in windows of frames, all stages at a time.

A thread decodes a window while another has flow computed for the one before, and a third compresses
and writes the one before that; so three windows are in memory, whatever the length of the video.
"""

import errno
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from flow import gpu
from flow.algorithms import video_flow
from flow.encoding import encode
from flow.errors import InputError, PassingError
from flow.meta import Meta
from flow.pipeline import ahead
from flow.scaling import scaled
from flow.settings import Settings
from flow.sources import open_video, origin
from flow.store import StoreWriter, encode_flow, encode_frame, read_meta
from flow.throughput import Meter, Work
from flow.video import grey, use_one_thread

CPU_WINDOW = (16, 1 << 22)
"""Pairs of frames in a window at most, and pixels; but a pair for each thread at least."""

GPU_WINDOW = (256, 1 << 24)
"""The same where a GPU solves, which takes hundreds of pairs at a time."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}

Origin = tuple[str, int, str]
Item = TypeVar("Item")
Value = TypeVar("Value")
P = ParamSpec("P")
Solve = Callable[[NDArray[np.uint8]], tuple[gpu.Answer, float]]


@dataclass(frozen=True)
class Job:
    """A video and where its flow goes.

    Attributes:
        path: Where the video lies.
        source: Its path in the folder of videos.
        video: Its id.
        target: Its store file.
        settings: What to compute.
        bytes: Size of the video.
        keep_readable: Store what lies before damage, rather than nothing.
        stored: What is stored of it.
        refused: How an earlier run found that it cannot be stored.
        wait: Until another run that is at this video has ended.
        threads: Processors that it may use.
        gpu: The address of a ``GpuProcess``, or the name of a GPU, that solves it.
        share: Of that GPU's memory, where it is a name.
    """

    path: Path
    source: str
    video: str
    target: Path
    settings: Settings
    bytes: int
    keep_readable: bool = False
    stored: Meta | None = None
    refused: "Refused | None" = None
    wait: bool = False
    threads: int = 1
    gpu: str | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Stored:
    """What its store file holds now, and the seconds that it took if it was not there."""

    meta: Meta
    seconds: float | None


@dataclass(frozen=True)
class Refused:
    """The video cannot be stored, nor will it be as long as it is this very one."""

    origin: Origin
    reason: str


@dataclass(frozen=True)
class Busy:
    """Another run is at it."""


@dataclass(frozen=True)
class DiskFull:
    """It cannot be written, nor can any other."""

    reason: str


Outcome = Stored | Refused | Busy | DiskFull


def store_video(job: Job, tell: Callable[[Work], None]) -> Outcome:
    """Do a job; ``tell`` hears of each window.

    Raises:
        InputError: The video could not be read, or something failed that may pass.
    """
    use_one_thread()
    started = time.perf_counter()
    source = origin(job.path)
    if job.stored and job.stored.origin == source:
        return Stored(job.stored, None)
    if job.refused and job.refused.origin == source:
        return job.refused
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        settings = job.settings
        with StoreWriter(job.target, settings.quality, settings.codec, job.wait) as writer:
            if other := _stored_meanwhile(job, source):
                return Stored(other, None)
            meta = _write(job, source, writer, tell)
    except PassingError:
        raise
    except InputError as error:
        return Refused(source, str(error))
    except BlockingIOError:
        return Busy()
    except OSError as error:
        reason = f"{job.target} cannot be written ({error.strerror}); mend that and run again."
        if error.errno in _FULL:
            return DiskFull(reason)
        raise InputError(reason) from error
    return Stored(meta, time.perf_counter() - started)


def _stored_meanwhile(job: Job, source: Origin) -> Meta | None:
    """What another run has stored of the video since this one looked."""
    meta = None
    with suppress(InputError):
        meta = read_meta(job.target)
    if meta is None or meta.origin != source:
        return None
    if difference := job.settings.difference(meta):
        raise PassingError(f"Another run has stored it with {difference}; keep to one of the two.")
    return meta


@dataclass(frozen=True)
class _Window:
    """Frames that no window before held, RGB, and all between which flow is to be computed."""

    frames: list[NDArray[np.uint8]]
    grey: NDArray[np.uint8]


@dataclass(frozen=True)
class _Part:
    """Frames, and the flow images that they add; so many flow values are beyond the bound."""

    frames: list[NDArray[np.uint8]]
    images: NDArray[np.uint8]
    beyond: int


def _write(job: Job, source: Origin, writer: StoreWriter, tell: Callable[[Work], None]) -> Meta:
    settings, meter = job.settings, Meter()
    video = open_video(job.path, job.keep_readable)
    flows = beyond = 0
    size: tuple[int, ...] = (0, 0)
    with ExitStack() as stack:
        each = _mapper(job.threads, stack)
        windows = stack.enter_context(closing(ahead(_windows(video, job, meter))))
        for part in stack.enter_context(closing(ahead(_solved(windows, job, meter)))):
            frames = part.frames if settings.rgb else []
            frame_files = list(each(partial(_frame_file, settings, meter), frames))
            flow_files = list(each(partial(_flow_files, settings, meter), part.images))
            meter.add("encode", len(part.frames), 0.0)
            _, seconds = _clocked(_add, writer, frame_files, flow_files)
            meter.add("write", len(part.frames), seconds)
            flows += len(part.images)
            beyond += part.beyond
            size = part.images.shape[1:3]
            tell(meter.take())
    if flows == 0:
        damage = f" that can be read ({video.damage})" if video.damage else ""
        raise InputError(f"{job.path} has one frame{damage}; give a video of two or more.")
    meta = Meta(
        *source,
        frames=flows + 1,
        fps=video.fps / settings.step,
        width=size[1],
        height=size[0],
        decoder=video.decoder,
        clipped=beyond / (flows * size[0] * size[1] * 2),
        version=settings.version(),
        damage=video.damage,
        **settings.recorded(),
    )
    _, seconds = _clocked(writer.finish, meta)
    meter.add("write", 0, seconds)
    tell(meter.take())
    return meta


def _windows(
    video: Iterable[NDArray[np.uint8]], job: Job, meter: Meter
) -> Generator[_Window, None, None]:
    """Windows of two grey frames or more, each beginning with the last frame of the one before."""
    frames: list[NDArray[np.uint8]] = []
    greys: list[NDArray[np.uint8]] = []
    for frame in _frames(video, job.settings, meter):
        frames.append(frame)
        greys.append(grey(frame))
        if len(greys) > _pairs(greys[0].size, job):
            yield _Window(frames, np.stack(greys))
            frames, greys = [], greys[-1:]
    if frames:
        yield _Window(frames, np.stack(greys))


def _frames(
    video: Iterable[NDArray[np.uint8]], settings: Settings, meter: Meter
) -> Iterator[NDArray[np.uint8]]:
    """The frames that are taken, at the size that they are taken at."""
    frames = itertools.islice(iter(video), 0, None, settings.step)
    while True:
        with meter.busy("decode"):
            frame = next(frames, None)
            if frame is not None:
                frame = scaled(frame, settings.short_side)
        if frame is None:
            return
        meter.add("decode", 1, 0.0)
        yield frame


def _pairs(pixels: int, job: Job) -> int:
    """How many pairs of frames of so many pixels make a window."""
    most_pairs, most_pixels = GPU_WINDOW if job.gpu else CPU_WINDOW
    pairs = max(1, min(most_pairs, most_pixels // pixels))
    if job.gpu:
        return pairs
    # Each thread takes one pair after another: the last ones end together.
    return max(1, pairs // job.threads) * job.threads


def _solved(windows: Iterable[_Window], job: Job, meter: Meter) -> Generator[_Part, None, None]:
    solve = _solver(job)
    for window in windows:
        if len(window.grey) < 2:  # a video of one frame
            images, beyond = np.zeros((0, *window.grey.shape[1:], 2), np.uint8), 0
        else:
            answer, seconds = solve(window.grey)
            images, beyond = answer.images, round(answer.clipped * answer.images.size)
            meter.add("solve", len(images), seconds)
        yield _Part(window.frames, images, beyond)


def _solver(job: Job) -> Solve:
    """What computes the flow images of a window, and says how long the solver was busy."""
    settings = job.settings

    def task(frames: NDArray[np.uint8]) -> gpu.Task:
        return gpu.Task(frames, settings.params, settings.bound, settings.encoding)

    place = job.gpu
    if place is None:
        return partial(_on_processors, job=job)
    if place.startswith("cuda"):
        return lambda frames: _clocked(gpu.solve, task(frames), place, job.share)
    return lambda frames: _client(place).solve(task(frames))


def _on_processors(frames: NDArray[np.uint8], job: Job) -> tuple[gpu.Answer, float]:
    settings = job.settings
    threads = min(job.threads, len(frames) - 1) if settings.solver == "cpu" else 1
    flow, seconds = _clocked(
        video_flow, frames, settings.algorithm, settings.params, settings.solver, threads
    )
    beyond = np.count_nonzero(np.abs(flow) > settings.bound) / flow.size
    images = encode(flow, settings.bound, settings.encoding)
    return gpu.Answer(images, beyond), seconds * threads


@lru_cache(maxsize=8)
def _client(address: str) -> gpu.GpuClient:
    """One for all videos of a process."""
    return gpu.GpuClient(address)


def _mapper(
    threads: int, stack: ExitStack
) -> Callable[[Callable[[Item], Value], Iterable[Item]], Iterator[Value]]:
    if threads == 1:
        return map
    return stack.enter_context(ThreadPoolExecutor(threads)).map


def _frame_file(settings: Settings, meter: Meter, frame: NDArray[np.uint8]) -> bytes:
    with meter.busy("encode"):
        return encode_frame(frame, settings.quality)


def _flow_files(settings: Settings, meter: Meter, image: NDArray[np.uint8]) -> tuple[bytes, ...]:
    with meter.busy("encode"):
        return encode_flow(image, settings.codec, settings.quality)


def _add(writer: StoreWriter, frames: list[bytes], flows: list[tuple[bytes, ...]]) -> None:
    """Add each frame and then the flow to it: an order that does not depend on the windows."""
    first = frames[: len(frames) - len(flows)]  # of the video: no flow goes to it
    for file in first:
        writer.add_encoded_frame(file)
    for file, files in itertools.zip_longest(frames[len(first) :], flows):
        if file is not None:
            writer.add_encoded_frame(file)
        writer.add_encoded_flow(files)


def _clocked(
    function: Callable[P, Value], *arguments: P.args, **named: P.kwargs
) -> tuple[Value, float]:
    """What a call gives, and how long it took."""
    started = time.perf_counter()
    value = function(*arguments, **named)
    return value, time.perf_counter() - started
