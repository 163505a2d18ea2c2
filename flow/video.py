"""The one decoder: the frames of a video file, by FFmpeg (PyAV).

What becomes of a frame. It is turned and mirrored as the file asks for, and converted with the
matrix (BT.601, BT.709 or BT.2020) and the range that it states; where it states none, with BT.601
and the range of its codec, as FFmpeg does. Transparency is dropped and more than 8 bits become 8,
without tone mapping. Interlaced frames and pixels that are not square stay as they are stored.

What makes a video whole. The number of frames is the number that was decoded: a header's number is
wrong by one or two in many sound files. A video counts as damaged where one of these says so:

- an AVI, MP4/MOV or Matroska/WebM file ends before the end that its own container states, or
  something else lies where an element of a Matroska/WebM file or a packet of MPEG-TS must begin;
- a packet is incomplete or cannot be decoded, or the decoder conceals a part of it. (What lies
  before the first key frame is skipped: a recording may begin anywhere.)
- a packet that an AVI file has in its index is not there;
- an AVI or MP4/MOV file gives fewer frames than its header lists, and its last frame lies before
  the end that its header states, both by more than the tolerance. (Either alone is sound: an edit
  list hides frames that are there, and a last frame may stand for long.)

Not to be seen: packets that other containers have lost as a whole, and wrong bytes that a codec
without checks decodes to something: VP8, VP9, HEVC, FFV1, WMV, and the last part of a JPEG.
"""

import math
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from flow.containers import Flaw, find_flaw
from flow.errors import InputError, unreadable

# OpenCV prints past Python to stderr; whoever wants to see it sets this beforehand.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import av
import cv2
from av.buffer import Buffer
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

_KINDS = (
    "3g2 3gp asf avi divx f4v flv m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf ogm ogv "
    "qt rm rmvb ts vob webm wmv"
)
SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())
"""What ends the name of a video, in lower case."""

MISSING_FRAMES, MISSING_SHARE = 2, 0.02
"""How many frames, or what share of all, a header may list beyond those that are there."""

MAX_PIXELS = 1 << 26
"""The largest frame, 8192 x 8192 pixels: beyond it a damaged header would fill the memory."""

# FFmpeg's names of what videos are in, whatever they are called. Its other formats are lists of
# further files, streams from a network, pictures and text.
_FORMATS = (
    "asf avi dv flv gxf h264 hevc ivf m4v matroska mjpeg mov mpeg mpegts mpegvideo mxf nut obu ogg "
    "rm vc1"
)
# FFmpeg gets the open file, and can open nothing else.
_OPENING = {"format_whitelist": ",".join(_FORMATS.split()), "protocol_whitelist": "none"}
_LIMITS = {"max_pixels": str(MAX_PIXELS)}
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
_REORDERED = 16  # no codec decodes a frame more than 16 frames before it is shown
# The matrices that swscale knows (ISO/IEC 23091-2); others count as unspecified.
_MATRICES, _UNSPECIFIED = frozenset({0, 1, 2, 4, 5, 6, 7, 9}), 2

_AGAIN = "copy it again from its source, or re-encode what is left of it"


class Video:
    """The frames of a video file, in the order they are shown, as uint8 (H, W, 3) RGB.

    Each loop decodes anew, in one thread, since many videos are decoded side by side. Of several
    video streams it is the one that FFmpeg holds for the best, as in players; a cover is none.

    Args:
        path: The file.
        keep_readable: End the video in front of its first damage instead of raising an error, where
            there is a frame in front of it. Frames that may have been decoded from damaged ones are
            left out, too.

    Attributes:
        path: The file.
        decoder: What decodes it, with its version.
        fps: Frames a second as the file states them; 0 where it states none.
        size: Height and width of the frames in pixels.
        damage: Why the video ends early, to be read after its name; None where it does not. Known
            for certain when a loop has ended.

    Raises:
        InputError: No such file, no video in it, frames of several sizes, or damage (see above):
            when opened or in the loop.
    """

    def __init__(self, path: Path, keep_readable: bool = False) -> None:
        self.path = path
        self.decoder = f"pyav {av.__version__} ffmpeg {av.ffmpeg_version_info}"
        self._keep_readable = keep_readable
        self._flaw = _find_flaw(path, keep_readable)
        self.damage = self._flaw.reason if self._flaw else None
        with _opened(path) as (container, stream):
            self.fps = float(stream.guessed_rate or 0)
            try:
                first = next(_whole_frames(container, stream, self._flaw))
            except _DamageError as error:
                raise InputError(f"{path} {error}; {_AGAIN}.") from error
            self.size = _Turn.of(first).size(first)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self.damage = self._flaw.reason if self._flaw else None
        convert = _Converter(self.path)
        with _opened(self.path) as (container, stream):
            try:
                for number, frame in enumerate(_whole_frames(container, stream, self._flaw), 1):
                    image = convert(frame)
                    self._check_size(image, number)
                    yield image
            except _DamageError as error:
                if not self._keep_readable:
                    raise InputError(f"{self.path} {error}; {_AGAIN}.") from error
                self.damage = self.damage or str(error)

    def _check_size(self, image: NDArray[np.uint8], number: int) -> None:
        if image.shape[:2] != self.size:
            (height, width), (old_height, old_width) = image.shape[:2], self.size
            raise InputError(
                f"{self.path} changes its resolution from {old_width} x {old_height} to "
                f"{width} x {height} at frame {number}; re-encode it at one resolution."
            )


