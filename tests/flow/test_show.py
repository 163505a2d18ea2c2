"""Showing flow. Kinds: known answer, round trip (what is written is read), death by Ctrl-C."""

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flow import decode, encode
from flow.colour import colour
from flow.errors import InputError
from flow.moments import Moment
from flow.show import full_colour, show, spread
from flow.store import StoreWriter
from store_files import META
from video_files import write

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH, FRAMES = 120, 160, 13
Pixel = tuple[int, ...]
ENLARGED = 2  # such a small one is shown so many times as large


def write_store_file(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH), rgb: bool = True) -> Path:
    """Frame k is grey of value 10 k + 3, and its motion k / 2 pixels to the right and 1 up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with StoreWriter(path, codec="png") as writer:
        for number in range(1, FRAMES + 1) if rgb else ():
            writer.add_frame(np.full((*size, 3), 10 * number + 3, np.uint8))
        for number in range(1, FRAMES):
            writer.add_flow(encode(np.full((*size, 2), (number / 2, -1), np.float32), 15.0))
        meta = replace(META, frames=FRAMES, fps=12.5, width=size[1], height=size[0])
        writer.finish(replace(meta, bound=15.0, codec="png", rgb=rgb))
    return path


def write_video(path: Path, frames: int = FRAMES, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """A texture that moves to the left by two pixels a frame, and begins again."""
    height, width = size
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 200, (height // 8, width // 4, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (3 * width, height))
    places = [2 * (k % width) for k in range(frames)]
    return write(path, [texture[:, left : left + width] for left in places], rate=10)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store_file(tmp_path_factory.mktemp("stored") / "video.zip")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "video.avi")


def read_png(path: Path) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return picture


def panels_of(picture: NDArray[np.uint8]) -> Counter[Pixel]:
    """How many panels there are of each colour, where they have one each; not the white paper."""
    packed = (picture.astype(np.int64) << [16, 8, 0]).sum(axis=-1)
    counts = np.bincount(packed.ravel()) // (HEIGHT * WIDTH * ENLARGED**2)
    found = {(p >> 16, p >> 8 & 255, p & 255): int(counts[p]) for p in counts.nonzero()[0].tolist()}
    return Counter(found) - Counter({(255, 255, 255): 1 << 30})


def colours_of(number: int, full: float) -> list[Pixel]:
    """Of the panels of a frame of the store file: frame, flow, x and y."""
    image = encode(np.array([[[number / 2, -1]]], np.float32), 15.0)
    flow = tuple(colour(decode(image, 15.0), full)[0, 0].tolist())
    x, y = image[0, 0].tolist()
    return [(10 * number + 3,) * 3, flow, (x, x, x), (y, y, y)]


def test_a_sheet_of_a_store_file(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.PNG"
    full = show(stored, out)
    assert full == pytest.approx(np.hypot(6, 1), abs=0.09)  # of frame 12, the fastest
    panels = panels_of(read_png(out))
    for number in range(1, FRAMES):
        frame, flow, x, y = colours_of(number, full)
        # The middles of six parts of two frames; y is the same everywhere.
        assert [panels[pixel] for pixel in (frame, flow, x)] == [int(number % 2 == 0)] * 3
        assert panels[y] == 6
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.PNG"]


@pytest.mark.parametrize(("rows", "shown"), [(1, 1), (5, 5), (12, 12), (99, 12)])
def test_as_many_rows_as_are_asked_for_and_there(
    stored: Path, tmp_path: Path, rows: int, shown: int
) -> None:
    full = show(stored, tmp_path / "sheet.png", rows=rows)
    assert panels_of(read_png(tmp_path / "sheet.png"))[colours_of(1, full)[3]] == shown


@pytest.mark.parametrize("number", [1, 7, FRAMES - 1])
def test_a_frame_alone(stored: Path, tmp_path: Path, number: int) -> None:
    full = show(stored, tmp_path / "frame.png", frame=number)
    # The same motion everywhere has the full colour, within half a step of the stored image.
    assert full == pytest.approx(np.hypot(number / 2, 1), abs=0.09)
    panels = panels_of(read_png(tmp_path / "frame.png"))
    shown = colours_of(number, full)
    assert max(shown[1]) == 255
    assert panels == Counter(shown)


def test_a_sheet_of_a_video(video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert show(video, tmp_path / "sheet.png", rows=3) == pytest.approx(2, abs=0.5)
    assert "3/3" in capfd.readouterr().err
    assert show(video, tmp_path / "quiet.png", rows=3, progress=False) > 0
    assert capfd.readouterr().err == ""
    picture = read_png(tmp_path / "sheet.png")
    assert np.array_equal(picture, read_png(tmp_path / "quiet.png"))
    # Two pixels to the left, where 20 is the bound, and none down.
    panels = panels_of(picture)
    assert panels[(115,) * 3] + panels[(116,) * 3] >= 2
    assert panels[(128,) * 3] >= 2


def test_a_sheet_of_a_store_has_videos_from_all_over_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for k in range(8):
        write_store_file(store / f"class {k // 4}" / f"{k}.zip", (HEIGHT, WIDTH + 2 * k))
    show(store, tmp_path / "sheet.png", rows=4)
    picture = read_png(tmp_path / "sheet.png")
    # Videos 2, 4, 6 and 8, each in its middle, which is frame 7.
    widths = [
        run
        for row in np.all(picture == 73, axis=-1)
        for run in runs(row)
        if run >= ENLARGED * WIDTH
    ]
    expected = [ENLARGED * (WIDTH + 2 * k) for k in (1, 3, 5, 7)]
    assert widths == [width for width in expected for _ in range(ENLARGED * HEIGHT)]


def runs(row: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Lengths of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("suffix", [".mp4", ".MOV", ".mkv"])
def test_a_video_of_a_store_file(stored: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"video{suffix}"
    full = show(stored, out)
    with av.open(str(out)) as video:
        assert video.streams.video[0].average_rate == 12.5
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == FRAMES - 1
    width = frames[0].shape[1]
    for number, frame in enumerate(frames, start=1):
        row = frame[-HEIGHT, [width * k // 8 for k in (1, 3, 5, 7)]].astype(int)
        error = np.abs(row - np.array(colours_of(number, full)))
        assert error.max() <= 4, number  # 2 was measured, which is a step of Y, Cb and Cr
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_video_of_a_video(video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert show(video, tmp_path / "out.mp4") == pytest.approx(2, abs=0.5)
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert written.streams.video[0].average_rate == 10
        assert written.streams.video[0].frames == FRAMES - 1
    assert "24/24" in capfd.readouterr().err  # 12 for the scale of the colours, and all of them


def test_a_store_file_without_frames_is_shown_without_them(tmp_path: Path) -> None:
    path = write_store_file(tmp_path / "a.zip", rgb=False)
    full = show(path, tmp_path / "a.png", frame=2)
    panels = panels_of(read_png(tmp_path / "a.png"))
    assert [panels[pixel] for pixel in colours_of(2, full)] == [0, 1, 1, 1]
    show(path, tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as written:
        assert 3 * ENLARGED * WIDTH < written.streams.video[0].width < 4 * ENLARGED * WIDTH


def of_length(length: NDArray[np.float64], bound: float = 20.0) -> Moment:
    flow = np.stack([0.6 * length, -0.8 * length], axis=-1).astype(np.float32)
    return Moment(1, None, flow, np.zeros(flow.shape, np.uint8), bound)


def test_the_full_colour_is_what_one_vector_in_200_exceeds() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.exponential(3, (4, 50, 100))
    full = full_colour(of_length(length) for length in lengths)
    assert (lengths > full).mean() == pytest.approx(1 / 200, abs=1e-4)
    lengths[0, 0, :90] = 1000
    assert full_colour(of_length(length) for length in lengths) < 1.5 * full


def test_the_full_colour_of_hardly_any_motion() -> None:
    length = np.zeros((50, 100))
    assert full_colour([of_length(length)]) == 20 / 127
    assert full_colour([of_length(length + 0.01, bound=5)]) == 5 / 127
    length[3, 4] = 7
    assert full_colour([of_length(length)]) == pytest.approx(7, rel=1e-4)


def test_the_full_colour_of_a_large_moment_needs_no_more_than_some_of_its_vectors() -> None:
    length = np.random.default_rng(0).exponential(3, (1000, 1000))
    exact = np.quantile(length, 0.995)
    assert full_colour([of_length(length)]) == pytest.approx(exact, rel=0.02)


@given(st.integers(1, 2000), st.integers(1, 50))
def test_moments_are_spread_evenly(total: int, count: int) -> None:
    numbers = spread(total, count)
    assert len(numbers) == min(count, total)
    gaps = np.diff([1 - numbers[0], *numbers, 2 * total - numbers[-1] + 2])
    assert numbers[0] >= 1
    assert numbers[-1] <= total
    assert np.ptp(gaps) <= 2
    assert np.all(np.diff(numbers) > 0)


def test_moments_of_known_numbers() -> None:
    assert spread(12, 6) == [2, 4, 6, 8, 10, 12]
    assert spread(100, 1) == [51]
    assert spread(3, 6) == [1, 2, 3]
    assert spread(90, 3) == [16, 46, 76]


def test_what_cannot_be_shown(stored: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    for source in (video, stored):
        for number, word in ((FRAMES, "after frame 13"), (99, "after frame 99"), (0, "first")):
            with pytest.raises(InputError, match=word):
                show(source, out, frame=number, progress=False)
    for wrong, word in (
        ({"out": tmp_path / "a.jpg"}, "ends in .png"),
        ({"out": tmp_path / "a"}, "ends in .png"),
        ({"out": tmp_path}, "ends in .png"),
        ({"out": tmp_path / "absent" / "a.png"}, "cannot be written"),
        ({"out": tmp_path / "absent" / "a.mp4"}, "cannot be written"),
        ({"rows": 0}, "rows is 0"),
        ({"rows": 3, "frame": 2}, "no rows"),
        ({"out": tmp_path / "a.mp4", "rows": 3}, "shows all"),
        ({"out": tmp_path / "a.mp4", "frame": 3}, "shows all"),
        ({"source": tmp_path / "absent.avi"}, "not a file"),
        ({"source": tmp_path / "absent.zip"}, "not there"),
        ({"source": stored.parent, "frame": 3}, "no store"),
        ({"source": stored.parent, "out": tmp_path / "a.mp4"}, "one of its files"),
    ):
        with pytest.raises(InputError, match=word):
            show(**{"source": stored, "out": out} | wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_neither_a_folder_nor_the_source_is_written_over(video: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        show(video, tmp_path / "folder.png")
    copy = Path(shutil.copy(video, tmp_path / "video.mkv"))
    with pytest.raises(InputError, match="over itself"):
        show(copy, tmp_path / "." / "video.mkv")
    assert copy.read_bytes() == video.read_bytes()


def test_damage_leaves_what_was_there_before(stored: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.zip"
    content = bytearray(stored.read_bytes())
    content[content.index(b"flow_00009.png") + 40] ^= 255
    damaged.write_bytes(content)
    for name in ("out.png", "out.mp4"):
        out = tmp_path / name
        out.write_bytes(b"before")
        with pytest.raises(InputError, match=r"flow_00009\.png"):
            show(damaged, out, rows=12 if name == "out.png" else None, progress=False)
        assert out.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("name", "rows"), [("out.png", 300), ("out.mp4", None)])
def test_ctrl_c_leaves_nothing(tmp_path: Path, name: str, rows: int | None) -> None:
    video = write_video(tmp_path / "videos" / "long.avi", 2000)
    out = tmp_path / "out" / name
    out.parent.mkdir()
    code = (
        "import sys; from pathlib import Path; from flow.show import show\n"
        f"show(Path(sys.argv[1]), Path(sys.argv[2]), rows={rows})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, video, out], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while not any(path.stat().st_size or rows for path in out.parent.iterdir()):
        assert process.poll() is None
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in said
    assert list(out.parent.iterdir()) == []
