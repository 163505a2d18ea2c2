"""The store: one zip file a video, with its frames, its flow, and where both come from.

A store file is plain and uncompressed, so that any tool opens it: ``img_00001.jpg`` ... are the T
frames, ``flow_x_00001.jpg`` ... and ``flow_y_00001.jpg`` ... the T - 1 flow images, each a grey
JPEG (in one colour JPEG x and y would spoil each other), and ``meta.json`` comes last. Numbers
start at 1 there, indices at 0 here: flow 0 goes from frame 0 to frame 1. The same input gives the
same bytes.
"""

import json
import os
import re
import struct
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO, Self, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flow.encoding import Scheme
from flow.errors import InputError
from flow.files import atomic
from flow.tvl1 import TVL1Params

FORMAT = 1
META = "meta.json"
IMPORTED = "imported"
"""The solver of flow that came from other tools and that nothing more is known of."""

_AGAIN = "remove it and extract its video again"
# Whatever zipfile raises on a file that is no zip, or a damaged one.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(EOFError, KeyError, OSError, RuntimeError, ValueError),
)


@dataclass(frozen=True)
class Meta:
    """What a store file holds and how it was made; raises InputError for values that cannot be.

    Attributes:
        source: File name of the video, without folders.
        source_bytes: Its size.
        source_sha256: Its hash, 64 hexadecimal digits.
        frames: Frames that were decoded; there is one flow image less.
        fps: Frames a second as the video states them, 0 where it states none.
        width: Of the frames and of the flow, pixels.
        height: The same.
        decoder: What decoded the video, with its version.
        solver: The TV-L1 solver, by its own name (never "auto").
        params: The fields of ``TVL1Params``; none where the solver is "imported".
        bound: Motion in pixels that the encoding still holds.
        encoding: The scheme of ``flow.encode``.
        clipped: Share of the flow's values that lie beyond ``bound``, 0 to 1.
        quality: Of the JPEG files, 1 to 100.
        codec: Of the images.
        algorithm: Of the flow.
        format: Version of this layout.
    """

    source: str
    source_bytes: int
    source_sha256: str
    frames: int
    fps: float
    width: int
    height: int
    decoder: str
    solver: str
    params: dict[str, Any]
    bound: float
    encoding: Scheme
    clipped: float
    quality: int = 95
    codec: str = "jpeg"
    algorithm: str = "tvl1"
    format: int = FORMAT

    def __post_init__(self) -> None:
        valid = {
            "format": self.format == FORMAT,
            "source": _is_text(self.source) and self.source == Path(self.source).name != "..",
            "source_bytes": _is_count(self.source_bytes),
            "source_sha256": _is_text(self.source_sha256)
            and re.fullmatch("[0-9a-f]{64}", self.source_sha256) is not None,
            "frames": _is_count(self.frames) and self.frames >= 2,
            "fps": _is_number(self.fps) and self.fps >= 0,
            "width": _is_count(self.width),
            "height": _is_count(self.height),
            "decoder": _is_text(self.decoder),
            "solver": _is_text(self.solver),
            "params": _are_tvl1_params(self.params)
            or (self.solver == IMPORTED and self.params == {}),
            "bound": _is_number(self.bound) and self.bound > 0,
            "encoding": self.encoding in get_args(Scheme),
            "clipped": _is_number(self.clipped) and 0 <= self.clipped <= 1,
            "quality": _is_count(self.quality) and self.quality <= 100,
            "codec": self.codec == "jpeg",
            "algorithm": self.algorithm == "tvl1",
        }
        for name, good in valid.items():
            if not good:
                raise InputError(f"The meta data's {name} cannot be {getattr(self, name)!r}.")

    @property
    def flows(self) -> int:
        return self.frames - 1

    @property
    def origin(self) -> tuple[str, int, str]:
        """What tells the video from any other: its name, size and hash."""
        return self.source, self.source_bytes, self.source_sha256

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of ``to_json``; raises InputError for anything else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The meta data is no JSON: {error}.") from None
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise InputError(f"The meta data has not exactly the fields {sorted(names)}.")
        return cls(**values)


