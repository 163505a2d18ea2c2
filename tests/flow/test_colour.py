"""The colour wheel. Kinds: known answer (the wheel's pure hues), property."""

import numpy as np
import pytest

from flow.colour import colour, wheel


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


@pytest.mark.parametrize("diameter", [20, 101])
def test_each_place_of_the_legend_has_the_colour_of_the_motion_to_it(diameter: int) -> None:
    disc = wheel(diameter)
    assert disc.shape == (diameter, diameter, 4)
    assert disc[[0, 0, -1, -1], [0, -1, 0, -1], 3].tolist() == [0, 0, 0, 0]
    middle, radius = (diameter - 1) / 2, diameter / 2
    for x, y in ((0.8, 0), (0, 0.8), (-0.8, 0), (0, -0.8), (0.5, 0.5), (0, 0)):
        column, row = round(middle + x * radius), round(middle + y * radius)
        exact = (column - middle) / radius, (row - middle) / radius
        assert disc[row, column].tolist() == [*painted(*exact, maximum=1 + 1e-6), 255]


def test_the_rim_of_the_legend_is_full_and_not_dark() -> None:
    disc = wheel(100)
    rim = disc[(disc[..., 3] > 0) & (disc[..., 3] < 255)]
    assert len(rim) > 100
    assert rim[:, :3].max(axis=-1).min() >= 254
    assert np.all(rim[:, :3].min(axis=-1) <= 6)  # within a pixel of the rim: 1 / 50 of the white