def check_file(path: Path, keep_readable: bool = False) -> str | None:
    """Raise InputError for what needs no decoder to be seen.

    Returns:
        With ``keep_readable``, what is damaged, as ``Video.damage``; None where nothing is.
    """
    flaw = _find_flaw(path, keep_readable)
    return flaw.reason if flaw else None


def use_one_thread() -> None:
    """Hold OpenCV to one thread, where videos are worked on side by side."""
    cv2.setNumThreads(1)


def grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of an RGB frame (H, W, 3), uint8 (H, W): 0.299 R + 0.587 G + 0.114 B (BT.601)."""
    luma: NDArray[np.uint8] = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return luma


class _DamageError(Exception):
    """The video is whole up to here; says what is damaged, to be read after the video's name."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        # FFmpeg gets no name to open: it would take "a:b.avi" for an address.
        with path.open("rb", buffering=0) as file, _container(path, file) as container:
            yield container, _video_stream(path, container)
    except OSError as error:
        raise unreadable(path, error) from error


def _container(path: Path, file: BinaryIO) -> InputContainer:
    try:
        return av.open(
            file, "r", options=_LIMITS, container_options=_OPENING, metadata_errors="replace"
        )
    except FFmpegError as error:
        raise InputError(f"{path} is no video, or its header is damaged; {_AGAIN}.") from error


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream to decode, set up for it."""
    streams = [each for each in container.streams.video if not each.disposition & _PICTURES]
    if not streams:
        raise InputError(f"{path} has no video in it, only sound or pictures; give a video file.")
    best = container.streams.best("video")
    stream = next((each for each in streams if each is best), streams[0])
    codec = stream.codec_context
    if codec is None:
        raise InputError(f"{path} is in a codec that cannot be decoded here; re-encode it.")
    codec.thread_type, codec.thread_count = ThreadType.NONE, 1
    # The decoder of JPEG passes over errors unless it is told not to.
    codec.options = _LIMITS | ({"err_detect": "explode"} if codec.name == "mjpeg" else {})
    return stream


def _whole_frames(
    container: InputContainer, stream: VideoStream, flaw: Flaw | None
) -> Iterator[VideoFrame]:
    """The frames as they are shown; _DamageError in place of the first that is not whole."""
    count, first, last = 0, math.inf, -math.inf
    try:
        for frame in _settled(_decoded(_packets(container, stream, flaw))):
            count += 1
            if frame.time is not None:  # some codecs give none to their last frames
                first, last = min(first, frame.time), max(last, frame.time)
            yield frame
        if count == 0:
            raise _DamageError
    except (FFmpegError, _DamageError) as error:
        raise _DamageError(_why_no_more(stream, count)) from error
    missing = _missing_frames(stream, count, last - first)
    if missing > max(MISSING_FRAMES, MISSING_SHARE * stream.frames):
        raise _DamageError(f"gives {count} of its {stream.frames} frames")


def _why_no_more(stream: VideoStream, count: int) -> str:
    if count:
        return f"cannot be decoded after frame {count}"
    if not stream.width or not stream.height:
        return f"states no size of its frames, or one of more than {MAX_PIXELS:,} pixels"
    return "does not begin with a frame that can be decoded"


def _settled(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The frames; _DamageError also in place of those that come from a concealed one after them.

    A B-frame is decoded from the next frame that is none, and shown before it.
    """
    waiting: deque[VideoFrame] = deque()
    for frame in frames:
        if frame.is_corrupt:
            raise _DamageError
        waiting.append(frame)
        while waiting and (frame.pict_type != PictureType.B or len(waiting) > _REORDERED):
            yield waiting.popleft()
    yield from waiting


def _decoded(packets: Iterator["Packet[VideoStream]"]) -> Iterator[VideoFrame]:
    """The frames of the packets, FFmpegError where one cannot be decoded."""
    begun = False
    for packet in packets:
        begun = begun or packet.is_keyframe
        try:
            frames = packet.stream.decode(packet)
        except FFmpegError:
            if begun:
                raise
            continue
        begun = begun or bool(frames)
        yield from frames


