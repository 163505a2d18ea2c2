"""Colours of a clip: an oracle (Pillow's ImageEnhance), known answers, properties."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from twostream.data.jitter import jittered

ORDERS = tuple(itertools.permutations(range(3)))
ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


class Drawn:
    """In place of a generator: the shares of brightness, contrast, saturation, and their order."""

    def __init__(self, shares, order=(0, 1, 2)):
        self.shares, self.order = shares, order

    def uniform(self, low, high, size):
        assert size == 3
        return np.array(self.shares)

    def permutation(self, count):
        assert count == 3
        return np.array(self.order)


def pictures(frames=2, height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def bgr_clip(images):
    return np.ascontiguousarray(images[..., ::-1].transpose(3, 0, 1, 2)).astype(np.float32)


def rgb_images(clip):
    return clip.transpose(1, 2, 3, 0)[..., ::-1]


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.3, 2.0])
def test_each_change_is_pillows(kind, share):
    shares = [1.0, 1.0, 1.0]
    shares[kind] = share
    images = pictures()
    found = rgb_images(jittered(bgr_clip(images), 0.5, Drawn(shares)))
    for image, mine in zip(images, found, strict=True):
        theirs = np.asarray(ENHANCERS[kind](Image.fromarray(image)).enhance(share), np.float64)
        # Pillow rounds the grey it mixes with, and then cuts off what is behind the point.
        assert np.abs(mine - theirs).max() <= 1 + abs(1 - share)


@pytest.mark.parametrize("order", ORDERS)
def test_changes_come_in_the_order_drawn(order):
    shares = (1.7, 0.4, 1.8)
    images = pictures()
    found = rgb_images(jittered(bgr_clip(images), 0.5, Drawn(shares, order)))
    for image, mine in zip(images, found, strict=True):
        picture = Image.fromarray(image)
        for kind in order:
            picture = ENHANCERS[kind](picture).enhance(shares[kind])
        # Pillow rounds in each step, and the later ones enlarge that: measured, up to 4.9. Any two
        # orders are 34 apart somewhere.
        assert np.abs(mine - np.asarray(picture, np.float64)).max() < 7


def test_all_frames_change_alike():
    clip = bgr_clip(pictures(4))
    whole = jittered(clip, 0.5, np.random.default_rng(3))
    for t in range(4):
        alone = jittered(clip[:, t : t + 1], 0.5, np.random.default_rng(3))
        # The mean of a frame is summed in another order.
        np.testing.assert_allclose(alone, whole[:, t : t + 1], atol=1e-3)


def test_shares_are_uniform_and_orders_equally_frequent():
    rng = np.random.default_rng(0)
    grey = np.full((3, 1, 1, 1), 100, np.float32)  # brightness alone changes it
    values = np.array([jittered(grey, 0.4, rng)[0, 0, 0, 0] for _ in range(4000)]) / 100
    assert 0.6 <= values.min() < 0.61
    assert 1.39 < values.max() <= 1.4
    counts = np.histogram(values, bins=4, range=(0.6, 1.4))[0] / len(values)
    # Five standard deviations of a share of a quarter in 4,000 draws.
    np.testing.assert_allclose(counts, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 4000))


def test_the_strongest_jitter_stays_in_range_and_leaves_its_argument():
    clip = bgr_clip(pictures())
    before = clip.copy()
    for seed in range(20):
        result = jittered(clip, 1.0, np.random.default_rng(seed))
        assert result.dtype == np.float32
        assert 0 <= result.min() <= result.max() <= 255
        assert np.abs(result - clip).max() > 1
    np.testing.assert_array_equal(clip, before)