class StoreWriter:
    """Writes a store file as its parts come; it takes its name when ``finish`` has returned.

    Left in any other way, it leaves nothing behind.
    """

    def __init__(self, path: Path, quality: int = 95) -> None:
        self._path = path
        self._quality = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._size: tuple[int, ...] | None = None
        self._frames = self._flows = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        file = self._open.enter_context(atomic(self._path))
        self._zip = self._open.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_STORED))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After finish() this stack is empty; before it, an error is what removes the partial file.
        error = error or ValueError("the store file was left unfinished")
        self._open.__exit__(type(error), error, traceback)

    def add_frame(self, frame: NDArray[np.uint8]) -> None:
        """Add the next frame, uint8 (H, W, 3) RGB."""
        self._check(frame, channels=3)
        self._add_image(_frame_name(self._frames), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def add_flow(self, image: NDArray[np.uint8]) -> None:
        """Add the next flow image, uint8 (H, W, 2)."""
        self._check(image, channels=2)
        for channel, name in enumerate(_flow_names(self._flows)):
            self._add_image(name, np.ascontiguousarray(image[..., channel]))
        self._flows += 1

    def finish(self, meta: Meta) -> None:
        """Add ``meta`` and give the file its name."""
        written = (self._frames, self._flows, self._size)
        if written != (meta.frames, meta.flows, (meta.height, meta.width)):
            raise ValueError(f"frames, flows and size are {written}, not those of {meta}")
        self._add(META, meta.to_json().encode())
        self._open.close()

    def _check(self, image: NDArray[np.uint8], channels: int) -> None:
        self._size = self._size or image.shape[:2]
        if image.shape != (*self._size, channels) or image.dtype != np.uint8:
            raise ValueError(
                f"the image is {image.dtype} {image.shape}, not uint8 {(*self._size, channels)}"
            )

    def _add_image(self, name: str, image: NDArray[np.uint8]) -> None:
        _, jpeg = cv2.imencode(".jpg", image, self._quality)
        self._add(name, jpeg.tobytes())

    def _add(self, name: str, content: bytes) -> None:
        # Without a date, the earliest that a zip file can say is written: equal files stay equal.
        self._zip.writestr(zipfile.ZipInfo(name), content)


class StoreFile:
    """Reads a store file: its ``meta``, and any of its frames and flow images.

    A context manager. Opening reads the directory of the zip, about 0.7 ms for 100 members. It
    pickles as its path, so that each process opens the file for itself; one that was inherited by
    fork must not be read from, as the position in the file is shared.

    Raises:
        InputError: No such file, no store file, a damaged one, or an index that it does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise InputError(f"{path} is not there; extract its video.") from None
        except _ZIP_ERRORS as error:
            raise InputError(f"{path} is no whole zip file ({error}); {_AGAIN}.") from None
        try:
            self.meta = Meta.from_json(self._read(META))
        except InputError as error:
            self.close()
            raise InputError(f"{path} has no valid {META} ({error}); {_AGAIN}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def close(self) -> None:
        self._zip.close()

    def frames(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The frames at ``indices``, each from 0 to T - 1: uint8 (len(indices), H, W, 3) RGB."""
        distinct, rows = self._distinct(indices, self.meta.frames, "frames")
        images = np.empty((len(distinct), self.meta.height, self.meta.width, 3), np.uint8)
        for image, index in zip(images, distinct, strict=True):
            image[:] = self._image(_frame_name(index), cv2.IMREAD_COLOR_RGB)
        return images[rows]

    def flow_images(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The flow images at ``indices``, each from 0 to T - 2: uint8 (len(indices), H, W, 2)."""
        distinct, rows = self._distinct(indices, self.meta.flows, "flow images")
        images = np.empty((len(distinct), self.meta.height, self.meta.width, 2), np.uint8)
        for image, index in zip(images, distinct, strict=True):
            for channel, name in enumerate(_flow_names(index)):
                image[..., channel] = self._image(name, cv2.IMREAD_GRAYSCALE)
        return images[rows]

    def faults(self) -> Iterator[str]:
        """A sentence for every fault of the members, all of which are read and decoded."""
        found = Counter(self._zip.namelist())
        if len(found) < self.meta.frames:
            yield f"{self.path} has {len(found)} members for {self.meta.frames} frames; {_AGAIN}."
            return
        wanted = {_frame_name(index): cv2.IMREAD_COLOR_RGB for index in range(self.meta.frames)}
        for index in range(self.meta.flows):
            wanted |= dict.fromkeys(_flow_names(index), cv2.IMREAD_GRAYSCALE)
        for name in found.keys() - wanted.keys() - {META}:
            yield f"{self.path} has a member {name!r} that its {META} does not tell of; {_AGAIN}."
        for name, number in found.items():
            if number > 1:
                yield f"{self.path} has {number} members {name!r}; {_AGAIN}."
        for name, flag in wanted.items():
            try:
                self._image(name, flag)
            except InputError as error:
                yield str(error)

    def _distinct(
        self, indices: ArrayLike, total: int, what: str
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The different ones of ``indices``, and the place of each index among them."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise InputError(
                f"{self.path} takes a row of whole numbers as indices, not {indices!r}."
            )
        wrong = wanted[(wanted < 0) | (wanted >= total)]
        if wrong.size:
            raise InputError(
                f"{self.path} has {total} {what}; give an index from 0 to {total - 1}, "
                f"not {wrong[0]}."
            )
        distinct, rows = np.unique(wanted.astype(np.intp), return_inverse=True)
        return distinct, rows

    def _image(self, name: str, flag: int) -> NDArray[np.uint8]:
        try:
            image = cv2.imdecode(np.frombuffer(self._read(name), np.uint8), flag)
        except cv2.error:
            image = None
        if image is None:
            raise InputError(f"{self.path} has no image that can be decoded in {name}; {_AGAIN}.")
        height, width = image.shape[:2]
        if (height, width) != (self.meta.height, self.meta.width):
            raise InputError(
                f"{self.path} has {width} x {height} pixels in {name}, not the {self.meta.width} x "
                f"{self.meta.height} of its {META}; {_AGAIN}."
            )
        picture: NDArray[np.uint8] = image
        return picture

    def _read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except KeyError:
            raise InputError(f"{self.path} has no member {name}; {_AGAIN}.") from None
        except _ZIP_ERRORS as error:
            raise InputError(f"{self.path} is damaged in {name} ({error}); {_AGAIN}.") from None


def verify(path: Path) -> list[str]:
    """Every fault of a store file, in a sentence each; none where it is whole."""
    try:
        with StoreFile(path) as store:
            return list(store.faults())
    except InputError as error:
        return [str(error)]


def read_meta(path: Path) -> Meta:
    """The meta data of a store file, without reading the directory of its images.

    Raises:
        InputError: As ``StoreFile``.
    """
    try:
        with path.open("rb") as file:
            return Meta.from_json(_last_member(file, META))
    except (InputError, OSError, ValueError):
        # Another writer's zip, a damaged one, or none: the slow way reads it, or says what it is.
        with StoreFile(path) as store:
            return store.meta


def video_id(video: PurePath) -> str:
    """The id of a video by its path inside the folder of videos: without its last suffix."""
    return video.with_name(video.stem).as_posix()


def store_path(store: Path, video_id: str) -> Path:
    """Where the store file of a video lies; raises InputError for an id that leads elsewhere."""
    parts = PurePosixPath(video_id)
    if str(parts) != video_id or parts.is_absolute() or not parts.name or ".." in parts.parts:
        raise InputError(f"{video_id!r} is no id of a video; give its path inside the folder.")
    return store / f"{video_id}.zip"


def find_store_files(store: Path) -> dict[str, Path]:
    """The store files at every depth, by the ids of their videos, sorted; not the hidden ones."""
    found = {}
    for path in store.rglob("*.zip"):
        inside = path.relative_to(store)
        if not any(part.startswith(".") for part in inside.parts):
            found[video_id(inside)] = path
    return dict(sorted(found.items()))


def _frame_name(index: int) -> str:
    return f"img_{index + 1:05d}.jpg"


def _flow_names(index: int) -> tuple[str, str]:
    return f"flow_x_{index + 1:05d}.jpg", f"flow_y_{index + 1:05d}.jpg"


def _last_member(file: BinaryIO, name: str) -> bytes:
    """The last member of a zip file as ``StoreWriter`` writes it; ValueError where it is not so.

    The file ends with the entry of that member in the directory (46 bytes and the name) and the end
    record (22 bytes); its content follows a header (30 bytes and the name). APPNOTE.TXT, 4.3.
    """
    file.seek(-(46 + len(name) + 22), os.SEEK_END)
    entry, entry_name, end = file.read(46), file.read(len(name)), file.read(22)
    mark, crc, stored, length, start = struct.unpack("<4s12x3I14xI", entry)
    file.seek(start)
    header, header_name, content = file.read(30), file.read(len(name)), file.read(length)
    marks = (mark, header[:4], end[:4], entry_name, header_name)
    expected = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", name.encode(), name.encode())
    if marks != expected or stored != length or zlib.crc32(content) != crc:
        raise ValueError(f"{name} is not the last member")
    return content


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def _are_tvl1_params(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(TVL1Params)}:
        return False
    try:
        TVL1Params(**value)
    except (InputError, TypeError):
        return False
    return True
