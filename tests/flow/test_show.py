"""Flow in colour. Kinds: known answer (the wheel's pure hues), property, round trip (PNG)."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import decode, encode, tvl1
from flow.errors import InputError
from flow.show import colour, frame_and_flow, show, side_by_side
from flow.store import Meta, StoreWriter
from flow.tvl1 import TVL1Params
from flow.video import Video, grey

HEIGHT, WIDTH, FRAMES = 24, 32, 4


def painted(x: float, y: float, maximum: float | None = None) -> list[int]:
    flow = np.array([[[x, y]]], np.float32)
    pixel: list[int] = colour(flow, maximum)[0, 0].tolist()
    return pixel


def test_directions_have_the_hues_of_the_middlebury_wheel() -> None:
    # The wheel has 54 steps around. To the right is step 0, red; down a quarter of it, 13.5 of the
    # 15 from red to yellow; left half, 2 of the 11 from cyan (25) to blue; up 4.5 of the 13 from
    # blue (36) to magenta.
    assert painted(2, 0) == [255, 0, 0]
    assert painted(0, 2) == [255, int(255 * 13.5 / 15), 0]
    assert painted(-2, 0) == [0, int(255 * (1 - 2 / 11)), 255]
    assert painted(0, -2) == [int(255 * 4.5 / 13), 0, 255]


def test_length_is_saturation() -> None:
    assert painted(0, 0) == [255, 255, 255]
    assert painted(0, 0, maximum=5) == [255, 255, 255]
    assert painted(2.5, 0, maximum=10) == [255, int(255 * 0.75), int(255 * 0.75)]
    assert painted(10, 0, maximum=10) == [255, 0, 0]
    assert painted(11, 0, maximum=10) == [int(255 * 0.75), 0, 0]  # beyond it: darker


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unknown_flow_is_black_and_does_not_count(value: float) -> None:
    flow = np.array([[[1, 0], [value, 0], [0, value], [0.5, 0]]], np.float32)
    assert colour(flow)[0].tolist() == [[255, 0, 0], [0, 0, 0], [0, 0, 0], [255, 127, 127]]


def test_the_picture_does_not_depend_on_the_unit() -> None:
    flow = np.random.default_rng(0).normal(size=(20, 30, 2)).astype(np.float32)
    picture = colour(flow)
    assert picture.dtype == np.uint8
    assert picture.shape == (20, 30, 3)
    assert np.abs(colour(8 * flow).astype(int) - picture).max() <= 1
    longest = float(np.hypot(flow[..., 0], flow[..., 1]).max())
    assert np.abs(colour(flow, longest).astype(int) - picture).max() <= 1


def test_hues_run_around_without_a_jump() -> None:
    angle = np.linspace(-np.pi, np.pi, 2000)
    flow = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None].astype(np.float32)
    steps = np.abs(np.diff(colour(flow, 1.001).astype(int), axis=1))
    assert 0 < steps.max() <= 45  # the wheel's own largest step: a quarter of the channel in 1/54


def test_no_flow_at_all() -> None:
    assert colour(np.zeros((0, 5, 2), np.float32)).shape == (0, 5, 3)


def test_side_by_side() -> None:
    frame = np.full((3, 4, 3), 7, np.uint8)
    flow = np.ones((3, 4, 2), np.float32)
    both = side_by_side(frame, flow)
    assert np.array_equal(both[:, :4], frame)
    assert np.array_equal(both[:, 4:], colour(flow))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "video.avi"
    rng = np.random.default_rng(1)
    texture = cv2.resize(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8), (2 * WIDTH, HEIGHT))
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 10, (WIDTH, HEIGHT))
    for k in range(FRAMES):
        writer.write(texture[:, 2 * k : 2 * k + WIDTH])
    writer.release()
    return path


@pytest.fixture(scope="module")
def stored(video: Path) -> tuple[Path, NDArray[np.float32]]:
    """A store file of ``video`` with made-up flow, and that flow (T - 1, H, W, 2)."""
    flow = np.zeros((FRAMES - 1, HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = np.arange(1, FRAMES)[:, None, None]
    path = video.with_name("stored.zip")
    with StoreWriter(path) as writer:
        for frame in Video(video):
            writer.add_frame(frame)
        for field in flow:
            writer.add_flow(encode(field, 5.0, "dense_flow"))
        meta = Meta(
            source="video.avi",
            source_bytes=1,
            source_sha256="0" * 64,
            frames=FRAMES,
            fps=10.0,
            width=WIDTH,
            height=HEIGHT,
            decoder="none",
            solver="opencv",
            params=dataclasses.asdict(TVL1Params()),
            bound=5.0,
            encoding="dense_flow",
            clipped=0.0,
        )
        writer.finish(meta)
    return path, flow


@pytest.mark.parametrize("number", [1, FRAMES - 1])
def test_frame_and_flow_of_a_video(video: Path, number: int) -> None:
    frames = list(Video(video))
    frame, flow = frame_and_flow(video, number)
    assert np.array_equal(frame, frames[number - 1])
    direct = tvl1(grey(frames[number - 1]), grey(frames[number]))
    assert np.abs(np.median(flow - direct)) < 0.01
    assert np.median(flow[..., 0]) == pytest.approx(-2, abs=0.5)


@pytest.mark.parametrize("number", [1, FRAMES - 1])
def test_frame_and_flow_of_a_store_file(
    video: Path, stored: tuple[Path, NDArray[np.float32]], number: int
) -> None:
    path, flow = stored
    frame, decoded = frame_and_flow(path, number)
    expected = list(Video(video))[number - 1]
    assert np.abs(grey(frame).astype(int) - grey(expected)).mean() < 3
    # JPEG keeps an image of one value as it is. Bound and scheme are those of the file.
    image = encode(flow[number - 1], 5.0, "dense_flow")
    assert np.array_equal(decoded, decode(image, 5.0, "dense_flow"))


def test_a_png_of_both(stored: tuple[Path, NDArray[np.float32]], tmp_path: Path) -> None:
    path, _ = stored
    out = tmp_path / "picture.PNG"
    assert show(path, out, 3) == pytest.approx(3, abs=0.05)
    picture = cv2.cvtColor(cv2.imread(str(out)), cv2.COLOR_BGR2RGB)
    frame, flow = frame_and_flow(path, 3)
    assert np.array_equal(picture, side_by_side(frame, flow, show(path, out, 3)))


def test_a_few_wild_vectors_do_not_pale_the_others(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wild(previous: NDArray[np.uint8], following: NDArray[np.uint8]) -> NDArray[np.float32]:
        flow = np.full((*previous.shape, 2), 3, np.float32)
        flow[0, 0] = 300
        return flow

    monkeypatch.setattr("flow.show.tvl1", wild)
    assert show(video, tmp_path / "picture.png") == pytest.approx(np.hypot(3, 3))


def test_what_cannot_be_shown(
    video: Path, stored: tuple[Path, NDArray[np.float32]], tmp_path: Path
) -> None:
    out = tmp_path / "picture.png"
    for source in (video, stored[0]):
        for number, word in ((FRAMES, "after frame 4"), (99, "after frame 99"), (0, "first")):
            with pytest.raises(InputError, match=word):
                show(source, out, number)
    with pytest.raises(InputError, match="PNG"):
        show(video, tmp_path / "picture.jpg")
    with pytest.raises(InputError, match="cannot be written"):
        show(stored[0], tmp_path / "absent" / "picture.png")
    with pytest.raises(InputError, match="not a file"):
        show(tmp_path / "absent.avi", out)
    assert list(tmp_path.iterdir()) == []
