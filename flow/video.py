"""The one decoder: the frames of a video file, by OpenCV's FFmpeg.

What makes a video whole. The number of frames is the number that was decoded: a header's number is
wrong by one or two in many sound files. Decoding alone cannot tell the end of a video from its
being cut off, so a video counts as damaged where one of these says so:

- an AVI, MP4/MOV or Matroska/WebM file ends before the end that its own container states;
- FFmpeg stops at an error, and finds further frames behind it;
- an AVI or MP4/MOV file gives fewer frames than its index lists, and its last frame lies before the
  end of the video track, both by more than the tolerance. (Either alone is sound: an edit list
  hides frames that are there, and a last frame may stand for long.)

Not to be seen: a cut in other containers, and damage that the codec conceals. OpenCV from 4.7 on
scales frames that change their size on the way to the size of the first, and gives no sign of it.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError

# The libraries print past Python to stderr; whoever wants to see it sets these beforehand.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

_KINDS = (
    "3g2 3gp asf avi divx f4v flv m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf ogm ogv "
    "qt rm rmvb ts vob webm wmv"
)
SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())
"""What ends the name of a video, in lower case."""

MISSING_FRAMES, MISSING_SHARE = 2, 0.02
"""How many frames, or what share of all, an index may list beyond those that are there."""

_AGAIN = "copy it again from its source, or re-encode what is left of it"
_OPENING = (
    *(cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE),
    *(cv2.CAP_PROP_N_THREADS, 1),  # many videos are decoded side by side, a process each
)


class Video:
    """The frames of a video file, in order, as uint8 (H, W, 3) RGB; each loop decodes anew.

    A rotation that the file asks for is done; grey, paletted and transparent video becomes RGB.

    Attributes:
        path: The file.
        decoder: What decodes it, with its version.
        fps: Frames a second as the file states them; 0 where it states none.
        size: Height and width of the frames in pixels.

    Raises:
        InputError: No such file, no video in it, or damage (see above): when opened or in the loop.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.decoder = f"opencv {cv2.__version__}"
        check_file(path)
        capture = self._open()
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps: float = fps if 0 < fps < math.inf else 0.0
        found, frame = capture.read()
        capture.release()
        if not found:
            raise InputError(f"{path} has no frame that can be decoded; {_AGAIN}.")
        self.size: tuple[int, int] = frame.shape[:2]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        capture = self._open()
        count, seconds = 0, 0.0
        try:
            while True:
                found, frame = capture.read()
                if not found:
                    break
                if frame.shape[:2] != self.size:
                    raise InputError(
                        f"{self.path} changes its resolution at frame {count + 1}; "
                        "re-encode it at one resolution."
                    )
                count += 1
                # The last frames of some codecs come without a time, which reads as 0.
                seconds = max(seconds, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            self._check_end(capture, count, seconds)
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        # An absolute path: FFmpeg takes "a:b.avi" for an address.
        capture = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG, _OPENING)
        if not capture.isOpened():
            raise InputError(f"{self.path} is no video, or its header is damaged; {_AGAIN}.")
        return capture

    def _check_end(self, capture: cv2.VideoCapture, count: int, seconds: float) -> None:
        """Raise InputError where the video cannot end with frame ``count`` at ``seconds``."""
        listed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Each try passes over 64 packets that cannot be decoded.
        if any(capture.grab() for _ in range(16)):
            raise InputError(f"{self.path} cannot be decoded after frame {count}; {_AGAIN}.")
        with self.path.open("rb") as file:
            end = listed / self.fps if _is_avi(file) and self.fps else _track_seconds(file)
        missing = min(listed - count, (end - seconds) * self.fps - 1)
        if missing > max(MISSING_FRAMES, MISSING_SHARE * listed):
            raise InputError(f"{self.path} gives {count} of its {listed:.0f} frames; {_AGAIN}.")


def check_file(path: Path) -> None:
    """Raise InputError for what needs no decoder to be seen."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path} has a name that is not UTF-8; rename it.") from None
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a video file.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            missing = _stated_size(file, size) - size
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; mend its permissions or its disk."
        ) from error
    if size == 0:
        raise InputError(f"{path} is empty; copy it again from its source.")
    # Some writers count a header of a few bytes twice.
    if missing > MISSING_SHARE * size:
        raise InputError(f"{path} is cut short, {missing:,} bytes of it are missing; {_AGAIN}.")


def use_one_thread() -> None:
    """Hold OpenCV to one thread, where videos are worked on side by side."""
    cv2.setNumThreads(1)


def grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of an RGB frame (H, W, 3), uint8 (H, W): 0.299 R + 0.587 G + 0.114 B (BT.601)."""
    luma: NDArray[np.uint8] = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return luma


