"""Import of frames and flow that other tools have stored as single images; flow.layouts has names.

What is imported is whole, or it is refused: every image is decoded once, numbers have no gaps, x
and y belong together, all sizes are the same, and T frames have T - 1 flows.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Literal, TypeVar, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from flow import engines
from flow.encoding import Scheme, encode
from flow.errors import InputError
from flow.files import make_writable, remove_leftovers
from flow.layouts import (
    NOTE,
    STORED,
    Copied,
    Layout,
    Names,
    Place,
    Summary,
    inside,
    run,
    summary,
)
from flow.layouts_find import find_layout
from flow.manifest import failed_row, read_manifest, stored_row, write_tables
from flow.meta import IMPORTED, SETTINGS, Meta
from flow.store import META, StoreWriter, find_store_files, read_meta, store_path
from flow.video import use_one_thread

ExtraFlow = Literal["first", "last"]

Item = TypeVar("Item")

_COMMON = [name for name in SETTINGS if name != "quality"]  # which other tools leave to chance

SAMPLED_VIDEOS, SAMPLED_IMAGES = 16, 4
"""What the level of zero motion is measured on."""

_END_OF_IMAGE = b"\xff\xd9"
_AGAIN = "extract its video again"


def import_folder(
    folder: Path,
    store: Path,
    layout: Layout,
    *,
    encoding: Scheme | None = None,
    bound: float | None = None,
    extra_flow: ExtraFlow | None = None,
    trust_zero: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Summary:
    """Make a store file of every video in a folder of images; JPEG files are taken as they are.

    A video that is stored with the same content is left, so that running again completes what was
    interrupted. The store's manifest and failures are written as extract writes them. A folder
    without any frames makes a store of flow alone.

    Args:
        folder: Holds a folder for each video, at any depth (``uv``: the folders u and v).
        store: A folder, made where it is not there.
        layout: Its name. Whether numbers start at 0 or 1 is seen from the files.
        encoding: The scheme of the images; where it is not given, each video's flow.json says it.
            It is "dense_flow" for TSN, dense_flow, denseflow and Feichtenhofer's published flow.
        bound: Motion in pixels that the images hold, likewise: 20 there, and 32 for denseflow
            unless it was given another.
        extra_flow: Which flow to leave out where a video has as many flows as frames: "first" for
            dense_flow, whose img_00001.jpg is the second frame; "last" for tools that leave the
            last frame away or repeat the last flow. Where not given, such videos fail.
        trust_zero: Whether to leave out the check that zero is not at 127, for flow of a tool that
            is known to round: few videos, each of a moving camera, may look truncated.
        workers: Processes, each at one video at a time; one a processor where not given.
        progress: Whether to show on stderr how far it is.

    Raises:
        InputError: Before anything is stored: a folder without videos of this layout, no encoding
            or bound, flow whose zero is 127 (see ``refuse_truncated``), a store that cannot be
            written or that holds flow of another kind.
    """
    started = perf_counter()
    if extra_flow not in (None, *get_args(ExtraFlow)):
        raise InputError(f"The extra flow is {extra_flow!r}; give first or last.")
    blank = np.zeros(1, np.float32)
    encode(blank, 1.0 if bound is None else bound, encoding or "symmetric")  # raises what is wrong
    try:
        videos, rgb = find_layout(folder, layout)
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); make it readable."
        ) from error
    make_writable(store)
    tasks, failures, unexplained = [], [], 0
    for video, names in videos.items():
        try:
            law = _law(folder, video, names, encoding, bound, rgb)
            inside(store, video)
            tasks.append(_Import(video, folder, names, store_path(store, video), law, extra_flow))
        except InputError as error:
            failures.append((video, str(error)))
            unexplained += isinstance(error, _UnexplainedError)
    if unexplained == len(videos):
        raise InputError(failures[0][1])
    if not trust_zero:
        unknown = [(task.video, task.names) for task in tasks if not task.law.declared]
        refuse_truncated(folder, unknown)
    _refuse_mixed(store, tasks)
    remove_leftovers(store)
    copied: dict[str, Copied] = {}
    try:
        copied, failed = run(_import, tasks, workers, progress)
        failures += failed
    finally:
        remove_leftovers(store)
        _write_tables(store, failures)
    notes = sorted({note for result in copied.values() for note in result.notes})
    return summary(store, copied, failures, perf_counter() - started, notes)


class _UnexplainedError(InputError):
    """Nothing says what the values of a video mean."""


@dataclass(frozen=True)
class _Law:
    """What the images' values mean: as flow.json declares it, or as the arguments say."""

    bound: float
    encoding: Scheme
    rgb: bool
    declared: Meta | None = None

    @property
    def kind(self) -> dict[str, object]:
        """What all flow in a store has in common."""
        if self.declared:
            return _kind(self.declared)
        usual = {field.name: field.default for field in fields(Meta)}
        known = {"solver": IMPORTED, "params": {}, **vars(self)}
        return {name: known.get(name, usual[name]) for name in _COMMON}


