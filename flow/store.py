"""The store: one zip file a video, with its frames, its flow, and where both come from.

A store file is plain and uncompressed, so that any tool opens it: ``img_00001.jpg`` ... are the T
frames, ``flow_x_00001.jpg`` ... and ``flow_y_00001.jpg`` ... the T - 1 flow images, each a grey
JPEG (in one colour JPEG x and y would spoil each other), and ``meta.json`` comes last. Of the codec
"png" each flow image is one ``flow_00001.png`` of two channels, x as grey and y as alpha. Numbers
start at 1 there, indices at 0 here: flow 0 goes from frame 0 to frame 1. The same input gives the
same bytes.
"""

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path, PurePath, PurePosixPath
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from flow.errors import InputError
from flow.files import atomic
from flow.meta import Codec, Meta
from flow.zipped import Members

META = "meta.json"
_GREY_AND_ALPHA = bytes([8, 4])  # bit depth and colour type of a PNG file, its bytes 24 and 25

_AGAIN = "remove it and extract its video again"
# Whatever zipfile raises on a file that is no zip, or a damaged one.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(EOFError, KeyError, OSError, RuntimeError, ValueError),
)


def encode_frame(frame: NDArray[np.uint8], quality: int = 95) -> bytes:
    """A frame, uint8 (H, W, 3) RGB, as the file that a store holds."""
    return _jpeg(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)


def encode_flow(
    image: NDArray[np.uint8], codec: Codec = "jpeg", quality: int = 95
) -> tuple[bytes, ...]:
    """A flow image, uint8 (H, W, 2), as the files that a store holds."""
    if codec == "jpeg":
        return tuple(_jpeg(np.ascontiguousarray(image[..., k]), quality) for k in range(2))
    file = io.BytesIO()
    # OpenCV writes no PNG of two channels. Compressed harder: a tenth less, in four times as long.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return (file.getvalue(),)


class StoreWriter:
    """Writes a store file as its parts come; it takes its name when ``finish`` has returned.

    Left in any other way, it leaves nothing behind.

    Raises:
        BlockingIOError: On entering, unless ``wait``: another process writes the same file.
    """

    def __init__(
        self, path: Path, quality: int = 95, codec: Codec = "jpeg", wait: bool = True
    ) -> None:
        self._path, self._wait = path, wait
        self._quality: int = quality
        self._codec: Codec = codec
        self._size: tuple[int, ...] | None = None
        self._frames = self._flows = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        file = self._open.enter_context(atomic(self._path, self._wait))
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
        self.add_encoded_frame(encode_frame(frame, self._quality))

    def add_flow(self, image: NDArray[np.uint8]) -> None:
        """Add the next flow image, uint8 (H, W, 2)."""
        self._check(image, channels=2)
        self.add_encoded_flow(encode_flow(image, self._codec, self._quality))

    def add_encoded_frame(self, file: bytes) -> None:
        """Add the next frame as ``encode_frame`` gives it; its size is the caller's to know."""
        self._add(_frame_name(self._frames), file)
        self._frames += 1

    def add_encoded_flow(self, files: Sequence[bytes]) -> None:
        """Add the next flow image as ``encode_flow`` gives it; its size is the caller's to know."""
        for name, file in zip(_flow_names(self._flows, self._codec), files, strict=True):
            self._add(name, file)
        self._flows += 1

    def finish(self, meta: Meta) -> None:
        """Add ``meta`` and give the file its name."""
        size = self._size or (meta.height, meta.width)
        written = (self._frames, self._flows, size, self._codec)
        frames = meta.frames if meta.rgb else 0
        if written != (frames, meta.flows, (meta.height, meta.width), meta.codec):
            raise ValueError(f"frames, flows, size and codec are {written}, not those of {meta}")
        self._add(META, meta.to_json().encode())
        self._open.close()

    def _check(self, image: NDArray[np.uint8], channels: int) -> None:
        self._size = self._size or image.shape[:2]
        if image.shape != (*self._size, channels) or image.dtype != np.uint8:
            raise ValueError(
                f"the image is {image.dtype} {image.shape}, not uint8 {(*self._size, channels)}"
            )

    def _add(self, name: str, content: bytes) -> None:
        # Without a date, the earliest that a zip file can say is written: equal files stay equal.
        self._zip.writestr(zipfile.ZipInfo(name), content)


