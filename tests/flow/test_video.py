"""The decoder. Kinds: known answer (written videos, patched headers), round trip, real data."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import video as video_module
from flow.errors import InputError
from flow.video import SUFFIXES, Video, grey

HEIGHT, WIDTH, FPS = 40, 48, 12.5


def pictures(count: int) -> NDArray[np.uint8]:
    """Frames (count, H, W, 3) RGB: a red, a green and a blue field, and grey that gets lighter."""
    frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    for channel in range(3):
        frames[:, : HEIGHT // 2, channel * 16 : (channel + 1) * 16, channel] = 200
    frames[:, HEIGHT // 2 :] = np.linspace(40, 220, count)[:, None, None, None]
    return frames


def write(path: Path, frames: NDArray[np.uint8], codec: str = "MJPG") -> Path:
    size = frames.shape[2], frames.shape[1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), FPS, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read(path: Path) -> NDArray[np.uint8]:
    return np.stack(list(Video(path)))


def patch(path: Path, position: int, new: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[position : position + len(new)] = new
    path.write_bytes(content)


def reason(path: Path) -> str:
    """Why a video is refused: one sentence that names it."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert ";" in message
    return message


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "MJPG"), ("mp4", "mp4v"), ("mkv", "FFV1"), ("MOV", "mp4v"), ("webm", "VP80")],
)
def test_frames_are_rgb_in_order(tmp_path: Path, suffix: str, codec: str) -> None:
    frames = pictures(9)
    path = write(tmp_path / f"video.{suffix}", frames, codec)
    video = Video(path)
    assert video.size == (HEIGHT, WIDTH)
    assert video.fps == pytest.approx(FPS)
    assert video.decoder == f"opencv {cv2.__version__}"
    decoded = np.stack(list(video))
    assert decoded.dtype == np.uint8
    assert decoded.shape == frames.shape
    inside = np.s_[:, 4:16, 4:12], np.s_[:, 4:16, 20:28], np.s_[:, 4:16, 36:44], np.s_[:, 24:36]
    for part in inside:  # away from the edges, where chroma is shared between colours
        assert np.abs(decoded[part].astype(int) - frames[part]).max() <= 24
    assert np.array_equal(np.stack(list(video)), decoded)


def test_grey_video_has_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.avi"
    codec = cv2.VideoWriter_fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, (WIDTH, HEIGHT), False)
    for level in (50, 100, 150):
        writer.write(np.full((HEIGHT, WIDTH), level, np.uint8))
    writer.release()
    decoded = read(path)
    assert decoded.shape == (3, HEIGHT, WIDTH, 3)
    assert np.abs(decoded.astype(int) - np.array([50, 100, 150])[:, None, None, None]).max() <= 1


def test_rotation_in_the_header_is_done(tmp_path: Path) -> None:
    upright = read(write(tmp_path / "upright.mp4", pictures(3), "mp4v"))
    path = write(tmp_path / "turned.mp4", pictures(3), "mp4v")
    # tkhd, version 0: the matrix stands 44 bytes behind the tag. A quarter turn clockwise.
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30)
    patch(path, path.read_bytes().index(b"tkhd") + 44, matrix)
    assert Video(path).size == (WIDTH, HEIGHT)
    assert np.array_equal(read(path), np.rot90(upright, -1, axes=(1, 2)))


def test_grey_is_luma() -> None:
    frame = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
    assert grey(frame).tolist() == [[76, 150, 29, 90]]  # 0.299, 0.587, 0.114 of 255 (BT.601)


def state_frames(path: Path, count: int) -> None:
    """Make the index of an AVI list so many frames: dwLength of its stream header."""
    patch(path, path.read_bytes().index(b"strh") + 8 + 32, struct.pack("<I", count))


@pytest.mark.parametrize(("listed", "sound"), [(20, True), (22, True), (23, False), (40, False)])
def test_an_index_may_list_two_frames_too_many(tmp_path: Path, listed: int, sound: bool) -> None:
    path = write(tmp_path / "video.avi", pictures(20))
    state_frames(path, listed)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == listed
    if sound:
        assert len(read(path)) == 20
    else:
        assert f"20 of its {listed} frames" in reason(path)


def test_an_index_that_lists_too_few_frames_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(20))
    state_frames(path, 5)
    assert len(read(path)) == 20


