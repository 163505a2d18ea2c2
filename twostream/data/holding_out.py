"""Taking whole groups out of the training videos, to validate on."""

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from twostream.data.annotations import Video


def hold_out(
    train: tuple[Video, ...], fraction: float, seed: int
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Take whole groups out of the training videos for validation.

    Groups are offered in a random order, and one is taken where that brings the share of each class
    nearer to ``fraction`` (in the sum of squares over the classes). No class loses its last
    training video.

    Returns:
        The videos to train on and those to validate on, each in the order given.

    Raises:
        InputError: A fraction outside 0 to 1, or groups that cannot be taken apart.
    """
    if not 0 < fraction < 1:
        raise InputError(f"The fraction to hold out is {fraction}; give a number between 0 and 1.")
    counts = _videos_by_group_and_class(train)
    taken = _choose_groups(counts, fraction, np.random.default_rng(seed))
    if not taken:
        raise InputError(
            f"The {len(train):,} training videos have no group that can be held out, because each "
            "one holds a whole class; give more groups, or hold nothing out."
        )
    chosen = {sorted({video.group for video in train})[group] for group in taken}
    return (
        tuple(video for video in train if video.group not in chosen),
        tuple(video for video in train if video.group in chosen),
    )


def _videos_by_group_and_class(videos: tuple[Video, ...]) -> NDArray[np.int64]:
    """Counts (groups, classes), both sorted, of those that occur."""
    names, group = np.unique([video.group for video in videos], return_inverse=True)
    labels, label = np.unique([video.label for video in videos], return_inverse=True)
    counts = np.zeros((len(names), len(labels)), np.int64)
    np.add.at(counts, (group, label), 1)
    return counts


def _choose_groups(
    counts: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> list[int]:
    totals = counts.sum(axis=0)

    def distance(held: NDArray[np.int64]) -> float:
        # A class without a training video left could not be learnt.
        return float(np.sum((held / totals - fraction) ** 2)) if (held < totals).all() else np.inf

    order = rng.permutation(len(counts))
    held = np.zeros_like(totals)
    taken: list[int] = []
    for group in order:
        if distance(held + counts[group]) < distance(held):
            held = held + counts[group]
            taken.append(group)
    if not taken and len(order):
        # Every group is far larger than the fraction: the one that overshoots least.
        smallest = min(order, key=lambda group: distance(counts[group]))
        taken = [smallest] if distance(counts[smallest]) < np.inf else []
    return taken
