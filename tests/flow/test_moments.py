"""Moments of store files and of videos. Kinds: known answer, round trip, identity."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import decode, encode, tvl1
from flow.encoding import Scheme
from flow.errors import InputError
from flow.meta import Codec
from flow.moments import ComputedMoments, Moment, StoredMoments
from flow.store import StoreFile, StoreWriter
from flow.video import Video, grey
from store_files import META
from video_files import write

HEIGHT, WIDTH, FRAMES = 24, 32, 70


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A texture that moves to the left by two pixels a frame."""
    path = tmp_path_factory.mktemp("video") / "video.avi"
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, 64, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (WIDTH + 2 * FRAMES, HEIGHT))
    return write(path, [texture[:, 2 * k : 2 * k + WIDTH] for k in range(FRAMES)], rate=10)


def write_store(
    path: Path,
    images: NDArray[np.uint8],
    *,
    codec: Codec = "png",
    rgb: bool = True,
    encoding: Scheme = "symmetric",
    bound: float = 5.0,
) -> Path:
    """A store file with those flow images (T - 1, H, W, 2), of grey frames 10, 20, ..."""
    frames = len(images) + 1
    with StoreWriter(path, codec=codec) as writer:
        for k in range(frames if rgb else 0):
            writer.add_frame(np.full((*images.shape[1:3], 3), 10 * (k + 1), np.uint8))
        for image in images:
            writer.add_flow(image)
        meta = replace(META, frames=frames, fps=12.5, width=images.shape[2], height=images.shape[1])
        writer.finish(replace(meta, bound=bound, encoding=encoding, codec=codec, rgb=rgb))
    return path


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(1, 256, (3, HEIGHT, WIDTH, 2), np.uint8)


@pytest.mark.parametrize("encoding", ["symmetric", "dense_flow"])
def test_a_store_file_gives_what_it_holds(
    tmp_path: Path, images: NDArray[np.uint8], encoding: Scheme
) -> None:
    path = write_store(tmp_path / "a.zip", images, encoding=encoding)
    with StoreFile(path) as store:
        source = StoredMoments(store)
        assert (source.path, source.fps, source.size) == (path, 12.5, (HEIGHT, WIDTH))
        assert source.flows == 3
        moments = list(source.moments([1, 3]))
    assert [moment.number for moment in moments] == [1, 3]
    for moment in moments:
        assert np.array_equal(moment.image, images[moment.number - 1])
        assert np.array_equal(moment.flow, decode(moment.image, 5.0, encoding))
        assert moment.bound == 5
        assert moment.frame is not None
        assert np.all(moment.frame == 10 * moment.number)


def test_a_store_file_without_frames(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    with StoreFile(write_store(tmp_path / "a.zip", images, rgb=False)) as store:
        (moment,) = StoredMoments(store).moments([2])
    assert moment.frame is None
    assert np.array_equal(moment.image, images[1])


def test_a_video_has_its_flow_computed(video: Path) -> None:
    source = ComputedMoments(video)
    assert (source.path, source.fps, source.size) == (video, 10, (HEIGHT, WIDTH))
    assert source.flows == FRAMES - 1
    frames = list(Video(video))
    # More moments than are worked on at a time, and neighbours as well as single ones.
    numbers = [1, *range(5, 60), FRAMES - 1]
    moments = list(source.moments(numbers))
    assert [moment.number for moment in moments] == numbers
    for moment in moments:
        previous, following = frames[moment.number - 1 : moment.number + 1]
        assert np.array_equal(moment.frame, previous)
        assert np.array_equal(moment.flow, tvl1(grey(previous), grey(following)))
        assert np.array_equal(moment.image, encode(moment.flow, 20.0))
        assert moment.bound == 20
    assert np.median([moment.flow[..., 0] for moment in moments]) == pytest.approx(-2, abs=0.1)


def test_a_large_video_is_worked_on_a_pair_at_a_time(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = []

    def counted(previous: NDArray[np.uint8], following: NDArray[np.uint8]) -> NDArray[np.float32]:
        at_once.append(len(previous))
        return tvl1(previous, following)

    monkeypatch.setattr("flow.moments.tvl1", counted)
    list(ComputedMoments(video).moments(range(1, FRAMES)))
    assert at_once == [32, 32, FRAMES - 1 - 64]
    at_once.clear()
    monkeypatch.setattr("flow.moments._PIXELS", HEIGHT * WIDTH)
    list(ComputedMoments(video).moments([2, 3, 9]))
    assert at_once == [1, 1, 1]


def test_no_further_frame_is_decoded_than_is_needed(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ComputedMoments(video)
    real, decoded = Video.__iter__, []

    def counted(self: Video):  # type: ignore[no-untyped-def]
        for frame in real(self):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(Video, "__iter__", counted)
    list(source.moments([3]))
    assert len(decoded) == 4


def test_numbers_that_are_not_there(video: Path, tmp_path: Path, images: NDArray[np.uint8]) -> None:
    with StoreFile(write_store(tmp_path / "a.zip", images)) as store:
        for source, last in ((StoredMoments(store), 3), (ComputedMoments(video), FRAMES - 1)):
            assert [moment.number for moment in source.moments([last])] == [last]
            for number in (last + 1, last + 100):
                with pytest.raises(
                    InputError, match=f"no frame after frame {number}; .* 1 to {last}"
                ):
                    list(source.moments([1, number]))
            with pytest.raises(InputError, match="is 0; the first frame is 1"):
                list(source.moments([0, 1]))


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "one.avi"
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 10, (WIDTH, HEIGHT))
    writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    with pytest.raises(InputError, match="one frame"):
        _ = ComputedMoments(path).flows
    with pytest.raises(InputError, match="one frame"):
        list(ComputedMoments(path).moments([1]))


def test_a_moment_checks_itself() -> None:
    good = Moment(
        number=1,
        frame=np.zeros((2, 3, 3), np.uint8),
        flow=np.zeros((2, 3, 2), np.float32),
        image=np.zeros((2, 3, 2), np.uint8),
        bound=20.0,
    )
    assert good.size == (2, 3)
    assert (
        repr(good)
        == "Moment(number=1, frame=(2, 3, 3), flow=(2, 3, 2), image=(2, 3, 2), bound=20.0)"
    )
    for wrong in (
        {"frame": np.zeros((2, 4, 3), np.uint8)},
        {"flow": np.zeros((2, 3, 3), np.float32)},
        {"image": np.zeros((3, 3, 2), np.uint8)},
        {"number": 0},
        {"bound": 0.0},
    ):
        with pytest.raises(ValueError, match="Moment"):
            replace(good, **wrong)  # type: ignore[arg-type]
