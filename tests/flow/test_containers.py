"""Whether containers are whole. Kinds: known answer (files that are cut or patched), round trip."""

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from flow.errors import InputError
from flow.video import Video, check_file
from video_files import Images, kept, motion, patch, pictures, read, reason, write


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "mjpeg"), ("avi", "mpeg4"), ("mp4", "mpeg4"), ("mkv", "ffv1"), ("webm", "libvpx")],
)
@pytest.mark.parametrize("share", [0.95, 0.5])
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str, codec: str, share: float) -> None:
    path = write(tmp_path / f"video.{suffix}", motion(40), codec)
    whole = read(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cut short" in reason(path)
    with pytest.raises(InputError, match="cut short"):
        check_file(path)
    if suffix == "mp4":  # what says where the frames lie comes last there
        with pytest.raises(InputError, match="header is damaged"):
            Video(path, keep_readable=True)
        return
    frames, damage = kept(path)
    assert check_file(path, keep_readable=True) == damage
    assert 0.4 * share * 40 < len(frames) < 40
    assert np.array_equal(np.stack(frames), whole[: len(frames)])


def test_an_avi_that_was_written_to_a_pipe_states_no_size(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(20))
    patch(path, 4, b"\xff" * 4)
    assert len(read(path)) == 20


class Pipe(io.RawIOBase):
    """A file that one cannot go back in."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += bytes(data)
        return len(data)


def live(frames: Images) -> bytes:
    """A Matroska file of a recorder that could not go back to state lengths."""
    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return bytes(pipe.content)


def test_a_live_recording_is_whole_and_its_cut_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    content = live(motion(30))
    path.write_bytes(content)
    whole = read(path)
    assert len(whole) == 30
    path.write_bytes(content[: len(content) * 6 // 10])
    frames, damage = kept(path)
    assert "cut short" in damage
    assert 10 < len(frames) < 30
    assert np.array_equal(np.stack(frames), whole[: len(frames)])


def test_a_box_of_more_than_32_bits_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    head = struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 5_000_000_000)
    path.write_bytes(head + bytes(84))
    missing = 16 + 5_000_000_000 - path.stat().st_size
    assert f"is cut short, {missing:,} bytes of it are missing" in reason(path)


def test_bytes_after_the_end_do_not_matter(tmp_path: Path) -> None:
    for suffix, codec in (("avi", "mjpeg"), ("mp4", "mpeg4"), ("mkv", "ffv1"), ("flv", "flv")):
        path = write(tmp_path / f"video.{suffix}", pictures(5), codec)
        with path.open("ab") as file:
            file.write(b"\0" * 100 + b"trailing")
        assert len(read(path)) == 5


def test_elements_of_matroska_that_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mkv", motion(30), "mpeg4")
    content = path.read_bytes()
    tags = content.rindex(b"\x12\x54\xc3\x67") + 4
    length = 9 - content[tags].bit_length()
    unknown = ((1 << 7 * length + 1) - 1).to_bytes(length)
    assert "is damaged after byte" in reason(patch(path, tags, unknown))
    path.write_bytes(content)
    block = content.index(b"\xa3", content.rindex(b"\x1f\x43\xb6\x75") + 14)
    assert content[block + 1] >> 6 == 1  # a length of two bytes
    assert "is damaged after byte" in reason(patch(path, block + 1, b"\x7f\xfe"))


@pytest.mark.parametrize(
    "head", [b"\0\0\0\0moov", b"\0\0\0\1moov", b"RIFF\4\0\0\0AVI ", b"\x1aE\xdf\xa3"]
)
def test_a_header_and_nothing_behind_it(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "video.avi"
    path.write_bytes(head)
    assert reason(path)
    path.write_bytes(head + bytes(40))
    assert reason(path)


# MPEG-TS: packets of 188 bytes, of 192 where a recorder puts its time in front, of 204 where a
# sender puts a check behind


def stretched(content: bytes, front: int, behind: int) -> bytes:
    """The packets with so many bytes more."""
    packets = [content[i : i + 188] for i in range(0, len(content), 188)]
    return b"".join(bytes(front) + packet + bytes(behind) for packet in packets)


@pytest.mark.parametrize(("front", "behind"), [(0, 0), (4, 0), (0, 16)])
def test_a_hole_in_mpegts_may_lose_whole_frames(tmp_path: Path, front: int, behind: int) -> None:
    path = write(tmp_path / "video.ts", motion(40), "libx264", rate=25)
    whole, content = read(path), stretched(path.read_bytes(), front, behind)
    path.write_bytes(content)
    assert np.array_equal(read(path), whole)
    size = len(content)
    for start in np.linspace(0.2, 0.95, 16):
        for length in (400, size // 12):
            path.write_bytes(content)
            patch(path, int(start * size), bytes(min(length, size - int(start * size))))
            frames, damage = kept(path)
            assert "is damaged after byte" in damage
            assert 0.1 * start * 40 < len(frames) < start * 40 + 1
            assert np.array_equal(np.stack(frames), whole[: len(frames)])


def test_a_recording_of_mpegts_may_begin_and_end_within_a_packet(tmp_path: Path) -> None:
    path = write(tmp_path / "video.ts", motion(40), "mpeg2video", rate=25)
    whole, content = read(path), path.read_bytes()
    path.write_bytes(content[100:])
    assert np.array_equal(read(path)[-20:], whole[-20:])
    path.write_bytes(content + content[:50])
    assert np.array_equal(read(path), whole)


def test_recordings_of_mpegts_may_be_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "video.ts", motion(40), "libx264", rate=25)
    content = path.read_bytes()
    path.write_bytes(content + content)
    assert len(read(path)) == 80
