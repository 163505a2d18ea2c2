"""The linear layer that separates classes best by the features of their clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from twostream.calibration import Floats, Labels
from twostream.scores import softmax

# Of standardised features. On three sets of 60 to 300 videos one video in fifteen hangs on which.
INVERSE_PENALTIES = (0.001, 0.01, 0.1)
LEAST_DEVIATION = 1e-3  # of a feature that hardly varies
ITERATIONS = 500
INNER_FOLDS = 5  # ten choose the same shares of a fusion, give or take 0.05

OfVideos = Sequence[NDArray[np.float32]]
"""Of each video the features (clips, D)."""


@dataclass(frozen=True)
class LinearLayer:
    """Logits are ``features @ weight.T + bias``.

    Attributes:
        weight: float64 (classes, D).
        bias: float64 (classes,); very low for a class without a video.
    """

    weight: Floats
    bias: Floats

    @classmethod
    def fitted(
        cls, features: OfVideos, labels: Labels, classes: int, inverse_penalty: float
    ) -> "LinearLayer":
        """Multinomial logistic regression on standardised features, each clip an example.

        Args:
            features: Of V videos.
            labels: int64 (V,), of two classes or more.
            classes: How many there are.
            inverse_penalty: scikit-learn's C.
        """
        examples = np.concatenate(features).astype(np.float64)
        mean, deviation = examples.mean(axis=0), examples.std(axis=0) + LEAST_DEVIATION
        regression = LogisticRegression(C=inverse_penalty, max_iter=ITERATIONS)
        counts = [len(each) for each in features]
        regression.fit((examples - mean) / deviation, np.repeat(labels, counts))
        weight, bias = _of_every_class(regression, classes)
        weight = weight / deviation
        return cls(weight, bias - weight @ mean)

    def __call__(self, features: NDArray[np.float32]) -> Floats:
        """Features (N, D) -> logits float64 (N, classes)."""
        return np.asarray(features @ self.weight.T + self.bias)


@dataclass(frozen=True)
class Unseen:
    """Training videos, scored by layers that have seen other groups alone.

    Attributes:
        inverse_penalty: Of these layers.
        logits: Of each video float64 (clips, classes).
    """

    inverse_penalty: float
    logits: list[Floats]

    def standing(self, labels: Labels) -> tuple[float, float]:
        """More is better: videos right by the mean of their clips, then the mean log-likelihood."""
        means = np.stack([softmax(each).mean(axis=0) for each in self.logits])
        likelihoods = means[np.arange(len(labels)), labels]
        right = float(np.mean(means.argmax(axis=1) == labels))
        return right, float(np.log(np.maximum(likelihoods, np.finfo(np.float64).tiny)).mean())


def best_layer(
    features: OfVideos, labels: Labels, groups: NDArray[np.str_], classes: int
) -> tuple[LinearLayer, Unseen | None]:
    """The layer of the penalty that does best on groups which it was not fitted to.

    Args:
        features: Of V videos.
        labels: int64 (V,), of two classes or more.
        groups: Of the videos, (V,).
        classes: How many there are.

    Returns:
        The layer, and all videos by those of its penalty that have not seen them: a little too
        good, as the penalty was chosen by them. None instead, and the middle penalty, where there
        are no such layers.
    """
    tried = []
    for inverse_penalty in INVERSE_PENALTIES:
        logits = unseen_logits(features, labels, groups, classes, inverse_penalty)
        if logits is None:
            middle = INVERSE_PENALTIES[len(INVERSE_PENALTIES) // 2]
            return LinearLayer.fitted(features, labels, classes, middle), None
        tried.append(Unseen(inverse_penalty, logits))
    best = max(tried, key=lambda unseen: unseen.standing(labels))
    return LinearLayer.fitted(features, labels, classes, best.inverse_penalty), best


def unseen_logits(
    features: OfVideos,
    labels: Labels,
    groups: NDArray[np.str_],
    classes: int,
    inverse_penalty: float,
) -> list[Floats] | None:
    """The logits of each video by a layer that was fitted to other groups alone.

    Args:
        features: Of V videos.
        labels: int64 (V,).
        groups: Of the videos, (V,).
        classes: How many there are.
        inverse_penalty: Of these layers.

    Returns:
        Of each video float64 (clips, classes); None where a layer would be fitted to a single
        class, or all videos are of one group.
    """
    folds = min(INNER_FOLDS, len(set(groups)))
    if folds < 2:
        return None
    found: dict[int, Floats] = {}
    for known, unknown in GroupKFold(folds).split(labels, groups=groups):
        if len(set(labels[known])) < 2:
            return None
        some = [features[i] for i in known]
        layer = LinearLayer.fitted(some, labels[known], classes, inverse_penalty)
        found |= {int(i): layer(features[i]) for i in unknown}
    return [found[i] for i in range(len(labels))]


def _of_every_class(regression: LogisticRegression, classes: int) -> tuple[Floats, Floats]:
    weight = np.zeros((classes, regression.coef_.shape[1]))
    bias = np.full(classes, regression.intercept_.min() - 10.0)
    present, rows, offsets = regression.classes_, regression.coef_, regression.intercept_
    if len(present) == 2:  # one row for the second class against the first
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight[present], bias[present] = rows, offsets
    return weight, bias