def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", pictures(60), "mp4v")
    content = path.read_bytes()
    edits, track = content.index(b"elst"), content.index(b"tkhd")
    (milliseconds,) = struct.unpack(">I", content[edits + 12 : edits + 16])
    assert milliseconds == 60 * 1000 / FPS
    # The first half only is shown: in the edit list and, as the standard asks, in the track.
    patch(path, edits + 12, struct.pack(">I", milliseconds // 2))
    patch(path, track + 24, struct.pack(">I", milliseconds // 2))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 60
    assert len(read(path)) == 30


def test_a_last_frame_may_stand_for_long(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", pictures(20), "mp4v")
    patch(path, path.read_bytes().index(b"tkhd") + 24, struct.pack(">I", 99_000))
    assert len(read(path)) == 20


def test_an_avi_that_was_written_to_a_pipe_states_no_size(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(20))
    patch(path, 4, b"\xff" * 4)
    assert len(read(path)) == 20


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "MJPG"), ("avi", "mp4v"), ("mp4", "mp4v"), ("mkv", "FFV1"), ("webm", "VP80")],
)
@pytest.mark.parametrize("share", [0.95, 0.5])
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str, codec: str, share: float) -> None:
    path = write(tmp_path / f"video.{suffix}", pictures(40), codec)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cut short" in reason(path)


def test_bytes_after_the_end_do_not_matter(tmp_path: Path) -> None:
    for suffix, codec in (("avi", "MJPG"), ("mp4", "mp4v"), ("mkv", "FFV1")):
        path = write(tmp_path / f"video.{suffix}", pictures(5), codec)
        with path.open("ab") as file:
            file.write(b"\0" * 100 + b"trailing")
        assert len(read(path)) == 5


def test_a_hole_in_an_avi(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(40))
    size = path.stat().st_size
    patch(path, size // 3, bytes(size // 3))
    assert "of its 40 frames" in reason(path)


def test_the_end_of_an_mp4_cannot_be_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", pictures(40), "mp4v")
    content = path.read_bytes()
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    patch(path, end - (end - start) // 3, bytes((end - start) // 3))
    assert "of its 40 frames" in reason(path)


def test_a_hole_in_h264(tmp_path: Path, shared: Path) -> None:
    source = shared / "data/surveillance_fight/videos/fight/fi004.mp4"
    whole = source.read_bytes()
    assert len(read(source)) == 78
    path = tmp_path / "video.mp4"
    for start, end in ((0.2, 0.3), (0.5, 0.6), (0.8, 0.95)):
        first, last = int(start * len(whole)), int(end * len(whole))
        path.write_bytes(whole[:first] + bytes(last - first) + whole[last:])
        assert "after frame" in reason(path)


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "text.avi"
    path.write_text("This is no video.\n" * 50)
    assert "no video" in reason(path)
    path = tmp_path / "empty.avi"
    path.write_bytes(b"")
    assert "empty" in reason(path)
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
    assert "no frame" in reason(path)


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "video.avi", pictures(2))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in reason(path)


class FakeCapture:
    """Stands for cv2.VideoCapture: frames of these widths, at these times in seconds."""

    widths: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    listed = 0

    def __init__(self, *_: object) -> None:
        self.count = 0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        if self.count == len(self.widths):
            return False, None
        self.count += 1
        return True, np.zeros((HEIGHT, self.widths[self.count - 1], 3), np.uint8)

    def get(self, key: int) -> float:
        milliseconds = 1000 * self.seconds[self.count - 1] if self.count else 0.0
        return {
            cv2.CAP_PROP_FPS: FPS,
            cv2.CAP_PROP_FRAME_COUNT: self.listed,
            cv2.CAP_PROP_POS_MSEC: milliseconds,
        }[key]

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def grab(self) -> bool:
        return False

    def release(self) -> None:
        pass


def test_a_change_of_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # OpenCV before 4.7 gives such frames; later ones scale them.
    path = write(tmp_path / "video.avi", pictures(2))
    monkeypatch.setattr(video_module.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "widths", (WIDTH, WIDTH, WIDTH, WIDTH + 2))
    monkeypatch.setattr(FakeCapture, "seconds", (0.0, 0.1, 0.2, 0.3))
    assert "resolution at frame 4" in reason(path)


@pytest.mark.parametrize(("middle", "sound"), [(19 / FPS, True), (2 / FPS, False)])
def test_frames_that_were_dropped_in_recording_are_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, middle: float, sound: bool
) -> None:
    """An AVI of 20 places in time with three frames, the last of which comes without a time."""
    path = write(tmp_path / "video.avi", pictures(2))
    monkeypatch.setattr(video_module.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "listed", 20)
    monkeypatch.setattr(FakeCapture, "widths", (WIDTH,) * 3)
    monkeypatch.setattr(FakeCapture, "seconds", (0.0, middle, 0.0))
    if sound:
        assert len(read(path)) == 3
    else:
        assert "3 of its 20 frames" in reason(path)


def box(tag: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), tag) + inside


@pytest.mark.parametrize("version", [0, 1])
def test_the_length_is_that_of_the_video_track(version: int) -> None:
    times = ">B3x2I" if version == 0 else ">B3x2Q"

    def track(kind: bytes, duration: int) -> bytes:
        header = struct.pack(times, version, 1, 2) + struct.pack(">I4x", 9)
        header += struct.pack(">I" if version == 0 else ">Q", duration)
        return box(b"trak", box(b"tkhd", header), box(b"mdia", box(b"hdlr", bytes(8), kind)))

    movie = box(b"mvhd", struct.pack(times, version, 1, 2) + struct.pack(">I", 600), bytes(8))
    tracks = track(b"soun", 300), track(b"vide", 3000), track(b"vide", 6000)
    content = box(b"ftyp", b"isom") + box(b"moov", movie, *tracks)
    assert video_module._track_seconds(io.BytesIO(content)) == 5.0


NAMES = [
    "a b.avi",
    "-x.avi",
    "12:30.avi",
    "a'b\"c.avi",
    "new\nline.avi",
    "日本é.avi",
    "%d.avi",
    "a.b.avi",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dotted.folder"
    folder.mkdir()
    write(folder / "plain.avi", pictures(2)).rename(folder / name)
    monkeypatch.chdir(folder)
    assert len(read(Path(name))) == 2


def test_nothing_is_printed(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", pictures(30), "mp4v")
    patch(path, path.stat().st_size // 2, bytes(100))
    code = (
        "import sys; from pathlib import Path; from flow.video import Video\n"
        "print(len(list(Video(Path(sys.argv[1])))))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("30\n", "")
    loud = environment | {"OPENCV_FFMPEG_LOGLEVEL": "32"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=loud, capture_output=True, text=True
    )
    assert len(done.stdout + done.stderr) > len("30\n")  # for whoever asks for it


def test_suffixes_are_in_lower_case() -> None:
    assert {".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg"} <= SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


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
