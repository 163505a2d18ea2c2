"""Other tools' layouts of frames and flow as single images: their names, and the export to them.

A layout keeps a folder for each video, at any depth, and in it a JPEG file for each image:

- ``tsn`` (TSN, dense_flow, denseflow): img_00001.jpg, flow_x_00001.jpg, flow_y_00001.jpg.
- ``mmaction2``: img_00001.jpg, x_00001.jpg, y_00001.jpg as its configurations read them; its
  documentation has them as ``tsn``, too, which import takes as well.
- ``uv`` (Feichtenhofer's published flow): jpegs_256/<video>/frame000001.jpg, and the same in u and
  in v; import takes tvl1_flow/u and tvl1_flow/v as well.
- ``mars`` (MARS): 00001.jpg, TVL1jpg_x_00001.jpg, TVL1jpg_y_00001.jpg, and an empty file "done".

Convention: the flow of number k leads from the frame of number k to that of number k + 1, and there
is one flow less than frames. ``flow.json`` beside the images of x is the meta data of the store.
"""

import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args

import numpy as np

from flow import engines
from flow.encoding import Scheme, clipped_fraction, decode, encode
from flow.errors import InputError
from flow.files import make_writable, remove_leftovers, write_atomically
from flow.processors import usable_processors
from flow.progress import progress_bar
from flow.store import StoreFile, encode_flow, find_store_files, store_path
from flow.video import use_one_thread

Layout = Literal["tsn", "mmaction2", "uv", "mars"]

NOTE, DONE = "flow.json", "done"


@dataclass(frozen=True)
class Place:
    """Where a layout keeps a kind of images: in ``root``/<video>, named by prefix and number."""

    root: str
    prefix: str
    digits: int = 5

    def file(self, number: int) -> str:
        return f"{self.prefix}{number:0{self.digits}d}.jpg"

    def number(self, file: str) -> int | None:
        """The inverse of ``file``; None for the name of anything else."""
        match = re.fullmatch(f"{self.prefix}([0-9]{{{self.digits},}})\\.jpg", file)
        return int(match[1]) if match and self.file(int(match[1])) == file else None

    def numbers(self, folder: Path) -> list[int]:
        """The numbers of the images of this kind in a folder, sorted; none where it is not."""
        if not folder.is_dir():
            return []
        found = (self.number(path.name) for path in folder.iterdir())
        return sorted(number for number in found if number is not None)


@dataclass(frozen=True)
class Names:
    """The places of the three kinds of images."""

    frame: Place
    x: Place
    y: Place


STORED = Names(Place("", "img_"), Place("", "flow_x_"), Place("", "flow_y_"))
"""The names inside a store file, where numbers start at 1."""

LAYOUTS: dict[Layout, tuple[Names, ...]] = {
    "tsn": (STORED,),
    "mmaction2": (Names(Place("", "img_"), Place("", "x_"), Place("", "y_")), STORED),
    "uv": (
        Names(Place("jpegs_256", "frame", 6), Place("u", "frame", 6), Place("v", "frame", 6)),
        Names(
            Place("jpegs_256", "frame", 6),
            Place("tvl1_flow/u", "frame", 6),
            Place("tvl1_flow/v", "frame", 6),
        ),
    ),
    "mars": (Names(Place("", ""), Place("", "TVL1jpg_x_"), Place("", "TVL1jpg_y_")),),
}
"""What import takes for each layout, and first what export writes."""


@dataclass(frozen=True)
class Summary:
    """What an export or an import did.

    Attributes:
        folder: Where it wrote.
        done: Videos that were written, or completed.
        present: Videos that were there already, with the same content.
        failures: Id and reason of each video that failed.
        files: Files that were written: images and their notes, or members of store files.
        seconds: How long the run took.
        notes: What to know about the values, a sentence each.
    """

    folder: Path
    done: int
    present: int
    failures: tuple[tuple[str, str], ...]
    files: int
    seconds: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        counts = (
            f"{self.done} videos copied, {self.present} already there, "
            f"{len(self.failures)} failed: {self.files:,} files in {self.seconds:.1f} s "
            f"({self.files / self.seconds:.1f} files/s), in {self.folder}"
        )
        return "\n".join([counts, *self.notes])