def _packets(
    container: InputContainer, stream: VideoStream, flaw: Flaw | None
) -> Iterator["Packet[VideoStream]"]:
    """The packets of the stream; _DamageError in place of one that is not whole, or not there."""
    indexed = deque(_indexed(container, stream))
    packets: Iterator[Packet[VideoStream]] = container.demux(stream)
    if flaw and container.format.name == "mpegts":
        packets = _in_front_of(flaw, packets)
    for packet in packets:
        if packet.pos is not None:  # the last packet, which empties the decoder, lies nowhere
            if flaw and packet.pos >= flaw.position:
                raise _DamageError
            if indexed and indexed[0] <= packet.pos and indexed.popleft() != packet.pos:
                _check_count(Path(container.name), len(stream.index_entries))
                indexed.clear()
        # The counters of MPEG-TS begin anew where recordings were joined.
        if packet.is_corrupt and container.format.name != "mpegts":
            raise _DamageError
        yield packet
    if indexed:
        _check_count(Path(container.name), len(stream.index_entries))


def _in_front_of(
    flaw: Flaw, packets: Iterator["Packet[VideoStream]"]
) -> Iterator["Packet[VideoStream]"]:
    """The packets that are known to end in front of the flaw, since another one does as well.

    Those of MPEG-TS are cut into pieces, and may begin in front of a flaw and end behind it.
    """
    waiting: Packet[VideoStream] | None = None
    for packet in packets:
        if packet.pos is not None and packet.pos >= flaw.position:
            break
        if waiting:
            yield waiting
        waiting = packet
    raise _DamageError


def _indexed(container: InputContainer, stream: VideoStream) -> Iterator[int]:
    """Where the packets lie that an AVI has in its index; nothing for other containers."""
    if container.format.name == "avi":
        for entry in stream.index_entries:
            yield entry.pos + 8  # behind the header of its chunk


def _check_count(path: Path, indexed: int) -> None:
    """_DamageError where packets are missing: an index may be complete, and wrong in the places."""
    with _opened(path) as (container, stream):
        if sum(packet.size > 0 for packet in container.demux(stream)) < indexed:
            raise _DamageError


def _missing_frames(stream: VideoStream, count: int, seconds: float) -> float:
    """How many frames the header lists beyond ``count``, as far as time is left for them.

    Args:
        stream: Of an AVI, MP4 or MOV; other containers do not list their frames.
        count: Frames that were decoded.
        seconds: From the first of them to the last.
    """
    fps = float(stream.guessed_rate or 0)
    if not stream.frames or not fps:
        return 0
    total = float((stream.duration or 0) * (stream.time_base or 0))
    return min(stream.frames - count, (total - seconds) * fps - 1)


class _Converter:
    """Makes decoded frames uint8 (H, W, 3) RGB, the right way up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reformatter = VideoReformatter()
        self._turn, self._rotation = _Turn(), math.nan
        # Until glibc has seen a large block freed, it hands each frame's memory back and fetches
        # it anew for the next, which takes as long as the conversion.
        np.empty(1 << 24, np.uint8)

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        if frame.rotation != self._rotation:  # the whole matrix takes long to read
            self._turn, self._rotation = _Turn.of(frame), frame.rotation
        if frame.colorspace not in _MATRICES:
            frame.colorspace = _UNSPECIFIED
        try:
            rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        except FFmpegError as error:
            raise InputError(
                f"{self._path} has pixels of the kind {frame.format.name}, which cannot be made "
                "RGB; re-encode it."
            ) from error
        image = self._turn.done(cast("NDArray[np.uint8]", rgb.to_ndarray()))
        # A frame that was RGB already still belongs to the decoder.
        return image.copy() if rgb is frame else np.ascontiguousarray(image)


@dataclass(frozen=True)
class _Turn:
    """How a frame is to be shown: with x and y swapped, then upside down, then mirrored."""

    swapped: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "_Turn":
        """The turn that a frame asks for; none where it is not one by quarters.

        It is stated as the matrix of ISO/IEC 14496-12, 6.2.2: the pixel at (x, y) is shown at
        (a x + c y, b x + d y), but for a shift.
        """
        data = cast("Buffer | None", frame.side_data.get("DISPLAYMATRIX"))
        if data is None:
            return cls()
        a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
        if a == d == 0:
            return cls(True, upside_down=b < 0, mirrored=c < 0)
        return cls(False, upside_down=d < 0, mirrored=a < 0) if b == c == 0 else cls()

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Height and width of the frame as it is shown."""
        return (frame.width, frame.height) if self.swapped else (frame.height, frame.width)

    def done(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image (H, W, 3) as it is shown."""
        if self.swapped:
            image = image.swapaxes(0, 1)
        if self.upside_down:
            image = image[::-1]
        return image[:, ::-1] if self.mirrored else image


def _find_flaw(path: Path, keep_readable: bool) -> Flaw | None:
    """What is wrong with a file's container; InputError unless that is to be kept."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path} has a name that is not UTF-8; rename it.") from None
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file; give a video file.")
        size = path.stat().st_size
        with path.open("rb") as file:
            flaw = find_flaw(file, size)
    except OSError as error:
        raise unreadable(path, error) from error
    if size == 0:
        raise InputError(f"{path} is empty; copy it again from its source.")
    if flaw and not keep_readable:
        raise InputError(f"{path} {flaw.reason}; {_AGAIN}.")
    return flaw
