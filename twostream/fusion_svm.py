"""Fusion by a linear SVM that is trained on held-out training videos.

It takes the streams' probabilities, each brought to L2 norm 1, one after the other (Simonyan and
Zisserman, "Two-Stream Convolutional Networks", NeurIPS 2014, section 5). The paper leaves C open:
here it is chosen by folds of whole groups, as in twostream/svm.py.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twostream.calibration import Floats
from twostream.fusion import fuse, join_streams
from twostream.fusion_choice import Split
from twostream.linear_svm import GRID, INNER_FOLDS, choose, decisions, refuse_unlearnable
from twostream.scores import Scores, softmax


def fuse_by_svm(split: Split) -> Scores:
    """Fuse the test scores of a split by what its held-out scores teach.

    Raises:
        InputError: Held-out videos of one class or one group alone.
    """
    held_out = join_streams(split.held_out)
    labels, groups = split.labels(held_out[0]), split.groups(held_out[0])
    name = f"{held_out[0].source.split} that are held out"
    refuse_unlearnable(labels, groups, GRID, INNER_FOLDS, name)
    known, unseen = _stacked([each.logits for each in held_out]), join_streams(split.test)
    classes = len(held_out[0].classes)
    choice, _, _ = choose(known, known[:, None], labels, groups, GRID, INNER_FOLDS, classes, name)

    def decide(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        stacked = _stacked(logits)
        inputs = stacked.reshape(-1, stacked.shape[-1])
        values = choice.factor * decisions(known, labels, inputs, choice.c, classes)
        return values.reshape(*stacked.shape[:-1], classes).astype(np.float32)

    return replace(
        fuse(unseen),
        logits=decide([each.logits for each in unseen]),
        clip_logits=decide([each.clip_logits for each in unseen]),
    )


def _stacked(logits: Sequence[NDArray[np.float32]]) -> Floats:
    """The streams' probabilities at L2 norm 1, (..., C) each -> float64 (..., streams * C)."""
    probabilities = [softmax(each) for each in logits]
    return np.concatenate(
        [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in probabilities], axis=-1
    )
