"""The decoder. Kinds: known answer (videos made here, patched headers), round trip, oracle (OpenCV;
the equations of BT.601, BT.709 and BT.2020), real data."""

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import PictureType
from numpy.typing import NDArray

from flow import video as video_module
from flow.errors import InputError
from flow.video import SUFFIXES, Video, check_file, grey

HEIGHT, WIDTH, FPS = 40, 48, Fraction(25, 2)
PIXELS = {"mjpeg": "yuvj420p", "ffv1": "bgr0", "png": "rgb24", "qtrle": "rgb24"}  # else yuv420p
FORMATS = {".ts": "mpegts", ".mpg": "mpeg", ".wmv": "asf", ".mkv": "matroska", ".ogv": "ogg"}
Images = NDArray[np.uint8]


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH) -> Images:
    """Frames (count, H, W, 3) RGB: a red, a green and a blue field, and grey that gets lighter."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for channel in range(3):
        field = slice(channel * width // 3, (channel + 1) * width // 3)
        frames[:, : height // 2, field, channel] = 200
    frames[:, height // 2 :] = np.linspace(40, 220, count)[:, None, None, None]
    return frames


def motion(count: int) -> Images:
    """Frames (count, 64, 96, 3) RGB that no codec finds easy: a texture that moves, and noise."""
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(
        random.integers(0, 256, (64, 96 + 2 * count, 3), np.uint8), (5, 5), 0
    )
    frames = np.stack([texture[:, 2 * k : 2 * k + 96] for k in range(count)]).astype(int)
    return np.clip(frames + random.integers(-9, 10, frames.shape), 0, 255).astype(np.uint8)


def write(
    path: Path,
    frames: Iterable[Images] | Iterable[av.VideoFrame],
    codec: str = "mjpeg",
    *,
    pixels: str | None = None,
    rate: Fraction | int = FPS,
    options: dict[str, str] | None = None,
    set_up: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Encode frames, RGB arrays or PyAV's own, into a file of the kind that its name says."""
    frames = [
        av.VideoFrame.from_ndarray(frame, "rgb24") if isinstance(frame, np.ndarray) else frame
        for frame in frames
    ]
    kind = FORMATS.get(path.suffix.lower(), path.suffix[1:].lower())
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = pixels or PIXELS.get(codec, "yuv420p")
        stream.bit_rate = 2_000_000
        set_up(stream)
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
    return path


def packets(frames: Images, codec: str, pixels: str = "yuv420p") -> list["av.Packet[Any]"]:
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = pixels, Fraction(1, 25), 25
    encoder.gop_size = 10
    images = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in frames]
    return [packet for image in [*images, None] for packet in encoder.encode(image)]


