"""The decoder on damaged videos. Kinds: known answer (what is kept is what was there), property
(holes anywhere), real data."""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from flow import video as video_module
from flow.errors import InputError
from flow.video import Video
from video_files import (
    HEIGHT,
    WIDTH,
    kept,
    motion,
    mux,
    packets,
    patch,
    pictures,
    read,
    reason,
    write,
)


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


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mkv", "libvpx"), ("ts", "libx264"), ("ts", "mpeg2video")]
)
def test_a_recording_may_begin_between_key_frames(tmp_path: Path, suffix: str, codec: str) -> None:
    found = packets(motion(40), codec)
    keys = [number for number, packet in enumerate(found) if packet.is_keyframe]
    path = mux(tmp_path / f"video.{suffix}", found[keys[1] + 3 :], codec)
    assert 0 < len(read(path)) <= 40 - keys[1] - 3


KINDS = [
    ("avi", "mpeg4", {}),
    ("avi", "mjpeg", {"huffman": "default"}),  # as cameras do; with the best codes zeros are one
    ("mov", "mjpeg", {"huffman": "default"}),
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


B_FRAMES = 3
"""Between two others, of any kind above; what a hole hits may hang on two groups of them."""


@pytest.mark.parametrize(("suffix", "codec", "options"), KINDS)
def test_a_hole_ends_a_video_in_front_of_it(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / f"video.{suffix}", motion(40), codec, rate=25, options=options)
    whole, content = read(path), path.read_bytes()
    size = len(content)
    with av.open(str(path)) as container:
        behind = np.cumsum([packet.size for packet in container.demux(video=0)])
    for start, filling in ((0.4, bytes), (0.6, np.random.default_rng(1).bytes)):
        path.write_bytes(content)
        patch(path, int(start * size), filling(size // 12))
        frames, _ = kept(path)
        in_front = np.count_nonzero(behind <= start * behind[-1])  # to one, for the container's own
        assert in_front - 2 * (B_FRAMES + 1) <= len(frames) <= in_front + 1
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


def test_nothing_is_printed(tmp_path: Path) -> None:
    path = write(tmp_path / "video.avi", motion(30), "mpeg4")
    patch(path, path.stat().st_size // 2, bytes(100))
    code = (
        "import sys; from pathlib import Path; from flow.video import Video\n"
        "print(len(list(Video(Path(sys.argv[1]), keep_readable=True))) > 5)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


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