def export_store(
    store: Path,
    folder: Path,
    layout: Layout,
    *,
    first: int = 1,
    encoding: Scheme | None = None,
    bound: float | None = None,
    quality: int = 95,
    workers: int | None = None,
    progress: bool = True,
) -> Summary:
    """Write every video of a store as single images in another tool's layout.

    The JPEG files are those of the store, byte for byte, unless ``encoding`` or ``bound`` ask for
    other values. What lies in the folder with the same content is left, so that running again
    completes what was interrupted; a video in whose place another content lies fails.

    Args:
        store: A folder that extract or import has written.
        folder: Is made where it is not there.
        layout: Its name.
        first: Number of the first frame and of the first flow: 1, or 0 for ``mmaction2``.
        encoding: Scheme of the images; that of each store file where not given.
        bound: Motion in pixels that the images hold; that of each store file where not given.
        quality: Of the JPEG files that are compressed anew, 1 to 100.
        workers: Processes, each at one video at a time; one a processor where not given.
        progress: Whether to show on stderr how far it is.

    Raises:
        InputError: Before anything is written: no store, a folder that cannot be written, or
            arguments that cannot be.
    """
    started = time.perf_counter()
    names = names_of(layout)[0]
    if first not in ((0, 1) if layout == "mmaction2" else (1,)):
        raise InputError(f"The layout {layout} does not start at {first}; leave first at 1.")
    blank = np.zeros(1, np.float32)
    encode(blank, 1.0 if bound is None else bound, encoding or "symmetric")  # raises what is wrong
    if not 1 <= quality <= 100:
        raise InputError(f"The JPEG quality is {quality}; give a number from 1 to 100.")
    files = find_store_files(store)
    if not files:
        raise InputError(f"{store} has no store files; give a folder that extract has written.")
    make_writable(folder)
    tasks = [
        _Export(video, path, folder, names, layout == "mars", first, encoding, bound, quality)
        for video, path in files.items()
    ]
    remove_leftovers(folder)
    try:
        copied, failures = run(_export, tasks, workers, progress)
    finally:
        remove_leftovers(folder)
    notes = sorted({note for result in copied.values() for note in result.notes})
    return summary(folder, copied, failures, time.perf_counter() - started, notes)


@dataclass(frozen=True)
class Copied:
    """The result of a task: how many files it wrote, 0 where all were there, and notes on them."""

    files: int
    notes: tuple[str, ...]


class _Task(Protocol):
    @property
    def video(self) -> str: ...


AnyTask = TypeVar("AnyTask", bound=_Task)


def run(
    function: Callable[[AnyTask, engines.Tell], Copied],
    tasks: Sequence[AnyTask],
    workers: int | None,
    progress: bool,
) -> tuple[dict[str, Copied], list[tuple[str, str]]]:
    """Do the tasks under a bar: what each video came to, and the reasons of those that failed."""
    if workers is not None and workers < 1:
        raise InputError(f"The number of workers is {workers}; give 1 or more.")
    copied: dict[str, Copied] = {}
    failures: list[tuple[str, str]] = []
    with (
        closing(engines.run(function, tasks, workers or usable_processors())) as events,
        progress_bar(None, " images", progress) as bar,
    ):
        for event in events:
            if isinstance(event, engines.Progress):
                bar.update(event.amount)
                continue
            if isinstance(event, engines.Done):
                copied[event.task.video] = event.result
            else:
                failures.append((event.task.video, event.reason))
            ended = len(copied) + len(failures)
            bar.set_postfix_str(f"{ended}/{len(tasks)} videos", refresh=False)
            bar.update(0)
    return copied, failures


def summary(
    folder: Path,
    copied: dict[str, Copied],
    failures: Sequence[tuple[str, str]],
    seconds: float,
    notes: Sequence[str],
) -> Summary:
    counts = [result.files for result in copied.values()]
    return Summary(
        folder=folder,
        done=len(counts) - counts.count(0),
        present=counts.count(0),
        failures=tuple(sorted(failures)),
        files=sum(counts),
        seconds=seconds,
        notes=tuple(notes),
    )


def names_of(layout: Layout) -> tuple[Names, ...]:
    if layout not in LAYOUTS:
        raise InputError(
            f"Layout {layout!r} is unknown; give one of {', '.join(get_args(Layout))}."
        )
    return LAYOUTS[layout]


def inside(root: Path, video: str) -> Path:
    """The folder of a video under ``root``; InputError where its id or a link leads elsewhere."""
    store_path(root, video)
    path = root / video
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path} leads outside {root}; remove the link.")
    return path