@dataclass(frozen=True)
class _Import:
    """A video: its id, where its images lie and by what names, and its store file."""

    video: str
    folder: Path
    names: Names
    target: Path
    law: _Law
    extra_flow: ExtraFlow | None

    def place(self, place: Place) -> Path:
        return self.folder / place.root / self.video


def refuse_truncated(folder: Path, videos: Sequence[tuple[str, Names]]) -> None:
    """Raise InputError where zero motion is 127, as tools write that truncate and do not round.

    Where nothing moves, flow is a little more or less than zero. Rounded by the dense_flow formula
    that is 128 and 127, about equally often, so that 127 may well be the most frequent value;
    truncated it is 127, and seldom 126 or 128. Both x and y must have 127 as such a lonely peak,
    twice as frequent as its neighbours: a slow camera makes one of them in sound flow, too.
    """
    counts = np.zeros((2, 256), np.int64)
    for video, names in _spread(videos, SAMPLED_VIDEOS):
        for channel, place in enumerate((names.x, names.y)):
            path = folder / place.root / video
            for number in _spread(place.numbers(path), SAMPLED_IMAGES):
                with suppress(InputError, OSError):  # the import of this video tells of it
                    image = _decoded(path / place.file(number), None, cv2.IMREAD_GRAYSCALE)
                    counts[channel] += np.bincount(image.ravel(), minlength=256)
    neighbours = counts[:, [126, 128]].max(axis=1)
    if (counts.argmax(axis=1) == 127).all() and (counts[:, 127] > 2 * neighbours).all():
        shares = counts[:, 127] / counts.sum(axis=1)
        raise InputError(
            f"{folder} holds flow whose zero is 127 ({shares[0]:.0%} of x and {shares[1]:.0%} of y "
            "in a sample), truncated as by mmaction2's script for the CPU and by MARS, which no "
            "encoding of the store means; extract the flow again from the videos, or trust the "
            "zero of a tool that is known to round."
        )


def _law(
    folder: Path, video: str, names: Names, encoding: Scheme | None, bound: float | None, rgb: bool
) -> _Law:
    """What the values of a video mean; InputError where nothing says it, or two disagree."""
    note = folder / names.x.root / video / NOTE
    declared = None
    if note.is_file():
        try:
            declared = Meta.from_json(note.read_bytes())
        except (InputError, OSError) as error:
            raise InputError(f"{note} cannot be used ({error}); remove it.") from None
        said = _Law(declared.bound, declared.encoding, rgb, replace(declared, rgb=rgb))
        if (encoding or said.encoding, bound or said.bound) == (said.encoding, said.bound):
            return said
        raise InputError(
            f"{note} says encoding {said.encoding} and bound {said.bound:g}; give the same or none."
        )
    if encoding is None or bound is None:
        raise _UnexplainedError(
            f"{note} is not there to say how flow is encoded; give encoding and bound "
            "(dense_flow and 20 for most tools)."
        )
    return _Law(bound, encoding, rgb)


def _refuse_mixed(store: Path, tasks: Sequence[_Import]) -> None:
    """Raise InputError where the store would hold flow of two kinds."""
    kinds = [(task.video, task.law.kind) for task in tasks]
    for video, path in find_store_files(store).items():
        with suppress(InputError):  # damaged: as good as not there
            kinds.append((video, _kind(read_meta(path))))
    for video, kind in kinds[1:]:
        for name, value in kind.items():
            if value != (first := kinds[0][1][name]):
                raise InputError(
                    f"{store} would hold {kinds[0][0]!r} with {name} {first} and {video!r} with "
                    f"{name} {value}; give each a store of its own."
                )


