"""Fusion by an SVM: oracle (scikit-learn on what the paper stacks), laws, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from flow.errors import InputError
from twostream.data.annotations import Video
from twostream.fusion import in_order
from twostream.fusion_choice import Split
from twostream.fusion_svm import fuse_by_svm
from twostream.scores import Scores, Source

VIDEOS = {f"v{row}": Video(f"v{row}", row % 3, f"g{row // 10}") for row in range(60)}
HELD_OUT, TEST = tuple(VIDEOS)[:40], tuple(VIDEOS)[40:]


def made(stream: str, knows: float, ids: tuple[str, ...], seed: int) -> Scores:
    rng = np.random.default_rng([seed, len(stream), len(ids)])
    clips = rng.normal(size=(len(ids), 2, 3))
    clips[np.arange(len(ids)), :, [VIDEOS[name].label for name in ids]] += knows
    values = clips.astype(np.float32)
    source = Source("mine", "fold:1/2", stream, "2 clips", stream * 8, "s")
    return Scores(ids, ("x", "y", "z"), values.mean(axis=1), values, source)


def split(seed: int = 0) -> Split:
    test, held_out = (
        (made("rgb", 1.0, ids, seed), made("flow", 2.0, ids, seed)) for ids in (TEST, HELD_OUT)
    )
    return Split(test, VIDEOS, held_out)


def stacked(streams: tuple[Scores, ...]) -> np.ndarray:
    return np.concatenate([normalize(softmax(s.logits, axis=1)) for s in streams], axis=1)


def test_the_ranking_is_that_of_scikit_learn_by_one_of_the_values_of_c() -> None:
    given = split()
    fused = fuse_by_svm(given)
    labels = [VIDEOS[name].label for name in HELD_OUT]
    matches = []
    for c in (0.1, 1.0, 10.0, 100.0):
        svm = LinearSVC(C=c, tol=1e-8, max_iter=1_000_000, random_state=1)
        expected = svm.fit(stacked(given.held_out), labels).decision_function(stacked(given.test))
        factor = (fused.logits * expected).sum() / (expected**2).sum()
        matches.append(np.abs(fused.logits - factor * expected).max() / np.ptp(fused.logits))
    assert sorted(matches)[0] < 2e-3 < sorted(matches)[1]
    assert fused.source.stream == "rgb+flow"


def test_each_clip_is_judged_as_a_video_of_its_own() -> None:
    given = split()
    fused = fuse_by_svm(given)
    only = tuple(
        replace(each, logits=each.clip_logits[:, 1], clip_logits=each.clip_logits[:, 1:])
        for each in given.test
    )
    alone = fuse_by_svm(replace(given, test=only))
    np.testing.assert_allclose(alone.logits, fused.clip_logits[:, 1], rtol=1e-5)


def test_the_order_of_videos_changes_nothing() -> None:
    given = split()
    turned = replace(
        given,
        test=(given.test[0], in_order(given.test[1], TEST[::-1])),
        held_out=(given.held_out[0], in_order(given.held_out[1], HELD_OUT[::-1])),
    )
    np.testing.assert_array_equal(fuse_by_svm(turned).logits, fuse_by_svm(given).logits)


def test_videos_of_one_group_or_class_teach_nothing() -> None:
    given = split()
    for kept, what in ((HELD_OUT[:10], "1 groups"), (HELD_OUT[::3], "1 labels")):
        held_out = tuple(in_order(each, kept) for each in given.held_out)
        with pytest.raises(InputError, match=f"that are held out have {what}"):
            fuse_by_svm(replace(given, held_out=held_out))