def mux(path: Path, found: list["av.Packet[Any]"], codec: str, pixels: str = "yuv420p") -> Path:
    """Write packets one after the other, of whatever size their frames are."""
    with av.open(str(path), "w", format=FORMATS.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pixels
        for time, packet in enumerate(found):
            packet.stream = stream
            packet.pts = packet.dts = time
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    return path


def read(path: Path) -> Images:
    return np.stack(list(Video(path)))


def patch(path: Path, position: int, new: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[position : position + len(new)] = new
    path.write_bytes(content)
    return path


def reason(path: Path) -> str:
    """Why a video is refused: one sentence that names it."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert ";" in message
    return message


def kept(path: Path) -> tuple[list[Images], str]:
    """The frames that are kept of a damaged video, and the damage, which is why it is refused."""
    video = Video(path, keep_readable=True)
    frames = list(video)
    assert video.damage is not None
    assert f"{path} {video.damage};" in reason(path)
    return frames, video.damage


# Sound videos


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("avi", "mjpeg", {}),
        ("avi", "msmpeg4", {}),
        ("mp4", "mpeg4", {"bf": "2"}),
        ("mp4", "libx264", {"bf": "3"}),
        ("mkv", "libx264", {}),
        ("MOV", "mpeg4", {}),
        ("webm", "libvpx", {}),
        ("ogv", "libvpx", {}),
        ("wmv", "wmv2", {}),
        ("flv", "flv", {}),
    ],
)
def test_frames_are_rgb_in_order(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    frames = pictures(9)
    video = Video(write(tmp_path / f"video.{suffix}", frames, codec, options=options))
    assert video.size == (HEIGHT, WIDTH)
    assert video.fps == pytest.approx(FPS)
    assert video.decoder == f"pyav {av.__version__} ffmpeg {av.ffmpeg_version_info}"
    assert video.damage is None
    decoded = np.stack(list(video))
    assert video.damage is None
    assert decoded.dtype == np.uint8
    assert decoded.shape == frames.shape
    inside = np.s_[:, 4:16, 4:12], np.s_[:, 4:16, 20:28], np.s_[:, 4:16, 36:44], np.s_[:, 24:36]
    for part in inside:  # away from the edges, where chroma is shared; these codecs are 5 off there
        assert np.abs(decoded[part].astype(int) - frames[part]).max() <= 10
    assert np.array_equal(np.stack(list(video)), decoded)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        ("avi", "ffv1", "bgr0"),
        ("mkv", "ffv1", "gbrp10le"),
        ("avi", "png", "rgb24"),
        ("avi", "png", "rgba"),
        ("mov", "png", "rgb48be"),
        ("mov", "qtrle", "rgb24"),
        ("avi", "rawvideo", "bgr24"),
    ],
)
def test_what_is_stored_without_loss_comes_back(
    tmp_path: Path, suffix: str, codec: str, pixels: str
) -> None:
    frames = motion(5)[:, 1:, 1:]  # 63 x 95
    path = write(tmp_path / f"video.{suffix}", frames, codec, pixels=pixels)
    assert np.array_equal(read(path), frames)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    rgba = np.dstack([pictures(1)[0], np.zeros((HEIGHT, WIDTH), np.uint8)])
    path = write(
        tmp_path / "video.avi", [av.VideoFrame.from_ndarray(rgba, "rgba")] * 2, "png", pixels="rgba"
    )
    assert np.array_equal(read(path)[1], rgba[..., :3])


@pytest.mark.parametrize(
    ("codec", "pixels"), [("ffv1", "gray"), ("ffv1", "gray16le"), ("png", "gray16be")]
)
def test_grey_video_has_three_equal_channels(tmp_path: Path, codec: str, pixels: str) -> None:
    levels = np.arange(0, 256, 5, np.uint8)
    frames = [np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in levels]
    decoded = read(write(tmp_path / "video.avi", frames, codec, pixels=pixels)).astype(int)
    assert np.abs(decoded - levels[:, None, None, None]).max() <= 1


def test_paletted_video(tmp_path: Path) -> None:
    """With a palette of its own for each frame, which the index of the AVI lists, too."""
    frames, expected = [], []
    for k in range(4):
        palette = np.full((256, 4), 255, np.uint8)
        palette[:, 1:] = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 20 * k)], 1)
        indices = np.full((HEIGHT, WIDTH), 10 * k + 7, np.uint8)
        frames.append(av.VideoFrame.from_ndarray((indices, palette), "pal8"))
        expected.append([10 * k + 7, 248 - 10 * k, 20 * k])
    path = write(tmp_path / "video.avi", frames, "msrle", pixels="pal8")
    assert b"00pc" in path.read_bytes()
    assert read(path)[:, 5, 5].tolist() == expected


@pytest.mark.parametrize("size", [(1, 1), (25, 33), (2, 2), (1, 17), (17, 1), (39, 48)])
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mpeg4"), ("avi", "mjpeg")])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int], suffix: str, codec: str) -> None:
    path = write(tmp_path / f"video.{suffix}", np.full((3, *size, 3), 77, np.uint8), codec)
    decoded = read(path)
    assert Video(path).size == size
    assert decoded.shape == (3, *size, 3)
    assert np.abs(decoded.astype(int) - 77).max() <= 4


# Kr and Kb of Rec. ITU-R BT.601-7 (2.5.1), BT.709-6 (3.2) and BT.2020-2 (table 4), by their numbers
# in ISO/IEC 23091-2.
WEIGHTS = {5: (0.299, 0.114), 6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
UNSPECIFIED, YCGCO = 2, 8  # swscale does not know the latter


def rgb_of(levels: tuple[int, int, int], matrix: int, full: bool) -> list[float]:
    """RGB of Y', Cb and Cr of 8 bits: the inverse of the equations of these recommendations."""
    y, cb, cr = (
        (levels[0] / 255, (levels[1] - 128) / 255, (levels[2] - 128) / 255)
        if full
        else ((levels[0] - 16) / 219, (levels[1] - 128) / 224, (levels[2] - 128) / 224)
    )
    kr, kb = WEIGHTS[matrix]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return [min(max(255 * value, 0), 255) for value in (red, green, blue)]


@pytest.mark.parametrize("matrix", [*WEIGHTS, UNSPECIFIED, YCGCO])
@pytest.mark.parametrize("full", [False, True])
def test_the_stated_matrix_and_range_are_used(tmp_path: Path, matrix: int, full: bool) -> None:
    levels = [(120, 90, 170), (60, 128, 128), (200, 150, 100), (150, 60, 60), (90, 180, 150)]
    frames = []
    for level in levels:
        planes = np.broadcast_to(np.array(level, np.uint8)[:, None, None], (3, HEIGHT, WIDTH))
        frames.append(av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), "yuv444p"))

    def state(stream: Any) -> None:
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1

    path = write(tmp_path / "video.mkv", frames, "ffv1", pixels="yuv444p", set_up=state)
    with av.open(str(path)) as container:
        assert container.streams.video[0].colorspace == matrix
    expected = [rgb_of(level, matrix if matrix in WEIGHTS else 5, full) for level in levels]
    # swscale's tables are up to 1.5 off.
    assert np.abs(read(path)[:, 5, 5] - np.array(expected)).max() <= 2


