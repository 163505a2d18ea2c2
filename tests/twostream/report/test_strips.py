"""Pictures of videos for the report: known answers on stores and on videos, and what is told."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flow.colour import colour
from flow.encoding import decode
from flow.show import full_colour
from flow.store import StoreFile, store_path
from store_files import FRAMES, VIDEOS, rewrite, write_store
from twostream.report.strips import LARGEST, MOMENTS, Strip, make_strips
from video_files import sliding, write


def opened(uri: str) -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"), float)


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_a_strip_shows_what_the_store_holds(tmp_path: Path, codec: str) -> None:
    store = write_store(tmp_path / "s", codec)  # type: ignore[arg-type]
    found = make_strips(store, VIDEOS)
    for video in VIDEOS:
        strip = found[video]
        assert isinstance(strip, Strip)
        assert [picture.number for picture in strip.pictures] == list(range(1, FRAMES))
        with StoreFile(store_path(store, video)) as file:
            frames = file.frames(range(FRAMES - 1))
            flows = decode(file.flow_images(range(FRAMES - 1)), 20.0)
        scale = strip.width // frames.shape[2]
        assert strip.width <= LARGEST[1]
        assert strip.height <= LARGEST[0]
        for picture, frame, flow in zip(strip.pictures, frames, flows, strict=True):
            assert picture.seconds == pytest.approx((picture.number - 1) / 25)
            for uri, wanted in ((picture.frame, frame), (picture.flow, colour(flow, strip.full))):
                shown = opened(uri)
                assert shown.shape == (strip.height, strip.width, 3)
                large = np.kron(wanted.astype(float), np.ones((scale, scale, 1)))
                assert np.abs(shown - large).mean() < 8  # of 255; another frame is 40 or more off


def test_a_video_without_a_store_file_is_computed(tmp_path: Path) -> None:
    write(tmp_path / "a" / "slides.avi", sliding(12, 48, 64))
    found = make_strips(tmp_path, ["a/slides"])
    strip = found["a/slides"]
    assert isinstance(strip, Strip)
    assert len(strip.pictures) == MOMENTS
    assert 0.5 < strip.full < 2  # it moves by a pixel a frame
    middle = opened(strip.pictures[2].flow)[strip.height // 4 : -strip.height // 4].mean(
        axis=(0, 1)
    )
    left = colour(np.full((1, 1, 2), (-1.0, 0.0), np.float32), strip.full)[0, 0]
    assert np.abs(middle - left).max() < 40


def test_flow_alone_has_no_frames(tmp_path: Path) -> None:
    strip = make_strips(write_store(tmp_path / "s", rgb=False), [VIDEOS[2]])[VIDEOS[2]]
    assert isinstance(strip, Strip)
    assert all(picture.frame == "" and picture.flow for picture in strip.pictures)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    assert "--store" in str(make_strips(None, ["a"])["a"])
    assert "is not there" in str(make_strips(tmp_path / "none", ["a"])["a"])
    store = write_store(tmp_path / "s")
    found = make_strips(store, [*VIDEOS, "other"])
    assert "does not hold this video" in str(found["other"])
    rewrite(store_path(store, VIDEOS[0]), lambda members: members.pop("flow_x_00002.jpg"))
    damaged = make_strips(store, VIDEOS)
    assert "flow_x_00002" in str(damaged[VIDEOS[0]])
    assert isinstance(damaged[VIDEOS[1]], Strip)
    assert "is no id" in str(make_strips(store, ["../x"])["../x"])


def test_all_pictures_of_a_video_have_one_scale(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s")
    strip = make_strips(store, [VIDEOS[2]])[VIDEOS[2]]
    assert isinstance(strip, Strip)
    from flow.moments import StoredMoments

    with StoreFile(store_path(store, VIDEOS[2])) as file:
        assert strip.full == full_colour(StoredMoments(file).moments(range(1, FRAMES)))
