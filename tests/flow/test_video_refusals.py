"""What the decoder refuses: no video, too large, not to be read. Kind: known answer."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from flow import video as video_module
from flow.errors import InputError
from flow.video import Video
from video_files import HEIGHT, WIDTH, motion, mux, patch, pictures, read, reason, write


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "text.avi"
    path.write_text("This is no video.\n" * 50)
    assert "no video" in reason(path)
    path = tmp_path / "random.avi"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert "no video" in reason(path)
    path = tmp_path / "picture.avi"
    for suffix in (".jpg", ".png"):
        path.write_bytes(cv2.imencode(suffix, pictures(1)[0])[1].tobytes())
        assert "no video" in reason(path)
    path = tmp_path / "empty.avi"
    path.write_bytes(b"")
    assert "is empty;" in reason(path)
    assert "not a file" in reason(tmp_path / "absent.avi")
    assert "not a file" in reason(tmp_path)
    os.mkfifo(tmp_path / "pipe.avi")
    assert "not a file" in reason(tmp_path / "pipe.avi")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.avi"))
    path.write_bytes(b"RIFF")
    assert "not UTF-8" in reason(path)


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(2))
    content = path.read_bytes()
    start, end = content.index(b"movi") + 4, content.index(b"idx1")
    patch(path, start, bytes(end - start))
    assert "does not begin with a frame" in reason(path)


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_header_that_states_a_huge_size(tmp_path: Path, side: int) -> None:
    path = write(tmp_path / "video.avi", pictures(2), "ffv1")
    size = path.read_bytes().index(b"strf") + 8 + 4  # biWidth and biHeight
    patch(path, size, struct.pack("<2i", side, side))
    assert "67,108,864 pixels" in reason(path)


def test_frames_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "video.avi", pictures(2))
    monkeypatch.setitem(video_module._LIMITS, "max_pixels", str(2 * HEIGHT * WIDTH))
    assert len(read(path)) == 2
    monkeypatch.setitem(video_module._LIMITS, "max_pixels", str(HEIGHT * WIDTH // 2))
    assert "67,108,864 pixels" in reason(path)


def test_a_huge_frame_is_not_even_decoded_to_look_at_it(tmp_path: Path) -> None:
    """A picture of 432 megabytes in a small file, which FFmpeg would decode when it opens that."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    side, packer = 12_000, zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    picture = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    path = mux(tmp_path / "video.avi", [av.Packet(picture)], "png", "rgb24")
    code = (
        "import sys; from pathlib import Path; from flow.video import Video\n"
        "try: Video(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", code, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    error, kilobytes = done.stdout.splitlines()
    assert "67,108,864 pixels" in error
    assert int(kilobytes) < 300_000


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(2))
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"????"))
    assert "codec" in reason(path)


def test_pixels_that_cannot_be_converted() -> None:
    with pytest.raises(InputError, match=r"odd.avi has pixels of the kind rgb4"):
        video_module._Converter(Path("odd.avi"))(av.VideoFrame(WIDTH, HEIGHT, "rgb4"))


def test_a_file_that_names_other_files(tmp_path: Path) -> None:
    write(tmp_path / "other.avi", pictures(7))
    write(tmp_path / "other.ts", pictures(7), "mpeg2video", rate=25)
    playlist = tmp_path / "concat.avi"
    playlist.write_text("ffconcat version 1.0\nfile 'other.avi'\n")
    with av.open(str(playlist)) as container:  # FFmpeg itself would follow it
        assert sum(1 for _ in container.decode(video=0)) == 7
    assert "no video" in reason(playlist)
    for name, text in {
        "hls.avi": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
        "hls.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
        "session.avi": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 32\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert "no video" in reason(tmp_path / name)


def test_ffmpeg_can_open_nothing_but_the_file_it_is_given(tmp_path: Path) -> None:
    """Were a format that names files among those that are let in."""
    write(tmp_path / "other.avi", pictures(7))
    playlist = tmp_path / "concat.avi"
    playlist.write_text("ffconcat version 1.0\nfile 'other.avi'\n")
    opening = video_module._OPENING | {"format_whitelist": "concat,avi"}
    with playlist.open("rb") as file, pytest.raises(av.error.FFmpegError):
        av.open(file, "r", container_options=opening)


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "video.avi", pictures(2))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in reason(path)


@pytest.mark.parametrize("keep_readable", [False, True])
def test_a_disk_that_fails_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_readable: bool
) -> None:
    path = write(tmp_path / "video.avi", motion(40))
    video = Video(path, keep_readable)
    whole = path.stat().st_size

    class Failing(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > whole // 2:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Failing(path))
    with pytest.raises(InputError, match="Input/output error"):
        list(video)