def _kind(meta: Meta) -> dict[str, object]:
    return {name: getattr(meta, name) for name in _COMMON}


def _import(task: _Import, tell: engines.Tell) -> Copied:
    """Do a task, in a process of its own."""
    use_one_thread()
    try:
        members = _members(task)
        meta, sums = _examine(task, members, tell)
        law = f"The flow's encoding is {meta.encoding} with bound {meta.bound:g}"
        notes = (f"{law}, as {NOTE} says." if task.law.declared else f"{law}, as was given.",)
        if _is_stored(task.target, meta, sums):
            return Copied(0, notes)
        task.target.parent.mkdir(parents=True, exist_ok=True)
        with StoreWriter(task.target) as writer:
            for name, content in _unchanged(members, sums):
                if STORED.frame.number(name) is not None:
                    writer.add_encoded_frame(content)
                elif STORED.x.number(name) is not None:
                    x = content
                else:
                    writer.add_encoded_flow((x, content))
            writer.finish(meta)
    except OSError as error:
        raise InputError(
            f"{error.filename or task.target} cannot be read or written ({error.strerror}); "
            "mend that and run again."
        ) from error
    return Copied(len(members), notes)


def _unchanged(
    members: dict[str, Path], sums: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, bytes]]:
    """The content of each member; InputError where a file is not the one that was examined."""
    for name, path in members.items():
        content = path.read_bytes()
        if (len(content), zlib.crc32(content)) != sums[name]:
            raise InputError(f"{path} has changed meanwhile; run again.")
        yield name, content


def _members(task: _Import) -> dict[str, Path]:
    """The members of a store file and where each comes from, in order; InputError for gaps."""
    names = task.names
    x, y = _numbers(task, names.x), _numbers(task, names.y)
    frames = _numbers(task, names.frame) if task.law.rgb else [0, *x]
    if odd := sorted(set(x) ^ set(y)):
        here, there = (names.x, names.y) if odd[0] in x else (names.y, names.x)
        raise InputError(
            f"{task.place(here) / here.file(odd[0])} has no {there.file(odd[0])} "
            f"in {task.place(there)}; {_AGAIN}."
        )
    if len(x) == len(frames) and task.extra_flow:
        x = x[1:] if task.extra_flow == "first" else x[:-1]
    if len(x) != len(frames) - 1:
        hint = "say which flow to leave out" if len(x) == len(frames) else _AGAIN
        raise InputError(
            f"{task.place(names.x)} has {len(x)} flow images where {len(frames)} frames have "
            f"{len(frames) - 1}; {hint}."
        )
    members: dict[str, Path] = {}
    for index, number in enumerate(frames):
        if task.law.rgb:
            members[STORED.frame.file(index + 1)] = _path(task, names.frame, number)
        if index:
            members[STORED.x.file(index)] = _path(task, names.x, x[index - 1])
            members[STORED.y.file(index)] = _path(task, names.y, x[index - 1])
    return members


def _path(task: _Import, place: Place, number: int) -> Path:
    return task.place(place) / place.file(number)


def _numbers(task: _Import, place: Place) -> list[int]:
    """The numbers of a kind of images, without a gap from 0 or 1 on."""
    numbers, folder = place.numbers(task.place(place)), task.place(place)
    start = numbers[0] if numbers[:1] == [0] else 1
    for wanted, number in enumerate(numbers or [start + 1], start):
        if number != wanted:
            later = f" but has {place.file(number)}" if numbers else ""
            raise InputError(f"{folder} has no {place.file(wanted)}{later}; {_AGAIN}.")
    return numbers


