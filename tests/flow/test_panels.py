"""The panels of a moment, and lettering. Kinds: known answer, property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.colour import colour
from flow.moments import Moment
from flow.panels import font, letter_size, panel_size, panels, shorten

LARGEST = 300, 400
SIDES = st.integers(1, 5000)


def random_moment(height: int, width: int, frame: bool = True) -> Moment:
    rng = np.random.default_rng(height * width)
    return Moment(
        number=3,
        frame=rng.integers(0, 256, (height, width, 3), np.uint8) if frame else None,
        flow=rng.normal(size=(height, width, 2)).astype(np.float32),
        image=rng.integers(0, 256, (height, width, 2), np.uint8),
        bound=20.0,
    )


@given(SIDES, SIDES)
def test_a_panel_is_never_too_large_and_keeps_its_shape(height: int, width: int) -> None:
    shown = panel_size(height, width, LARGEST)
    assert 1 <= shown[0] <= LARGEST[0]
    assert 1 <= shown[1] <= LARGEST[1]
    factor = min(LARGEST[0] / height, LARGEST[1] / width)
    if factor >= 1:
        assert shown[0] % height == shown[1] % width == 0
        assert shown[0] // height == shown[1] // width
    else:
        assert abs(shown[0] - height * factor) <= 1
        assert abs(shown[1] - width * factor) <= 1


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((240, 320), (240, 320)),  # as it is
        ((144, 180), (288, 360)),  # twice
        ((24, 32), (264, 352)),
        ((32, 24), (288, 216)),  # 11 times would be too high
        ((300, 1920), (62, 400)),
        ((1080, 1920), (225, 400)),
        ((1920, 1080), (300, 169)),
        ((1, 4000), (1, 400)),
    ],
)
def test_sizes_of_panels(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert panel_size(*size, LARGEST) == shown


def test_a_small_moment_is_shown_pixel_by_pixel() -> None:
    moment = random_moment(24, 32)
    shown = panels(moment, 1.5, LARGEST)
    assert list(shown) == ["frame", "flow", "x", "y"]
    grey = np.repeat(moment.image[..., None], 3, axis=-1)
    expected = {
        "frame": moment.frame,
        "flow": colour(moment.flow, 1.5),
        "x": grey[:, :, 0],
        "y": grey[:, :, 1],
    }
    for name, picture in expected.items():
        assert picture is not None
        assert np.array_equal(shown[name], picture.repeat(11, axis=0).repeat(11, axis=1))


def test_a_large_moment_is_averaged() -> None:
    moment = random_moment(600, 800)
    shown = panels(moment, 1.5, LARGEST)
    squares = moment.image.reshape(300, 2, 400, 2, 2).mean(axis=(1, 3))
    assert np.abs(shown["x"][..., 0] - squares[..., 0]).max() <= 0.5
    assert np.abs(shown["y"][..., 2] - squares[..., 1]).max() <= 0.5
    flow = moment.flow.reshape(300, 2, 400, 2, 2).mean(axis=(1, 3))
    assert np.abs(shown["flow"].astype(int) - colour(flow, 1.5)).max() <= 1


def test_what_has_no_frame() -> None:
    assert list(panels(random_moment(5, 7, frame=False), 1, LARGEST)) == ["flow", "x", "y"]


def test_lettering_grows_with_the_picture() -> None:
    assert letter_size(100) == letter_size(1300) == 16
    assert letter_size(3840) == 42


@given(st.text(max_size=60), st.integers(0, 300))
def test_a_text_fits_its_place(text: str, width: int) -> None:
    short = shorten(text, 16, width)
    assert font(16).getlength(short) <= max(width, font(16).getlength("…"))
    assert short.isprintable()


def test_a_long_name_loses_its_middle() -> None:
    name = "v_HandStandPushups_g01_c01.avi"
    assert shorten(name, 16, 1000) == name
    short = shorten(name, 16, 150)
    start, end = short.split("…")
    assert 120 < font(16).getlength(short) <= 150
    assert len(start) - len(end) in (0, 1)
    assert name.startswith(start)
    assert name.endswith(end)
    assert shorten("a\nb\udcff", 16, 1000) == "a\ufffdb\ufffd"
