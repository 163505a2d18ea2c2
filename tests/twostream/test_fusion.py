"""Fusion: known answers, oracles (SciPy, a plain loop), laws as properties, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax

from flow.errors import InputError
from twostream.fusion import RULES, Rule, fuse, in_order, video_logits
from twostream.scores import Scores, Source, softmax

IDS = ("a", "b", "c", "d")


def scores(stream: str, seed: int, ids: tuple[str, ...] = IDS) -> Scores:
    """Scores that depend on the seed and on the video's name, not on its place."""
    clips = np.stack(
        [np.random.default_rng([seed, *name.encode()]).normal(size=(2, 3)) for name in ids]
    ).astype(np.float32)
    source = Source("ucf101", "1", stream, "2 even clips", stream * 8, "store")
    return Scores(ids, ("x", "y", "z"), clips.mean(axis=1), clips, source)


def in_plain_loops(streams: list[Scores], weights: list[float], rule: str) -> np.ndarray:
    """Probabilities (V, C), video by video and class by class."""
    fused = np.zeros(streams[0].logits.shape)
    total = sum(weights)
    for row, video in enumerate(streams[0].video_ids):
        found = np.zeros(3)
        for weight, stream in zip(weights, streams, strict=True):
            here = stream.video_ids.index(video)
            logits = stream.logits[here].astype(float)
            if rule == "logits":
                logits = sum(clip.astype(float) for clip in stream.clip_logits[here]) / 2
            chances = scipy_softmax(logits)
            for k in range(3):
                part = {"softmax": chances[k], "log_probabilities": np.log(chances[k])}
                found[k] += weight / total * part.get(rule, logits[k])
        fused[row] = found if rule == "softmax" else scipy_softmax(found)
    return fused


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**16), st.lists(st.floats(0, 10), min_size=3, max_size=3), st.data())
def test_every_rule_is_that_of_a_plain_loop(
    rule: Rule, seed: int, weights: list[float], data: st.DataObject
) -> None:
    assume(sum(weights) > 1e-3)
    order = tuple(data.draw(st.permutations(IDS)))
    streams = [scores("rgb", seed), scores("flow", seed + 1, order), scores("sound", seed + 2)]
    fused = fuse(streams, weights, rule)
    np.testing.assert_allclose(
        scipy_softmax(fused.logits, axis=1), in_plain_loops(streams, weights, rule), rtol=1e-5
    )


def test_equal_weights_average_the_softmax() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    expected = (softmax(rgb.logits) + softmax(flow.logits)) / 2
    np.testing.assert_allclose(softmax(fuse([rgb, flow]).logits), expected, rtol=1e-5)
    clips = (softmax(rgb.clip_logits) + 3 * softmax(flow.clip_logits)) / 4
    np.testing.assert_allclose(softmax(fuse([rgb, flow], [1, 3]).clip_logits), clips, rtol=1e-5)


def test_clips_are_multiplied_or_added_alike() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    added = scipy_softmax((rgb.clip_logits + 3 * flow.clip_logits) / 4, axis=-1)
    for rule in ("logits", "log_probabilities"):
        fused = fuse([rgb, flow], [1, 3], rule)
        np.testing.assert_allclose(softmax(fused.clip_logits), added, rtol=1e-5)


def test_temperatures_divide_the_logits() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    expected = (scipy_softmax(rgb.logits / 2, axis=1) + scipy_softmax(flow.logits * 4, axis=1)) / 2
    fused = fuse([rgb, flow], temperatures=[2, 0.25])
    np.testing.assert_allclose(softmax(fused.logits), expected, rtol=1e-5)
    added = scipy_softmax((rgb.clip_logits / 2 + flow.clip_logits * 4) / 2, axis=-1)
    for rule in ("logits", "log_probabilities"):
        fused = fuse([rgb, flow], rule=rule, temperatures=[2, 0.25])
        np.testing.assert_allclose(softmax(fused.clip_logits), added, rtol=1e-5)


def test_the_fused_scores_say_what_they_are_made_of() -> None:
    fused = fuse([scores("rgb", 1), scores("flow", 2)])
    assert fused.source.stream == "rgb+flow"
    assert fused.source.checkpoint == "rgb" * 8 + "+" + "flow" * 8


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**16), st.floats(0.01, 100))
def test_weight_0_gives_the_other_stream(rule: Rule, seed: int, weight: float) -> None:
    rgb, flow = scores("rgb", seed), scores("flow", seed + 1)
    fused = fuse([rgb, flow], [0, weight], rule)
    alone = scipy_softmax(video_logits(flow, rule), axis=1)
    np.testing.assert_allclose(softmax(fused.logits), alone, rtol=1e-5)
    np.testing.assert_allclose(softmax(fused.clip_logits), softmax(flow.clip_logits), rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**16), st.floats(0, 100))
