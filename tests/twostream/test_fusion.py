"""Fusion: known answer, laws as properties, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.errors import InputError
from twostream.fusion import fuse
from twostream.scores import Scores, Source, softmax

IDS = ("a", "b", "c", "d")


def scores(stream: str, seed: int, ids: tuple[str, ...] = IDS) -> Scores:
    """Scores that depend on the seed and on the video's name, not on its place."""
    clips = np.stack(
        [np.random.default_rng([seed, *name.encode()]).normal(size=(2, 3)) for name in ids]
    ).astype(np.float32)
    source = Source("ucf101", "1", stream, "2 even clips", stream * 8, "store")
    return Scores(ids, ("x", "y", "z"), clips.mean(axis=1), clips, source)


def test_equal_weights_average_the_softmax() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    expected = (softmax(rgb.logits) + softmax(flow.logits)) / 2
    np.testing.assert_allclose(softmax(fuse([rgb, flow]).logits), expected, rtol=1e-5)
    clips = (softmax(rgb.clip_logits) + 3 * softmax(flow.clip_logits)) / 4
    np.testing.assert_allclose(softmax(fuse([rgb, flow], [1, 3]).clip_logits), clips, rtol=1e-5)


def test_the_fused_scores_say_what_they_are_made_of() -> None:
    fused = fuse([scores("rgb", 1), scores("flow", 2)])
    assert fused.source.stream == "rgb+flow"
    assert fused.source.checkpoint == "rgb" * 8 + "+" + "flow" * 8


@given(st.integers(0, 2**16), st.floats(0.01, 100))
def test_weight_0_gives_the_other_stream(seed: int, weight: float) -> None:
    rgb, flow = scores("rgb", seed), scores("flow", seed + 1)
    fused = fuse([rgb, flow], [0, weight])
    np.testing.assert_allclose(softmax(fused.logits), softmax(flow.logits), rtol=1e-5)


@given(st.permutations(IDS))
def test_the_order_of_the_videos_changes_nothing(order: list[str]) -> None:
    straight = fuse([scores("rgb", 1), scores("flow", 2)])
    shuffled = fuse([scores("rgb", 1), scores("flow", 2, tuple(order))])
    assert shuffled.video_ids == straight.video_ids
    np.testing.assert_array_equal(shuffled.logits, straight.logits)
    np.testing.assert_array_equal(shuffled.clip_logits, straight.clip_logits)


@given(st.integers(0, 3))
def test_a_changed_row_changes_only_its_video(row: int) -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    logits = flow.logits.copy()
    logits[row] = [9, -9, 0]
    changed = fuse([rgb, replace(flow, logits=logits)]).logits != fuse([rgb, flow]).logits
    assert changed.any(axis=1).tolist() == [index == row for index in range(4)]


def test_other_data_sets_splits_and_protocols_are_refused() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    for name, value in (("dataset", "hmdb51"), ("split", "2"), ("protocol", "10 crops")):
        other = replace(flow, source=replace(flow.source, **{name: value}))
        with pytest.raises(InputError, match=f"rgb and flow scores differ in {name}: .*{value}"):
            fuse([rgb, other])


def test_other_classes_are_refused_even_in_another_order_only() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    with pytest.raises(InputError, match="'w' is in only one"):
        fuse([rgb, replace(flow, classes=("w", "y", "z"))])
    with pytest.raises(InputError, match="order differs"):
        fuse([rgb, replace(flow, classes=("y", "x", "z"))])


def test_missing_videos_are_refused_and_named() -> None:
    with pytest.raises(InputError, match="differ in 1 videos: 'd' is in only one"):
        fuse([scores("rgb", 1), scores("flow", 2, IDS[:3])])


def test_another_number_of_clips_is_refused() -> None:
    flow = scores("flow", 2)
    with pytest.raises(InputError, match="2 and 1 clips a video"):
        fuse([scores("rgb", 1), replace(flow, clip_logits=flow.clip_logits[:, :1])])


@pytest.mark.parametrize("weights", [[1], [0, 0], [-1, 2], [float("nan"), 1], [float("inf"), 1]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        fuse([scores("rgb", 1), scores("flow", 2)], weights)