class StoreFile:
    """Reads a store file: its ``meta``, and any of its frames and flow images.

    A context manager. It pickles as its path, so that each process opens the file for itself; one
    that was inherited by fork must not be read from, unless a ``StoreWriter`` wrote the file.

    Raises:
        InputError: No such file, no store file, a damaged one, or an index that it does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: Members | None = None
        self._opened: zipfile.ZipFile | None = None
        try:
            self._members = Members(path)
        except FileNotFoundError:
            raise InputError(f"{path} is not there; extract its video.") from None
        except (OSError, ValueError):
            self._zip()  # another writer's zip, a damaged one, or none: it reads it, or says what
        try:
            self.meta = Meta.from_json(self.read(META))
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
        for file in (self._members, self._opened):
            if file:
                file.close()
        self._members = self._opened = None

    def frames(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The frames at ``indices``, each from 0 to T - 1: uint8 (len(indices), H, W, 3) RGB."""
        if not self.meta.rgb:
            raise InputError(f"{self.path} holds flow alone, no frames; extract without --no-rgb.")
        distinct, rows = self._distinct(indices, self.meta.frames, "frames")
        images = np.empty((len(distinct), self.meta.height, self.meta.width, 3), np.uint8)
        for image, index in zip(images, distinct, strict=True):
            image[:] = self._image(_frame_name(index), cv2.IMREAD_COLOR_RGB)
        return _at(images, rows)

    def flow_images(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The flow images at ``indices``, each from 0 to T - 2: uint8 (len(indices), H, W, 2)."""
        distinct, rows = self._distinct(indices, self.meta.flows, "flow images")
        images = np.empty((len(distinct), self.meta.height, self.meta.width, 2), np.uint8)
        for image, index in zip(images, distinct, strict=True):
            names = _flow_names(index, self.meta.codec)
            if self.meta.codec == "jpeg":
                cv2.merge([self._image(name, cv2.IMREAD_GRAYSCALE) for name in names], dst=image)
            else:  # OpenCV makes grey and alpha blue, green, red and alpha
                image[:] = self._image(names[0], cv2.IMREAD_UNCHANGED)[..., [0, 3]]
        return _at(images, rows)

    def read(self, name: str) -> bytes:
        """A member as it is stored; InputError where it is not there or damaged."""
        with suppress(ValueError):
            if self._members:
                return self._members.read(name)
        archive = self._zip()
        try:
            return archive.read(name)
        except KeyError:
            raise InputError(f"{self.path} has no member {name}; {_AGAIN}.") from None
        except _ZIP_ERRORS as error:
            raise InputError(f"{self.path} is damaged in {name} ({error}); {_AGAIN}.") from None

    def faults(self) -> Iterator[str]:
        """A sentence for every fault of the members, all of which are read and decoded."""
        found = Counter(self._zip().namelist())
        if len(found) < self.meta.frames:
            yield f"{self.path} has {len(found)} members for {self.meta.frames} frames; {_AGAIN}."
            return
        frames = self.meta.frames if self.meta.rgb else 0
        wanted = {_frame_name(index): cv2.IMREAD_COLOR_RGB for index in range(frames)}
        flag = cv2.IMREAD_GRAYSCALE if self.meta.codec == "jpeg" else cv2.IMREAD_UNCHANGED
        for index in range(self.meta.flows):
            wanted |= dict.fromkeys(_flow_names(index, self.meta.codec), flag)
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

    def _zip(self) -> zipfile.ZipFile:
        """The file as Python's library reads it: any zip file, every fault of one, more slowly."""
        if self._opened is None:
            try:
                self._opened = zipfile.ZipFile(self.path)
            except FileNotFoundError:
                raise InputError(f"{self.path} is not there; extract its video.") from None
            except _ZIP_ERRORS as error:
                raise InputError(f"{self.path} is no whole zip file ({error}); {_AGAIN}.") from None
        return self._opened

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
        content = self.read(name)
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
        except cv2.error:
            image = None
        if image is None:
            raise InputError(f"{self.path} has no image that can be decoded in {name}; {_AGAIN}.")
        if flag == cv2.IMREAD_UNCHANGED and content[24:26] != _GREY_AND_ALPHA:
            raise InputError(f"{self.path} has not two channels in {name}; {_AGAIN}.")
        height, width = image.shape[:2]
        if (height, width) != (self.meta.height, self.meta.width):
            raise InputError(
                f"{self.path} has {width} x {height} pixels in {name}, not the {self.meta.width} x "
                f"{self.meta.height} of its {META}; {_AGAIN}."
            )
        picture: NDArray[np.uint8] = image
        return picture


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


def _at(images: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """``images[rows]``, without a copy where these are all images in their order."""
    return images if np.array_equal(rows, np.arange(len(images))) else images[rows]


def _frame_name(index: int) -> str:
    return f"img_{index + 1:05d}.jpg"


def _flow_names(index: int, codec: Codec) -> tuple[str, ...]:
    number = f"{index + 1:05d}"
    if codec == "png":
        return (f"flow_{number}.png",)
    return f"flow_x_{number}.jpg", f"flow_y_{number}.jpg"


def _jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    content: bytes = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return content