def test_equal_streams_fuse_to_themselves(rule: Rule, seed: int, weight: float) -> None:
    rgb = scores("rgb", seed)
    same = replace(rgb, source=replace(rgb.source, stream="flow"))
    fused = fuse([rgb, same], [1, weight], rule)
    alone = scipy_softmax(video_logits(rgb, rule), axis=1)
    np.testing.assert_allclose(softmax(fused.logits), alone, rtol=1e-5)
    np.testing.assert_allclose(softmax(fused.clip_logits), softmax(rgb.clip_logits), rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@given(st.floats(0.01, 100), st.floats(0, 1))
def test_larger_weights_in_the_same_ratio_change_nothing(
    rule: Rule, factor: float, share: float
) -> None:
    streams = [scores("rgb", 1), scores("flow", 2)]
    one = fuse(streams, [1 - share, share], rule)
    other = fuse(streams, [factor * (1 - share), factor * share], rule)
    np.testing.assert_allclose(other.logits, one.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other.clip_logits, one.clip_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**16))
def test_temperature_1_is_the_identity(rule: Rule, seed: int) -> None:
    streams = [scores("rgb", seed), scores("flow", seed + 1)]
    one, other = fuse(streams, [1, 2], rule), fuse(streams, [1, 2], rule, temperatures=[1, 1])
    np.testing.assert_array_equal(one.logits, other.logits)
    np.testing.assert_array_equal(one.clip_logits, other.clip_logits)


@pytest.mark.parametrize("rule", RULES)
@given(st.permutations(IDS))
def test_the_order_of_the_videos_changes_nothing(rule: Rule, order: list[str]) -> None:
    straight = fuse([scores("rgb", 1), scores("flow", 2)], [1, 2], rule)
    shuffled = fuse([scores("rgb", 1), scores("flow", 2, tuple(order))], [1, 2], rule)
    assert shuffled.video_ids == straight.video_ids
    np.testing.assert_array_equal(shuffled.logits, straight.logits)
    np.testing.assert_array_equal(shuffled.clip_logits, straight.clip_logits)
    turned = fuse([scores("rgb", 1, tuple(order)), scores("flow", 2)], [1, 2], rule)
    np.testing.assert_array_equal(in_order(turned, IDS).logits, straight.logits)


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 3))
def test_a_changed_row_changes_only_its_video(rule: Rule, row: int) -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    logits, clips = flow.logits.copy(), flow.clip_logits.copy()
    logits[row], clips[row] = [9, -9, 0], [[9, -9, 0], [0, 5, 5]]
    other = fuse([rgb, replace(flow, logits=logits, clip_logits=clips)], rule=rule)
    same = fuse([rgb, flow], rule=rule)
    only = [index == row for index in range(4)]
    assert (other.logits != same.logits).any(axis=1).tolist() == only
    assert (other.clip_logits != same.clip_logits).any(axis=(1, 2)).tolist() == only


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


@given(st.permutations(("x", "y", "z")))
def test_relabelled_classes_are_refused(order: list[str]) -> None:
    assume(tuple(order) != ("x", "y", "z"))
    with pytest.raises(InputError, match="order differs"):
        fuse([scores("rgb", 1), replace(scores("flow", 2), classes=tuple(order))])


@given(st.sets(st.sampled_from(IDS), min_size=1, max_size=3), st.booleans())
def test_a_shortened_file_is_refused(kept: set[str], first: bool) -> None:
    streams = [scores("rgb", 1), scores("flow", 2, tuple(kept))]
    with pytest.raises(InputError, match=f"differ in {4 - len(kept)} videos"):
        fuse(streams if first else streams[::-1])


def test_flow_of_another_encoding_is_refused_where_it_is_told() -> None:
    def of(stream: str, seed: int, flow: str) -> Scores:
        made = scores(stream, seed)
        return replace(made, source=replace(made.source, flow=flow))

    rgb, one, two = of("rgb", 1, ""), of("flow", 2, "bound 20"), of("warped", 3, "bound 15")
    assert fuse([rgb, one]).source.flow == "bound 20"
    with pytest.raises(InputError, match="differ in flow: 'bound 20' and 'bound 15'"):
        fuse([rgb, one, two])


def test_a_network_is_not_fused_with_itself() -> None:
    rgb, flow = scores("rgb", 1), scores("flow", 2)
    with pytest.raises(InputError, match="one rgb network, rgbrgb"):
        fuse([rgb, flow, rgb])
    with pytest.raises(InputError, match="one flow network"):
        fuse([fuse([rgb, flow]), flow])
    again = replace(rgb, source=replace(rgb.source, checkpoint="trained again"))
    assert fuse([rgb, again]).source.stream == "rgb+rgb"


def test_two_streams_of_a_kind_are_fused_by_what_was_known_before_their_networks() -> None:
    """Those scores name no checkpoint, which does not make them one network's."""
    one, two = scores("flow", 1), scores("flow", 2)
    two = replace(two, source=replace(two.source, checkpoint="another"))
    unnamed = [replace(each, source=replace(each.source, checkpoint="")) for each in (one, two)]
    np.testing.assert_array_equal(fuse(unnamed).logits, fuse([one, two]).logits)


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


@pytest.mark.parametrize("temperatures", [[1], [0, 1], [-1, 2], [float("nan"), 1], [1, 2, 3]])
def test_bad_temperatures_are_refused(temperatures: list[float]) -> None:
    with pytest.raises(InputError, match="temperatures of 2 streams"):
        fuse([scores("rgb", 1), scores("flow", 2)], temperatures=temperatures)


def test_another_rule_is_refused() -> None:
    with pytest.raises(InputError, match="'max' is unknown"):
        fuse([scores("rgb", 1), scores("flow", 2)], rule="max")
