"""How probable the scores call what they say, and how probable it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from flow.errors import InputError

BINS = 15
FACTORS = (0.01, 1000.0)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def calibrate(streams: Sequence[Floats], labels: Labels) -> tuple[Floats, float]:
    """The factors with which the sum of the streams' logits has the most likely softmax.

    Of one stream the factor is 1 / T of temperature scaling (Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017, section 4.2). One video of each class is added in thought to those
    of each video's own, as by Platt ("Probabilistic outputs for support vector machines", 1999,
    section 2.2): where all are right the factors stay finite.

    Args:
        streams: Of each its logits, or decision values, float64 (V, C).
        labels: int64 (V,).

    Returns:
        A factor for each stream, from 0.01 to 1000, and the mean cross-entropy in nats.

    Raises:
        InputError: No video.
    """
    stacked = np.stack(streams)
    videos, classes = stacked.shape[1:]
    if not videos:
        raise InputError("There is no held-out video to choose on; hold some out in training.")
    targets = np.full((videos, classes), 1 / (videos + classes))
    targets[np.arange(videos), labels] = (videos + 1) / (videos + classes)

    def loss(factors: Floats) -> tuple[float, Floats]:
        logs = log_softmax(np.tensordot(factors, stacked, axes=1), axis=1)
        slope = np.tensordot(stacked, np.exp(logs) - targets, axes=2) / videos
        return -float((targets * logs).sum()) / videos, slope

    # The loss is convex in the factors: there is one minimum.
    start, bounds = np.ones(len(stacked)), [FACTORS] * len(stacked)
    best = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", tol=1e-12)
    return np.asarray(best.x), float(best.fun)


def temperature(logits: Floats, labels: Labels) -> float:
    """T by which logits (V, C) are divided to be calibrated, from 0.001 to 100; as `calibrate`."""
    factors, _ = calibrate([logits], labels)
    return 1 / float(factors[0])


def calibration_error(probabilities: Floats, labels: Labels, bins: int = BINS) -> float:
    """ECE: how far confidence is from accuracy, 0 to 1, over equal bins of confidence.

    The videos whose highest probability is in (m / bins, (m + 1) / bins] are one bin; the distances
    of the bins' mean confidence from their accuracy are averaged by their videos (Naeini et al.,
    AAAI 2015; Guo et al., ICML 2017, equation 3).

    Args:
        probabilities: float64 (V, C).
        labels: int64 (V,).
        bins: How many.

    Raises:
        InputError: No video.
    """
    if not len(labels):
        raise InputError("There is no video to tell the calibration of; score some.")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
