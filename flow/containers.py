"""Whether the containers of video files are whole, as far as they state their own extent.

AVI: RIFF chunks, a tag and then 32 bits of size, little-endian. MP4 and MOV (ISO/IEC 14496-12):
boxes, 32 bits of size and then a tag, big-endian. Matroska and WebM (RFC 8794, RFC 9559):
elements, an identity and a size, which both say their own lengths. MPEG-TS (ISO/IEC 13818-1):
packets of one length, each with the same byte in front.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MISSING_SHARE = 0.02
"""What share of a file may be missing beyond its end: some writers count a header twice."""

_BOXES = frozenset(b"ftyp moov mdat free skip wide uuid moof mfra sidx styp meta udta pnot".split())
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ELEMENTS = frozenset(
    (
        *(_EBML, _SEGMENT, _CLUSTER, 0xEC, 0xBF),  # the last two, filling and a check, lie anywhere
        *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),  # in a cluster
    )
)
# A packet of MPEG-TS starts with the byte; recorders put 4 bytes in front of it, senders 16 behind.
_TS_SYNC, _TS_LENGTHS, _TS_PROBE = 0x47, (188, 192, 204), 5
_TS_BLOCK = 4096  # packets to read at a time


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a container: the reason as in ``Video.damage``, and from which byte on."""

    reason: str
    position: int


def find_flaw(file: BinaryIO, size: int) -> Flaw | None:
    """What is wrong with the container of a file of ``size`` bytes, as far as its kind is known."""
    head, whole = _bytes(file, 0, 12), size
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        end = _riff_end(file)
    elif head[4:8] in _BOXES:
        end = max((end for tag, end in _boxes(file, size) if tag in _BOXES), default=0)
    elif head[:4] == _EBML.to_bytes(4):
        whole, end = _matroska_ends(file, size)
    elif lattice := _lattice(_bytes(file, 0, _TS_PROBE * max(_TS_LENGTHS))):
        whole, end = _ts_packets_end(file, *lattice), size
    else:
        return None
    if whole < min(size, end):
        return Flaw(f"is damaged after byte {whole:,}", whole)
    if end - size > MISSING_SHARE * size:
        return Flaw(f"is cut short, {end - size:,} bytes of it are missing", size)
    return None


def _riff_end(file: BinaryIO) -> int:
    """Where an AVI file ends as it states; 0 where it does not."""
    end = 0
    while _bytes(file, end, 4) == b"RIFF":  # an AVI beyond 1 GB has several
        length = int.from_bytes(_bytes(file, end + 4, 4), "little")
        if length == 0xFFFFFFFF:  # the writer could not go back to fill it in
            return 0
        end += 8 + length
    return end


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """The tag of each outermost box of an MP4 or MOV file, and where the box ends."""
    start = 0
    while start + 8 <= size:
        length, tag, header = _integer(file, start, 4), _bytes(file, start + 4, 4), 8
        if length == 1:
            length, header = _integer(file, start + 8, 8), 16
        if length < header:  # 0: as far as the file goes
            return
        start += length
        yield tag, start


def _matroska_ends(file: BinaryIO, size: int) -> tuple[int, int]:
    """How far a Matroska file is whole, and where it must end.

    Where no element follows another one, that one may be damaged already. Segments and clusters are
    gone into: recorders that cannot go back state no length of them.
    """
    whole = position = end = 0
    while position < size and not 0 < end <= position:
        identity, start, stop = _element(file, position)
        if identity == _SEGMENT:
            end = stop
        following = start if identity in (_SEGMENT, _CLUSTER) else stop
        if identity not in _ELEMENTS or not following or 0 < end < following:
            return whole, end or size
        whole, position = position, following
    return size, end or max(position, size)


def _element(file: BinaryIO, position: int) -> tuple[int, int, int]:
    """The identity of an element, where its content starts, and where it ends; 0 if not stated."""
    head = _bytes(file, position, 12).ljust(12, b"\0")
    width = 9 - head[0].bit_length()  # zeros before the first 1 count the bytes that follow
    length = 9 - head[width].bit_length()
    value = int.from_bytes(head[width : width + length]) & ((1 << 7 * length) - 1)
    start = position + width + length
    identity = int.from_bytes(head[:width]) if length <= 8 else 0
    stated = value != (1 << 7 * length) - 1  # all ones: the writer did not know
    return identity, start, start + value if stated else 0


def _lattice(head: bytes) -> tuple[int, int] | None:
    """Where the packets of MPEG-TS start and how long they are; None for anything else."""
    for length in _TS_LENGTHS:
        for start in range(length):
            found = head[start::length][:_TS_PROBE]
            if found == bytes([_TS_SYNC]) * _TS_PROBE:
                return start, length
    return None


def _ts_packets_end(file: BinaryIO, start: int, length: int) -> int:
    """How far packet follows packet; a recording may end within one."""
    file.seek(start)
    while block := file.read(_TS_BLOCK * length):
        heads = block[::length]
        right = len(heads) - len(heads.lstrip(bytes([_TS_SYNC])))
        if right < len(heads):
            return start + right * length
        start += len(block)
    return start


def _bytes(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _integer(file: BinaryIO, position: int, length: int) -> int:
    return int.from_bytes(_bytes(file, position, length))