@dataclass(frozen=True)
class _Export:
    """A video: its id, its store file, and how it goes to which folder."""

    video: str
    path: Path
    folder: Path
    names: Names
    done: bool
    first: int
    encoding: Scheme | None
    bound: float | None
    quality: int


def _export(task: _Export, tell: engines.Tell) -> Copied:
    """Do a task, in a process of its own."""
    use_one_thread()
    files, notes = 0, []
    try:
        with StoreFile(task.path) as stored, zipfile.ZipFile(task.path) as archive:
            export = _Exporter(task, stored, archive)
            notes = export.notes()
            for path, content in export.files():
                files += _complete(path, content)
                tell(1)
            ends = export.ends()
    except OSError as error:
        raise InputError(
            f"{error.filename or task.path} cannot be read or written ({error.strerror}); "
            "mend that and run again."
        ) from error
    for path, content in ends:
        files += _complete(path, content)
    return Copied(files, tuple(notes))


class _Exporter:
    """The files of a video in a layout, one after the other."""

    def __init__(self, task: _Export, stored: StoreFile, archive: zipfile.ZipFile) -> None:
        self._task, self._stored, self._archive = task, stored, archive
        meta = stored.meta
        changed = {"encoding": task.encoding, "bound": task.bound}
        self._meta = replace(meta, **{k: v for k, v in changed.items() if v is not None})  # type: ignore[arg-type]
        self._copies = self._meta == meta and meta.codec == "jpeg"
        if not self._copies:
            self._meta = replace(self._meta, codec="jpeg", quality=task.quality)
        self._clipped = 0.0
        self._has_frames = meta.rgb
        counts = {task.names.x: meta.flows, task.names.y: meta.flows}
        if self._has_frames:
            counts[task.names.frame] = meta.frames
        self._folders = {place: inside(task.folder / place.root, task.video) for place in counts}
        for place, count in counts.items():
            self._refuse_others(place, count)

    def notes(self) -> list[str]:
        notes = [] if self._has_frames else ["Some store files have no frames: only flow is there."]
        law = f"encoding {self._meta.encoding}, bound {self._meta.bound:g}"
        if self._copies:
            return [*notes, f"The flow is as it was stored: {law}."]
        return [*notes, f"The flow was compressed anew, quality {self._meta.quality}: {law}."]

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Path and content of each image."""
        names, first = self._task.names, self._task.first
        for index in range(self._stored.meta.frames if self._has_frames else 0):
            content = self._read(STORED.frame.file(index + 1))
            yield self._folders[names.frame] / names.frame.file(first + index), content
        for index in range(self._stored.meta.flows):
            for place, content in zip((names.x, names.y), self._flow(index), strict=True):
                yield self._folders[place] / place.file(first + index), content

    def ends(self) -> list[tuple[Path, bytes]]:
        """The files that say that the images are all there, which come last."""
        x = self._folders[self._task.names.x]
        clipped = max(self._meta.clipped, self._clipped / self._meta.flows)
        notes = [(x / NOTE, replace(self._meta, clipped=clipped).to_json().encode())]
        return notes + [(x / DONE, b"")] * self._task.done

    def _flow(self, index: int) -> tuple[bytes, bytes]:
        if self._copies:
            x, y = (self._read(place.file(index + 1)) for place in (STORED.x, STORED.y))
            return x, y
        old, new = self._stored.meta, self._meta
        flow = decode(self._stored.flow_images([index])[0], old.bound, old.encoding)
        self._clipped += clipped_fraction(flow, new.bound)
        image = encode(flow, new.bound, new.encoding)
        x, y = encode_flow(image, "jpeg", new.quality)
        return x, y

    def _read(self, member: str) -> bytes:
        try:
            return self._archive.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            raise InputError(
                f"{self._task.path} is damaged in {member} ({error}); extract its video again."
            ) from None

    def _refuse_others(self, place: Place, count: int) -> None:
        folder, first = self._folders[place], self._task.first
        for number in place.numbers(folder):
            if not first <= number < first + count:
                raise InputError(
                    f"{folder / place.file(number)} is no image of this video; "
                    "remove its folder, or give another one to export to."
                )


def _complete(path: Path, content: bytes) -> bool:
    """Write a file that is not there; InputError where it is there with another content."""
    if path.exists():
        if path.read_bytes() != content:
            raise InputError(
                f"{path} is there with another content; remove its folder, "
                "or give another one to export to."
            )
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return True
