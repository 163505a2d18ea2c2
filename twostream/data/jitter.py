"""Brightness, contrast and saturation of a clip, varied at random."""

import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.float32]


def jittered(clip: Clip, strength: float, rng: np.random.Generator) -> Clip:
    """A clip (3, T, H, W), BGR from 0 to 255, with other colours, the same changes in all frames.

    As torchvision's ColorJitter: brightness, contrast and saturation in random order, each a
    mixture of the picture with black, with its mean grey (of each frame), or with its grey version;
    what goes below 0 or above 255 is cut off. But nothing is rounded.

    Args:
        clip: It is not changed.
        strength: From 0 to 1. The picture's share in each mixture is drawn from 1 - strength to
            1 + strength.
        rng: Source of the shares and of the order.
    """
    shares = rng.uniform(1 - strength, 1 + strength, size=3)
    for kind in rng.permutation(3):
        clip = _mixed(clip, _OTHERS[kind](clip), float(shares[kind]))
    return clip


def _mixed(clip: Clip, other: Clip, share: float) -> Clip:
    mixture = clip * np.float32(share)
    mixture += np.float32(1 - share) * other
    return np.clip(mixture, 0, 255, out=mixture)


def _black(clip: Clip) -> Clip:
    return np.zeros((1, 1, 1), np.float32)


def _grey(clip: Clip) -> Clip:
    blue, green, red = clip
    return np.asarray(0.114 * blue + 0.587 * green + 0.299 * red, np.float32)  # ITU-R BT.601


def _mean_grey(clip: Clip) -> Clip:
    return np.asarray(_grey(clip).mean(axis=(1, 2), keepdims=True), np.float32)


_OTHERS = (_black, _mean_grey, _grey)  # for brightness, contrast, saturation