def _examine(
    task: _Import, members: dict[str, Path], tell: engines.Tell
) -> tuple[Meta, dict[str, tuple[int, int]]]:
    """Decode every image: the meta data of them all, and length and CRC of each."""
    sums: dict[str, tuple[int, int]] = {}
    digest = hashlib.sha256()
    size: tuple[int, ...] = ()
    clipped = values = 0
    lowest = 1 if task.law.encoding == "symmetric" else 0
    for name, path in members.items():
        content = path.read_bytes()
        digest.update(content)
        sums[name] = len(content), zlib.crc32(content)
        is_frame = STORED.frame.number(name) is not None
        flag = cv2.IMREAD_COLOR_RGB if is_frame else cv2.IMREAD_GRAYSCALE
        image = _decoded(path, content, flag)
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            raise InputError(
                f"{path} has {image.shape[1]} x {image.shape[0]} pixels, where others of the video "
                f"have {size[1]} x {size[0]}; {_AGAIN}."
            )
        if not is_frame:
            values += image.size
            clipped += int(np.count_nonzero((image <= lowest) | (image == 255)))
        tell(1)
    frames = 1 + sum(STORED.x.number(name) is not None for name in members)
    if meta := task.law.declared:
        if (meta.frames, meta.height, meta.width) != (frames, *size):
            raise InputError(
                f"{task.place(task.names.x) / NOTE} tells of {meta.frames} frames of {meta.width} "
                f"x {meta.height} pixels, not {frames} of {size[1]} x {size[0]}; {_AGAIN}."
            )
        return meta, sums
    meta = Meta(
        source=PurePosixPath(task.video).name,
        source_bytes=sum(length for length, _ in sums.values()),
        source_sha256=digest.hexdigest(),
        frames=frames,
        fps=0.0,
        width=size[1],
        height=size[0],
        decoder=IMPORTED,
        solver=IMPORTED,
        params={},
        bound=task.law.bound,
        encoding=task.law.encoding,
        clipped=clipped / values,
        quality=_quality(_table(members[STORED.x.file(1)].read_bytes())),
        rgb=task.law.rgb,
    )
    return meta, sums


def _decoded(path: Path, content: bytes | None, flag: int) -> NDArray[np.uint8]:
    content = path.read_bytes() if content is None else content
    if not content.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise InputError(f"{path} is no whole JPEG file; {_AGAIN}.")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path} cannot be decoded; {_AGAIN}.")
    picture: NDArray[np.uint8] = image
    return picture


def _table(jpeg: bytes) -> bytes:
    """The quantisation table of the luma: ITU-T T.81, B.2.4.1."""
    start = jpeg.find(b"\xff\xdb") + 5
    return jpeg[start : start + 64]


@cache
def _quality(table: bytes) -> int:
    """The quality at which OpenCV quantises most alike."""
    blank = np.zeros((8, 8), np.uint8)
    wanted = np.frombuffer(table, np.uint8).astype(np.int64)

    def difference(quality: int) -> int:
        _, jpeg = cv2.imencode(".jpg", blank, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return int(np.abs(np.frombuffer(_table(jpeg.tobytes()), np.uint8) - wanted).sum())

    return min(range(100, 0, -1), key=difference)


def _is_stored(target: Path, meta: Meta, sums: dict[str, tuple[int, int]]) -> bool:
    """Whether a store file holds just this, by the lengths and CRCs that its directory lists."""
    try:
        with zipfile.ZipFile(target) as file:
            listed = {entry.filename: (entry.file_size, entry.CRC) for entry in file.infolist()}
        return (
            read_meta(target) == meta
            and listed.keys() - sums.keys() == {META}
            and (sums.items() <= listed.items())
        )
    except (zipfile.BadZipFile, InputError, OSError, ValueError):
        return False


def _write_tables(store: Path, failures: Sequence[tuple[str, str]]) -> None:
    """State in the manifest what lies in the store and what failed now."""
    seconds: dict[str, str] = {}
    with suppress(InputError):  # how long an extraction took stands nowhere else
        seconds = {row["video"]: row["seconds"] for row in read_manifest(store)}
    rows: dict[str, Sequence[object]] = {}
    for video, path in find_store_files(store).items():
        with suppress(InputError):  # damaged: as good as not there
            rows[video] = stored_row(video, read_meta(path), seconds.get(video, ""))
    rows |= {video: failed_row(video, video) for video, _ in failures}
    try:
        tables = [rows[video] for video in sorted(rows)], sorted(failures)
        write_tables(store, lambda: tables)
    except OSError as error:
        raise InputError(
            f"{store} cannot be written ({error.strerror}); mend that and run again."
        ) from error


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of the items, evenly spaced."""
    chosen = np.unique(np.linspace(0, max(0, len(items) - 1), count).astype(int))
    return [items[index] for index in chosen] if items else []