MATRICES = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)]
MATRICES += [(0, 1, 1, 0), (0, -1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0)]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("codec", ["mpeg4", "png"])
def test_frames_are_turned_and_mirrored_as_the_file_asks(
    tmp_path: Path, matrix: tuple[int, int, int, int], codec: str
) -> None:
    frames = motion(3)[:, :20, :32]
    upright = read(write(tmp_path / "upright.mov", frames, codec))
    path = write(tmp_path / "turned.mov", frames, codec)
    a, b, c, d = matrix
    # tkhd, version 0: the matrix stands 44 bytes behind the tag. A pixel goes from (x, y) to
    # (a x + c y, b x + d y), and all are then shifted to where none is negative.
    entries = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    patch(path, path.read_bytes().index(b"tkhd") + 44, struct.pack(">9i", *entries))
    y, x = np.mgrid[:20, :32]
    column, row = a * x + c * y, b * x + d * y
    size = (32, 20) if a == 0 else (20, 32)
    expected = np.empty((3, *size, 3), np.uint8)
    expected[:, row - row.min(), column - column.min()] = upright
    assert Video(path).size == size
    decoded = list(Video(path))
    assert np.array_equal(np.stack(decoded), expected)
    assert all(image.flags.c_contiguous for image in decoded)


def test_a_turn_that_is_none_by_quarters_is_not_done(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", pictures(2), "mpeg4")
    upright = read(path)
    half = -46341  # 3/8 of a turn: -1 / sqrt(2)
    matrix = struct.pack(">9i", half, -half, 0, half, half, 0, 0, 0, 1 << 30)
    patch(path, path.read_bytes().index(b"tkhd") + 44, matrix)
    assert np.array_equal(read(path), upright)


def test_pixels_that_are_not_square_stay(tmp_path: Path) -> None:
    def state(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    path = write(tmp_path / "video.mp4", pictures(2), "mpeg4", set_up=state)
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2
    assert Video(path).size == (HEIGHT, WIDTH)


def test_interlaced_frames_stay(tmp_path: Path) -> None:
    frames = np.full((6, 64, 64, 3), 60, np.uint8)
    frames[:, 1::2] = 180
    options = {"flags": "+ildct+ilme", "qmax": "2"}
    path = write(tmp_path / "video.ts", frames, "mpeg2video", rate=25, options=options)
    with av.open(str(path)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    assert np.abs(read(path).astype(int) - frames).max() <= 10


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_variable_rate_gives_each_frame_once(tmp_path: Path, suffix: str) -> None:
    times = np.cumsum([0, 33, 33, 500, 20, 7, 1000, 40, 40, 2000])
    frames = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in pictures(len(times))]
    for frame, time in zip(frames, times.tolist(), strict=True):
        frame.pts, frame.time_base = time, Fraction(1, 1000)
    path = write(tmp_path / f"video.{suffix}", frames, "mpeg4", rate=1000)
    levels = read(path)[:, 30, 5, 0].astype(int)
    assert len(levels) == len(times)
    assert (np.diff(levels) > 10).all()


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "mpeg4"), ("mp4", "mpeg4"), ("mp4", "libx264"), ("ts", "mpeg2video")],
)
def test_b_frames_come_as_they_are_shown_and_none_is_left_in_the_decoder(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write(tmp_path / f"video.{suffix}", pictures(31), codec, rate=25, options={"bf": "2"})
    with av.open(str(path)) as container:
        kinds = {frame.pict_type for frame in container.decode(video=0)}
    assert PictureType.B in kinds
    levels = read(path)[:, 24:36].mean((1, 2, 3))
    assert len(levels) == 31
    assert (np.diff(levels) > 3).all()  # of 6


def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", pictures(60), "mpeg4")
    content = path.read_bytes()
    edits, track = content.index(b"elst"), content.index(b"tkhd")
    (milliseconds,) = struct.unpack(">I", content[edits + 12 : edits + 16])
    assert milliseconds == 60 * 1000 / FPS
    # The first half only is shown: in the edit list and, as the standard asks, in the track.
    patch(path, edits + 12, struct.pack(">I", milliseconds // 2))
    patch(path, track + 24, struct.pack(">I", milliseconds // 2))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 60
    assert len(read(path)) == 30


def test_a_last_frame_may_stand_for_long(tmp_path: Path) -> None:
    found = packets(pictures(20), "mpeg4")
    found[-1].duration = 900
    path = mux(tmp_path / "video.mp4", found, "mpeg4")
    with av.open(str(path)) as container:
        assert container.duration > 30_000_000  # microseconds
    assert len(read(path)) == 20


def test_frames_that_were_dropped_in_recording_are_not_missing(tmp_path: Path) -> None:
    """An AVI of 20 places in time with three frames; in its index the others have no bytes."""
    frames = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in pictures(3)]
    for frame, time in zip(frames, (0, 5, 19), strict=True):
        frame.pts, frame.time_base = time, Fraction(1, 25)
    path = write(tmp_path / "video.avi", frames, rate=25)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 20
    assert len(read(path)) == 3


def state_frames(path: Path, count: int) -> None:
    """Make the header of an AVI list so many frames: dwLength of its stream header."""
    patch(path, path.read_bytes().index(b"strh") + 8 + 32, struct.pack("<I", count))


@pytest.mark.parametrize(("listed", "sound"), [(20, True), (22, True), (23, False), (40, False)])
def test_a_header_may_list_two_frames_too_many(tmp_path: Path, listed: int, sound: bool) -> None:
    path = write(tmp_path / "video.avi", pictures(20))
    state_frames(path, listed)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == listed
    if sound:
        assert len(read(path)) == 20
    else:
        frames, damage = kept(path)
        assert len(frames) == 20
        assert damage == f"gives 20 of its {listed} frames"


def test_a_header_that_lists_too_few_frames_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(20))
    state_frames(path, 5)
    assert len(read(path)) == 20


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


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mkv", "libvpx"), ("ts", "libx264"), ("ts", "mpeg2video")]
)
def test_a_recording_may_begin_between_key_frames(tmp_path: Path, suffix: str, codec: str) -> None:
    found = packets(motion(40), codec)
    keys = [number for number, packet in enumerate(found) if packet.is_keyframe]
    path = mux(tmp_path / f"video.{suffix}", found[keys[1] + 3 :], codec)
    assert 0 < len(read(path)) <= 40 - keys[1] - 3


def test_recordings_that_were_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "video.ts", motion(30), "libx264", rate=25)
    once = read(path)
    path.write_bytes(2 * path.read_bytes())
    assert np.array_equal(read(path), np.concatenate([once, once]))


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


def test_a_title_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    def entitle(stream: Any) -> None:
        stream.container.metadata["title"] = "a title"

    path = write(tmp_path / "video.avi", pictures(3), set_up=entitle)
    patch(path, path.read_bytes().index(b"a title"), b"caf\xe9 \xff\xfe")
    assert len(read(path)) == 3


def test_a_cover_is_no_video_and_sound_is_none(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.start_encoding()
        for frame in (av.VideoFrame.from_ndarray(pictures(1)[0], "rgb24"), None):
            container.mux(cover.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        for audio in (silence, None):
            container.mux(sound.encode(audio))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert "only sound or pictures" in reason(path)
    path = tmp_path / "sound.avi"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
    assert "only sound or pictures" in reason(path)


def test_frames_belong_to_the_caller(tmp_path: Path) -> None:
    """Also those of a codec that decodes each frame, as RGB, on top of the one before."""
    frames = pictures(6, 40, 64)  # rows of 64 pixels, which the decoder does not pad
    path = write(tmp_path / "video.mov", frames, "qtrle")
    for frame, expected in zip(Video(path), frames, strict=True):
        assert np.array_equal(frame, expected)
        assert frame.flags.c_contiguous
        frame[:] = 0


def test_grey_is_luma() -> None:
    frame = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
    assert grey(frame).tolist() == [[76, 150, 29, 90]]  # 0.299, 0.587, 0.114 of 255 (BT.601)


# Damage


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


KINDS = [
    ("avi", "mpeg4", {}),
    ("avi", "mjpeg", {}),
    ("mov", "mjpeg", {}),
    ("mp4", "mpeg4", {"bf": "2"}),
    ("mp4", "libx264", {"bf": "3"}),
    ("mkv", "libx264", {"bf": "3"}),
    ("mkv", "ffv1", {}),
    ("webm", "libvpx", {}),
    ("ts", "libx264", {}),
    ("ts", "mpeg2video", {"bf": "2"}),
    ("mpg", "mpeg1video", {}),
    ("flv", "flv", {}),
]


@pytest.mark.parametrize(("suffix", "codec", "options"), KINDS)
def test_a_hole_ends_a_video_in_front_of_it(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / f"video.{suffix}", motion(40), codec, rate=25, options=options)
    whole, content = read(path), path.read_bytes()
    size = len(content)
    for start, filling in ((0.4, bytes), (0.6, np.random.default_rng(1).bytes)):
        path.write_bytes(content)
        patch(path, int(start * size), filling(size // 12))
        frames, _ = kept(path)
        assert 0.25 * 40 < len(frames) < 0.7 * 40
        assert np.array_equal(np.stack(frames), whole[: len(frames)])


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "mpeg2video"), ("mp4", "mpeg4")])
def test_frames_from_a_damaged_one_behind_them_are_left_out(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    """B-frames, which are decoded from a frame that is shown after them."""
    path = write(tmp_path / f"video.{suffix}", motion(40), codec, rate=25, options={"bf": "3"})
    whole, content = read(path), path.read_bytes()
    found = 0
    for position in np.random.default_rng(2).integers(len(content) // 5, len(content) - 5000, 12):
        path.write_bytes(content)
        video = Video(patch(path, int(position), bytes(300)), keep_readable=True)
        frames = list(video)
        if video.damage:
            found += 1
            assert np.array_equal(np.stack(frames), whole[: len(frames)])
    assert found >= 10


def test_a_packet_that_an_avi_lists_is_gone(tmp_path: Path) -> None:
    """One of a hundred, of a codec to which all frames are alike."""
    path = write(tmp_path / "video.avi", pictures(100), "ffv1")
    whole, content = read(path), path.read_bytes()
    start = content.index(b"movi")
    chunks = [i for i in range(start, len(content)) if content.startswith(b"00dc", i)][:100]
    patch(path, chunks[70], b"????")
    frames, damage = kept(path)
    assert damage == "cannot be decoded after frame 70"
    assert np.array_equal(np.stack(frames), whole[:70])
    path.write_bytes(content)
    patch(path, chunks[99], b"????")
    assert len(kept(path)[0]) == 99


def test_a_last_packet_that_is_not_whole(tmp_path: Path) -> None:
    """So little is gone that a wrong header might say the same, and the codec sees nothing."""
    path = write(tmp_path / "video.avi", motion(60), "libvpx")
    whole, content = read(path), path.read_bytes()
    path.write_bytes(content[: content.index(b"idx1") - 100])
    assert len(content) * 0.98 < path.stat().st_size
    frames, damage = kept(path)
    assert damage == "cannot be decoded after frame 59"
    assert np.array_equal(np.stack(frames), whole[:59])


def test_a_video_of_b_frames_alone_is_given_as_it_is_decoded() -> None:
    """As some encoders of HEVC make it: there is no frame to wait for."""
    decoded = []

    def decode() -> Iterator[av.VideoFrame]:
        for number in range(50):
            frame = av.VideoFrame(WIDTH, HEIGHT)
            frame.pict_type, frame.pts = PictureType.B, number
            decoded.append(number)
            yield frame

    frames = video_module._settled(decode())
    assert next(frames).pts == 0
    assert len(decoded) <= 17
    assert [frame.pts for frame in frames] == list(range(1, 50))


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


@pytest.mark.parametrize("shifts", [range(0, 60, 2), [*[0] * 29, 1000]])
def test_an_index_that_is_wrong_in_the_places_does_not_matter(
    tmp_path: Path, shifts: list[int]
) -> None:
    """As of writers that do not count the bytes they fill up with."""
    path = write(tmp_path / "video.avi", motion(30), "ffv1")
    whole = read(path)
    index = path.read_bytes().index(b"idx1") + 8
    for number, shift in enumerate(shifts):
        place = index + 16 * number + 8
        (old,) = struct.unpack("<I", path.read_bytes()[place : place + 4])
        patch(path, place, struct.pack("<I", old + shift))
    assert np.array_equal(read(path), whole)
    gone = path.read_bytes().index(b"00dc", path.stat().st_size // 2)
    assert len(kept(patch(path, gone, b"????"))[0]) < 30


def test_damage_that_leaves_no_frame_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", motion(20), "libx264", rate=25)
    start = path.read_bytes().index(b"mdat") + 4
    patch(path, start, bytes(3000))
    assert "does not begin with a frame" in reason(path)
    with pytest.raises(InputError, match="does not begin with a frame"):
        Video(path, keep_readable=True)


def test_a_loop_that_is_left_early_does_not_know_of_later_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", motion(40))
    patch(path, path.stat().st_size * 3 // 4, bytes(3000))
    video = Video(path, keep_readable=True)
    next(iter(video))
    assert video.damage is None
    count = len(list(video))
    assert video.damage == f"cannot be decoded after frame {count}"
    next(iter(video))
    assert video.damage is None


@pytest.mark.parametrize("keep_readable", [False, True])
def test_a_change_of_resolution(tmp_path: Path, keep_readable: bool) -> None:
    small, large = pictures(30), pictures(30, 48, 64)
    found = packets(small, "mjpeg", "yuvj420p") + packets(large, "mjpeg", "yuvj420p")
    paths = [mux(tmp_path / "video.avi", found, "mjpeg", "yuvj420p")]
    joined = tmp_path / "video.ts"
    parts = [
        write(tmp_path / f"{len(part[0])}.ts", part, "libx264", rate=25).read_bytes()
        for part in (small, large)
    ]
    joined.write_bytes(b"".join(parts))
    for path in (*paths, joined):
        video = Video(path, keep_readable)
        with pytest.raises(InputError) as caught:
            list(video)
        words = "changes its resolution from 48 x 40 to 64 x 48 at frame 31;"
        assert str(caught.value).startswith(f"{path} {words}")


def test_a_hole_in_real_h264(tmp_path: Path, shared: Path) -> None:
    source = shared / "data/surveillance_fight/videos/fight/fi004.mp4"
    content, whole = source.read_bytes(), read(source)
    assert len(whole) == 78
    path = tmp_path / "video.mp4"
    for start, end in ((0.2, 0.3), (0.5, 0.6), (0.8, 0.95)):
        first, last = int(start * len(content)), int(end * len(content))
        path.write_bytes(content[:first] + bytes(last - first) + content[last:])
        frames, _ = kept(path)
        assert np.array_equal(np.stack(frames), whole[: len(frames)])


# What is no video, or cannot be read


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


@pytest.mark.parametrize(
    "head", [b"\0\0\0\0moov", b"\0\0\0\1moov", b"RIFF\4\0\0\0AVI ", b"\x1aE\xdf\xa3"]
)
def test_a_header_and_nothing_behind_it(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "video.avi"
    path.write_bytes(head)
    assert reason(path)
    path.write_bytes(head + bytes(40))
    assert reason(path)


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


NAMES = [
    "a b.avi",
    "-x.avi",
    "12:30.avi",
    "a'b\"c.avi",
    "new\nline.avi",
    "日本é.avi",
    "%d.avi",
    "%05d.avi",
    "http:x.avi",
    "a.b.avi",
    "a" * 251 + ".avi",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dotted.folder"
    folder.mkdir()
    write(folder / "plain.avi", pictures(2)).rename(folder / name)
    (tmp_path / "link.avi").symlink_to(folder / name)
    monkeypatch.chdir(folder)
    assert len(read(Path(name))) == 2
    assert len(read(tmp_path / "link.avi")) == 2


def test_suffixes_are_in_lower_case() -> None:
    assert {".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg"} <= SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


# How it runs


def test_nothing_is_printed(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", motion(30), "mpeg4")
    patch(path, path.stat().st_size // 2, bytes(100))
    code = (
        "import sys; from pathlib import Path; from flow.video import Video\n"
        "print(len(list(Video(Path(sys.argv[1]), keep_readable=True))) > 5)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_it_decodes_in_one_thread(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", motion(10), "libx264", options={"slices": "4"})
    before = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    frames = iter(Video(path))
    next(frames)
    assert len(os.listdir("/proc/self/task")) == before  # noqa: PTH208


def test_nothing_is_left_open(tmp_path: Path) -> None:
    sound = write(tmp_path / "sound.avi", motion(10))
    damaged = write(tmp_path / "damaged.mp4", motion(10), "mpeg4")
    patch(damaged, damaged.stat().st_size // 2, bytes(500))

    def use() -> None:
        for _ in range(100):
            next(iter(Video(sound)))
            list(Video(damaged, keep_readable=True))
            with pytest.raises(InputError):
                list(Video(damaged))

    def memory() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    use()
    files, size = os.listdir("/proc/self/fd"), memory()  # noqa: PTH208
    use()
    assert os.listdir("/proc/self/fd") == files  # noqa: PTH208
    assert memory() - size < 100 * motion(1).nbytes  # a frame for each video that is not freed


# Real videos


@pytest.mark.parametrize(
    ("name", "count", "size", "fps"),
    [
        ("weizmann/videos/bend/ido_bend.avi", 65, (144, 180), 25),
        ("ut_interaction/videos/handshake/34_6_0.avi", 144, None, 30),
        ("hmdb51/videos/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", 74, None, 30),
        ("ucf101/videos/BalanceBeam/v_BalanceBeam_g13_c05.avi", 109, (240, 320), 25),
    ],
)
def test_real_videos(
    shared: Path, name: str, count: int, size: tuple[int, int] | None, fps: float
) -> None:
    video = Video(shared / "data" / name)
    assert sum(1 for _ in video) == count
    assert size is None or video.size == size
    assert video.fps == fps


def test_real_videos_are_as_opencv_decodes_them(shared: Path) -> None:
    """Another way to FFmpeg: the same pixels, as these files state no matrix."""
    found = sorted(path for path in (shared / "data").rglob("*") if path.suffix in SUFFIXES)
    for path in found[::40]:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        count = 0
        for frame in Video(path):
            expected = capture.read()[1]
            assert np.array_equal(frame, expected[..., ::-1]), path
            count += 1
        assert not capture.read()[0], path
        capture.release()
        assert count > 20


def test_the_count_is_never_the_headers(shared: Path) -> None:
    """In all of UT-Interaction the header lists more frames than there are."""
    found = sorted((shared / "data/ut_interaction/videos").rglob("*.avi"))
    assert len(found) == 60
    for path in found[::15]:
        with av.open(str(path)) as container:
            listed = container.streams.video[0].frames
        assert len(read(path)) < listed
