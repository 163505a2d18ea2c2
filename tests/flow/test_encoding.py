"""Flow images: known answers, exact laws, round trips, properties, and cv2.resize as an oracle."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from flow import InputError, decode, encode
from flow.encoding import clipped_fraction, flip, resize

SCHEMES = ("symmetric", "dense_flow")
BOUNDS = (8.0, 15.0, 20.0, 32.0)

bounds = st.floats(0.5, 200, width=32)
motions = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).map(lambda s: (*s, 2)),
    elements=st.floats(-300, 300, width=32),
)


def near_boundaries(bound: float, scheme: str) -> NDArray[np.float32]:
    """Motions at, just below and just above each boundary of two grey values, (3, K, 1, 2)."""
    numbers = np.arange(-140, 140)
    steps = (numbers + 0.5) / 127 if scheme == "symmetric" else numbers / 127.5
    at = np.repeat((steps * bound).astype(np.float32)[:, None, None], 2, axis=-1)
    return np.stack([at, np.nextafter(at, np.float32(-1e9)), np.nextafter(at, np.float32(1e9))])


def dense_flow_value(motion: float, bound: float) -> int:
    """The published tools' formula for one value, in Python's own numbers."""
    if motion > bound:
        return 255
    if motion < -bound:
        return 0
    return round(255 * (motion + bound) / (2 * bound))


@pytest.mark.parametrize("bound", BOUNDS)
def test_symmetric_known_values(bound: float) -> None:
    motion = np.float32([0, -0.0, bound, -bound, 2 * bound, -2 * bound, bound / 127, -bound / 127])
    assert encode(motion, bound).tolist() == [128, 128, 255, 1, 255, 1, 129, 127]


def test_symmetric_rounds_halves_to_even() -> None:
    # At a bound of 127 a grey value is one pixel of motion.
    motion = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, -2.5])
    assert encode(motion, 127).tolist() == [128, 130, 130, 128, 126, 126]


def test_default_bound_is_20_pixels() -> None:
    motion = np.float32([-20, -10.1, 0.2, 3, 19.9])
    assert encode(motion).tolist() == encode(motion, 20.0, "symmetric").tolist()
    assert encode(motion).tolist() == [1, 64, 129, 147, 254]


@pytest.mark.parametrize("bound", BOUNDS)
def test_dense_flow_known_values(bound: float) -> None:
    motion = np.float32([0, bound, -bound, 2 * bound, -2 * bound])
    assert encode(motion, bound, "dense_flow").tolist() == [128, 255, 0, 255, 0]


@pytest.mark.parametrize("bound", BOUNDS)
def test_dense_flow_is_the_published_formula_at_every_boundary(bound: float) -> None:
    motion = near_boundaries(bound, "dense_flow")
    expected = [dense_flow_value(float(v), bound) for v in motion.ravel()]
    assert encode(motion, bound, "dense_flow").ravel().tolist() == expected


@given(motions, bounds)
def test_dense_flow_is_the_published_formula(motion: NDArray[np.float32], bound: float) -> None:
    expected = [dense_flow_value(float(v), bound) for v in motion.ravel()]
    assert encode(motion, bound, "dense_flow").ravel().tolist() == expected


@pytest.mark.parametrize("scheme", SCHEMES)
@given(motion=motions, bound=bounds)
def test_round_trip_within_half_a_level(
    scheme: str, motion: NDArray[np.float32], bound: float
) -> None:
    inside = np.clip(motion, -bound, bound)
    image = encode(inside, bound, scheme)
    assert image.dtype == np.uint8
    assert image.shape == motion.shape
    again = decode(image, bound, scheme)
    assert again.dtype == np.float32
    levels = 127 if scheme == "symmetric" else 127.5
    # float32 keeps 24 bits, of which a level from 0 to 255 takes 8.
    assert np.abs(again - inside).max() <= bound / levels * (0.5 + 2**-15)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_level_survives_decoding_and_encoding(scheme: str, bound: float) -> None:
    image = np.arange(1 if scheme == "symmetric" else 0, 256, dtype=np.uint8)
    assert (encode(decode(image, bound, scheme), bound, scheme) == image).all()


def test_decoded_zero() -> None:
    image = np.uint8([127, 128])
    assert decode(image, 127.0).tolist() == [-1, 0]
    assert decode(image, 127.5, "dense_flow").tolist() == [-0.5, 0.5]


@given(hnp.arrays(np.uint8, (3, 4, 5, 2), elements=st.integers(1, 255)))
def test_flip_is_its_own_inverse(image: NDArray[np.uint8]) -> None:
    original = image.copy()
    assert (flip(flip(image)) == image).all()
    assert (flip(flip(image, "dense_flow"), "dense_flow") == image).all()
    assert (image == original).all()


def mirrored(motion: NDArray[np.float32]) -> NDArray[np.float32]:
    """The flow of the mirrored video."""
    return motion[..., ::-1, :] * np.float32([-1, 1])


@given(motions, bounds)
def test_flip_of_the_image_is_the_image_of_the_flip(
    motion: NDArray[np.float32], bound: float
) -> None:
    assert (flip(encode(motion, bound)) == encode(mirrored(motion), bound)).all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_flip_commutes_with_encode_at_every_boundary(bound: float) -> None:
    motion = near_boundaries(bound, "symmetric")
    assert (flip(encode(motion, bound)) == encode(mirrored(motion), bound)).all()


def test_flip_known_values() -> None:
    image = np.uint8([[[128, 10], [1, 20], [255, 30], [0, 40]]])
    # 0 is never written by this scheme, but lossy compression makes it from 1: it stays extreme.
    assert flip(image).tolist() == [[[255, 40], [1, 30], [255, 20], [128, 10]]]
    assert flip(image, "dense_flow").tolist() == [[[255, 40], [0, 30], [254, 20], [127, 10]]]


@pytest.mark.parametrize("size", [(24, 32), (12, 16), (7, 50), (48, 20), (31, 33), (1, 1)])
def test_resize_matches_opencv(size: tuple[int, int]) -> None:
    motion = np.random.default_rng(1).normal(0, 5, (24, 32, 2)).astype(np.float32)
    height, width = size
    factors = np.float32([width / 32, height / 24])
    expected = cv2.resize(motion, (width, height), interpolation=cv2.INTER_LINEAR) * factors
    resized = resize(motion, height, width)
    assert resized.dtype == np.float32
    # OpenCV rounds positions to float32, by 2^-20 below 16 and more often than not by less; flow
    # changes by up to 25 pixels from pixel to pixel here.
    np.testing.assert_allclose(resized, expected, atol=25 * 2**-19)


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(-30, 30, width=32),
    st.floats(-30, 30, width=32),
)
def test_resize_scales_a_constant_flow(
    height: int, width: int, new_height: int, new_width: int, x: float, y: float
) -> None:
    resized = resize(np.full((height, width, 2), [x, y], np.float32), new_height, new_width)
    assert resized.shape == (new_height, new_width, 2)
    expected = np.broadcast_to([x * new_width / width, y * new_height / height], resized.shape)
    np.testing.assert_allclose(resized, expected, rtol=1e-6, atol=1e-30)


def test_resize_keeps_a_linear_flow() -> None:
    """A zoom by 2 percent about a point stays one: motion in new pixels, at new positions."""
    y, x = np.mgrid[:40, :60].astype(np.float32) + 0.5
    zoom = 0.02 * np.stack([x - 25, y - 15], -1)
    new_y, new_x = np.mgrid[:20, :90].astype(np.float32) + 0.5
    expected = 0.02 * np.stack([new_x - 25 * 90 / 60, new_y - 15 * 20 / 40], -1)
    # The outermost pixels lie beyond the old centres, where the border repeats.
    inside = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(resize(zoom, 20, 90)[inside], expected[inside], atol=1e-5)


def test_resize_to_the_same_size_changes_nothing_and_copies() -> None:
    motion = np.random.default_rng(2).normal(0, 5, (6, 7, 2)).astype(np.float32)
    resized = resize(motion, 6, 7)
    assert (resized == motion).all()
    assert not np.shares_memory(resized, motion)


def test_clipped_fraction() -> None:
    motion = np.float32([[19, 20, 21, -21], [0, -20, 20.01, 1]])
    assert clipped_fraction(motion) == 3 / 8
    assert clipped_fraction(motion, bound=30) == 0
    assert clipped_fraction(np.zeros((0, 4, 5, 2), np.float32)) == 0


@pytest.mark.parametrize("bound", [0, -1, math.inf, math.nan])
def test_a_bound_that_is_no_distance_is_refused(bound: float) -> None:
    message = f"The flow bound is {bound}; give a number of pixels above 0."
    with pytest.raises(InputError, match=message):
        encode(np.zeros((2, 2, 2), np.float32), bound)
    with pytest.raises(InputError, match=message):
        decode(np.zeros((2, 2, 2), np.uint8), bound)


def test_an_unknown_scheme_is_refused() -> None:
    message = "Encoding 'jpeg' is unknown; give one of symmetric, dense_flow"
    with pytest.raises(InputError, match=message):
        encode(np.zeros((2, 2, 2), np.float32), 20, "jpeg")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        flip(np.zeros((2, 2, 2), np.uint8), "jpeg")  # type: ignore[arg-type]