# AVI: RIFF chunks, a tag and then 32 bits of size, little-endian. MP4 and MOV (ISO/IEC 14496-12):
# boxes, 32 bits of size and then a tag, big-endian. Matroska and WebM (RFC 8794): elements, an
# identity and a size, which says its own length.

_BOXES = frozenset(b"ftyp moov mdat free skip wide uuid moof mfra sidx styp meta udta pnot".split())
_EBML = b"\x1a\x45\xdf\xa3"
_Span = tuple[int, int]


def _stated_size(file: BinaryIO, size: int) -> int:
    """The size in bytes that a file of ``size`` bytes itself states; 0 where it states none."""
    head = _bytes(file, 0, 8)
    if _is_avi(file):
        return _riff_end(file)
    if head[4:] in _BOXES:
        return max(end for tag, (_, end) in _boxes(file, (0, size)) if tag in _BOXES)
    return _matroska_end(file) if head[:4] == _EBML else 0


def _is_avi(file: BinaryIO) -> bool:
    return _bytes(file, 0, 4) == b"RIFF" and _bytes(file, 8, 4) == b"AVI "


def _riff_end(file: BinaryIO) -> int:
    end = 0
    while _bytes(file, end, 4) == b"RIFF":  # an AVI beyond 1 GB has several
        length = int.from_bytes(_bytes(file, end + 4, 4), "little")
        if length == 0xFFFFFFFF:  # the writer could not go back to fill it in
            return 0
        end += 8 + length
    return end


def _matroska_end(file: BinaryIO) -> int:
    end = 0
    for _ in ("EBML header", "Segment"):
        first = _integer(file, end + 4, 1)
        length = 9 - first.bit_length()  # zeros before the first 1 count the bytes that follow
        value = _integer(file, end + 4, length) - (1 << 7 * length)
        if first == 0 or value == (1 << 7 * length) - 1:  # all ones: the writer did not know
            return 0
        end += 4 + length + value
    return end


def _track_seconds(file: BinaryIO) -> float:
    """How long the shortest video track of an MP4 or MOV is shown; 0 where that is not stated."""
    whole = 0, file.seek(0, os.SEEK_END)
    if _bytes(file, 4, 4) not in _BOXES:
        return 0
    units, shown = 0, []
    for start, _ in _find(file, whole, b"moov", b"mvhd"):
        units = _integer(file, start + 12 + 8 * _integer(file, start, 1), 4)
    for track in _find(file, whole, b"moov", b"trak"):
        kinds = [_bytes(file, start + 8, 4) for start, _ in _find(file, track, b"mdia", b"hdlr")]
        for start, _ in _find(file, track, b"tkhd") if kinds == [b"vide"] else ():
            version = _integer(file, start, 1)  # 1 has 64 bits for each time, 0 has 32
            shown.append(_integer(file, start + 20 + 8 * version, 4 + 4 * version))
    return min(shown) / units if shown and units else 0


def _find(file: BinaryIO, span: _Span, *tags: bytes) -> list[_Span]:
    """Where the contents lie of the boxes that are reached by going down through ``tags``."""
    spans = [span]
    for wanted in tags:
        spans = [inner for outer in spans for tag, inner in _boxes(file, outer) if tag == wanted]
    return spans


def _boxes(file: BinaryIO, span: _Span) -> Iterator[tuple[bytes, _Span]]:
    """The tag of each box in a part of the file, and where its content starts and ends."""
    start, end = span
    while start + 8 <= end:
        length, tag, content = _integer(file, start, 4), _bytes(file, start + 4, 4), start + 8
        if length == 1:
            length, content = _integer(file, start + 8, 8), start + 16
        if length < content - start:  # 0: as far as the file goes
            return
        yield tag, (content, start + length)
        start += length


def _bytes(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _integer(file: BinaryIO, position: int, length: int) -> int:
    return int.from_bytes(_bytes(file, position, length))
