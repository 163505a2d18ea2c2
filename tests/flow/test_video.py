"""The decoder on sound videos. Kinds: known answer (videos made here, patched headers), round trip,
oracle (OpenCV; the equations of BT.601, BT.709 and BT.2020), real data."""

import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import PictureType

from flow.video import SUFFIXES, Video, grey
from video_files import (
    FPS,
    HEIGHT,
    WIDTH,
    motion,
    mux,
    packets,
    patch,
    pictures,
    read,
    reason,
    write,
)


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


def test_recordings_that_were_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "video.ts", motion(30), "libx264", rate=25)
    once = read(path)
    path.write_bytes(2 * path.read_bytes())
    assert np.array_equal(read(path), np.concatenate([once, once]))


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


def test_it_decodes_in_one_thread(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", motion(10), "libx264", options={"slices": "4"})
    before = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    frames = iter(Video(path))
    next(frames)
    assert len(os.listdir("/proc/self/task")) == before  # noqa: PTH208


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
