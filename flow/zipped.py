"""Single members of a plain zip file, found in its directory without reading that member by member.

Python's zipfile makes an object of each member when it opens a file, which takes a quarter of the
time in which a clip is read. PKWARE's APPNOTE.TXT, section 4.3, states the format.
"""

import os
import struct
import zlib
from functools import cached_property
from pathlib import Path

_END = struct.Struct("<4s4xHHIIH")  # members on this disk and in all, directory's size and place
_ENTRY = struct.Struct("<4s4xHH4xIIIHHH8xI")  # flags, method, CRC, sizes, lengths, place
_HEADER = struct.Struct("<4s22xHH")  # lengths of the name and of what else comes before the content
_TAIL = 512  # bytes of the directory that are read at once: the last members stand there
_LARGE = 0xFFFFFFFF  # what stands where the true number is beyond 32 bits


class Members:
    """Reads the members of a zip file as ``StoreWriter`` writes it.

    Any number of processes may read from one that they inherited.

    Raises:
        OSError: No such file.
        ValueError: The file is damaged or another kind of zip file; when opened or in ``read``.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        try:
            size = os.fstat(self._file.fileno()).st_size
            start = max(0, size - _END.size)
            mark, here, members, length, place, comment = _END.unpack(self._bytes(_END.size, start))
            plain = mark == b"PK\5\6" and here == members and comment == 0 and place != _LARGE
            if not plain or place + length != start:
                raise ValueError("no plain zip file")
            self._span = length, place
            tail = min(length, _TAIL)
            self._tail = self._bytes(tail, start - tail)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def read(self, name: str) -> bytes:
        """The content of a member, whose checksum is right."""
        wanted = name.encode()
        crc, length, place = self._find(wanted)
        begin = _HEADER.size + len(wanted)
        block = self._bytes(begin + length, place)
        mark, name_length, extra = _HEADER.unpack_from(block)
        content = block[begin:]
        if (mark, name_length, extra) != (b"PK\3\4", len(wanted), 0):
            raise ValueError(f"no plain header of {name}")
        if block[_HEADER.size : begin] != wanted or zlib.crc32(content) != crc:
            raise ValueError(f"{name} is damaged")
        return content

    @cached_property
    def _directory(self) -> bytes:
        return self._bytes(*self._span)

    def _find(self, name: bytes) -> tuple[int, int, int]:
        """Checksum, length and place of a member; of the last one where it stands there twice."""
        directory = self._tail
        start = directory.rfind(name) - _ENTRY.size
        if start < 0:
            directory = self._directory
            start = directory.rfind(name) - _ENTRY.size
        if start < 0:
            raise ValueError(f"{name!r} is not there")
        entry = _ENTRY.unpack_from(directory, start)
        mark, flags, method, crc, stored, length, name_length, extra, comment, place = entry
        plain = (flags, method, extra, comment) == (0, 0, 0, 0) and stored == length
        if mark != b"PK\1\2" or not plain or name_length != len(name) or place == _LARGE:
            raise ValueError(f"no plain entry of {name!r}")
        return crc, length, place

    def _bytes(self, length: int, place: int) -> bytes:
        content = os.pread(self._file.fileno(), length, place)
        if len(content) != length:
            raise ValueError("the file is cut short")
        return content
