"""Which part of a picture: known answers, and properties (hypothesis) of random boxes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import InputError
from twostream.data.window import (
    LARGEST_ASPECT,
    Box,
    Window,
    crop_boxes,
    crop_window,
    random_box_window,
)

SIDE = st.integers(1, 500)
SHARE = st.floats(0.02, 1)


def test_a_crop_of_a_resized_picture():
    crop = Box(3, 5, 16, 16)
    window = crop_window((48, 64), (24, 30), crop)
    assert window == Window(Box(0, 0, 48, 64), (24, 30), crop)
    assert window.stretch == (30 / 64, 24 / 48)


def test_a_crop_of_a_picture_that_is_not_resized_is_taken_at_once():
    window = crop_window((48, 64), (48, 64), Box(3, 5, 16, 20))
    assert window == Window(Box(3, 5, 16, 20), (16, 20), Box(0, 0, 16, 20))
    assert window.stretch == (1, 1)


def test_slices_of_a_box():
    pixels = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(pixels[Box(1, 2, 2, 3).slices], [[7, 8, 9], [12, 13, 14]])


@settings(derandomize=True, deadline=None)
@given(SIDE, SIDE, SHARE, SHARE, st.integers(0, 2**32))
def test_a_random_box_lies_in_the_picture(height, width, one, other, seed):
    scale = min(one, other), max(one, other)
    rng = np.random.default_rng(seed)
    window = random_box_window((height, width), (height, width), (16, 20), scale, rng)
    box = window.box
    assert min(box.top, box.left) >= 0
    assert min(box.height, box.width) >= 1
    assert box.top + box.height <= height
    assert box.left + box.width <= width
    assert (window.resize, window.crop, window.mirror) == ((16, 20), Box(0, 0, 16, 20), False)


@pytest.mark.parametrize("resize", [(240, 320), (182, 242), (160, 160)])
def test_share_and_aspect_are_uniform_between_their_bounds(resize):
    rng = np.random.default_rng(0)
    boxes = [
        random_box_window((240, 320), resize, (112, 112), (0.1, 0.3), rng).box for _ in range(4000)
    ]
    # Boxes of these shares always fit, so that nothing is drawn anew.
    shares = np.array([box.height * box.width for box in boxes]) / (240 * 320)
    seen = np.array([box.width / 320 * resize[1] / (box.height / 240 * resize[0]) for box in boxes])
    # A side of 75 pixels or more is rounded by a half: less than 1 % of it.
    for values, least, most in (
        (shares, 0.1, 0.3),
        (np.log(seen), -math.log(LARGEST_ASPECT), math.log(LARGEST_ASPECT)),
    ):
        assert least - 0.02 < values.min() < least + 0.02
        assert most - 0.02 < values.max() < most + 0.02
        # Five standard deviations of the share of 4,000 draws that falls into a quarter.
        counts = np.histogram(values, bins=4, range=(least, most))[0] / len(values)
        np.testing.assert_allclose(counts, 0.25, atol=5 * math.sqrt(0.25 * 0.75 / 4000))
    assert LARGEST_ASPECT == 4 / 3


def test_boxes_lie_everywhere_equally_often():
    rng = np.random.default_rng(1)
    places = []
    for _ in range(3000):
        box = random_box_window((60, 60), (60, 60), (16, 16), (0.2, 0.2), rng).box
        places.append((box.top / (60 - box.height), box.left / (60 - box.width)))
    assert np.min(places, axis=0).tolist() == [0, 0]
    assert np.max(places, axis=0).tolist() == [1, 1]
    # Five standard deviations of the mean of a uniform variable; each step is a 36th at most.
    np.testing.assert_allclose(np.mean(places, axis=0), 0.5, atol=5 * math.sqrt(1 / 12 / 3000))


@pytest.mark.parametrize(
    ("picture", "resize", "box"),
    [
        ((100, 300), (100, 300), Box(0, 83, 100, 133)),  # as wide as an aspect of 4/3 allows
        ((300, 100), (300, 100), Box(83, 0, 133, 100)),
        ((240, 320), (240, 320), Box(0, 0, 240, 320)),
        ((100, 400), (160, 160), Box(0, 0, 100, 400)),  # a square when it is shown as a whole
        ((1, 1), (1, 1), Box(0, 0, 1, 1)),
    ],
)
def test_where_no_box_fits_it_is_the_largest_in_the_centre(picture, resize, box):
    window = random_box_window(picture, resize, (16, 16), (1.0, 1.0), np.random.default_rng(0))
    assert window.box == box


def test_crops_of_a_known_picture():
    centre = Box(8, 16, 32, 32)
    assert crop_boxes((48, 64), (32, 32), 1) == (centre,)
    assert crop_boxes((48, 64), (32, 32), 3) == (Box(8, 0, 32, 32), centre, Box(8, 32, 32, 32))
    high = crop_boxes((64, 48), (32, 32), 3)
    assert high == (Box(0, 8, 32, 32), Box(16, 8, 32, 32), Box(32, 8, 32, 32))
    corners = [Box(0, 0, 32, 32), Box(0, 32, 32, 32), Box(16, 0, 32, 32), Box(16, 32, 32, 32)]
    assert crop_boxes((48, 64), (32, 32), 5) == (*corners, centre)
    with pytest.raises(InputError, match="There are 4 crops to take"):
        crop_boxes((48, 64), (32, 32), 4)


@settings(derandomize=True, deadline=None)
@given(SIDE, SIDE, st.integers(0, 200), st.integers(0, 200), st.sampled_from([1, 3, 5]))
def test_crops_lie_in_the_picture_and_reach_its_ends(crop_h, crop_w, rows, columns, count):
    picture = crop_h + rows, crop_w + columns
    boxes = crop_boxes(picture, (crop_h, crop_w), count)
    assert len(boxes) == count
    for box in boxes:
        assert (box.height, box.width) == (crop_h, crop_w)
        assert 0 <= box.top <= rows
        assert 0 <= box.left <= columns
    (centre,) = crop_boxes(picture, (crop_h, crop_w), 1)
    assert centre in boxes
    if count == 3:
        along = [box.left if picture[1] >= picture[0] else box.top for box in boxes]
        room = columns if picture[1] >= picture[0] else rows
        assert (along[0], along[2]) == (0, room)
    if count == 5:
        seen = np.zeros(picture, bool)
        for box in boxes:
            seen[box.slices] = True
        assert seen[0, 0]
        assert seen[0, -1]
        assert seen[-1, 0]
        assert seen[-1, -1]
    if rows % 2 == 0 and columns % 2 == 0:  # the same crops of the mirrored picture
        turned = {Box(box.top, columns - box.left, crop_h, crop_w) for box in boxes}
        assert turned == set(boxes)
