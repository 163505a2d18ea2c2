"""Choice of weights: known answers, oracles (plain loops), properties, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from flow.errors import InputError
from twostream.calibration import temperature
from twostream.data.annotations import Video
from twostream.fusion import RULES, Rule, fuse, in_order, video_logits
from twostream.fusion_choice import SHARES, Split, choose, choose_likely
from twostream.scores import Scores, Source

CLASSES = ("x", "y", "z")


def made(stream: str, knows: float, labels: np.ndarray, seed: int, name: str = "v") -> Scores:
    """Scores of two clips a video, whose right class is ``knows`` above noise of deviation 1."""
    rng = np.random.default_rng([seed, len(stream)])
    clips = rng.normal(size=(len(labels), 2, 3))
    clips[np.arange(len(labels)), :, labels] += knows
    source = Source("mine", "fold:1/2", stream, "2 clips", stream * 8, "s")
    ids = tuple(f"{name}{row}" for row in range(len(labels)))
    values = clips.astype(np.float32)
    return Scores(ids, CLASSES, values.mean(axis=1), values, source)


def labels_of(videos: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, videos)


def loss_of(fused: Scores, labels: np.ndarray) -> float:
    """The mean cross-entropy after the best temperature, the videos in thought included."""
    videos = len(labels)
    targets = np.full((videos, 3), 1 / (videos + 3))
    targets[np.arange(videos), labels] += videos / (videos + 3)
    cool = fused.logits / temperature(fused.logits.astype(float), labels)
    return float(-(targets * log_softmax(cool, axis=1)).sum() / videos)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_no_share_of_the_grid_is_more_likely(rule: Rule, seed: int) -> None:
    labels = labels_of(60, seed)
    streams = [made("rgb", 1.0, labels, seed), made("flow", 1.5, labels, seed)]
    found = choose(streams, labels, rule)
    own = [temperature(video_logits(s, rule).astype(float), labels) for s in streams]
    losses = [loss_of(fuse(streams, [1 - s, s], rule, own), labels) for s in SHARES]
    assert found.weights[1] == SHARES[int(np.argmin(losses))]
    assert 0.5 < found.weights[1] < 1 or rule == "softmax"
    if rule == "softmax":
        assert found.temperatures == pytest.approx(own)


@pytest.mark.parametrize("rule", ["logits", "log_probabilities"])
def test_what_is_multiplied_is_calibrated_as_a_whole(rule: Rule) -> None:
    labels = labels_of(200)
    streams = [made("rgb", 1.0, labels, 1), made("flow", 1.5, labels, 1)]
    found = choose(streams, labels, rule)
    fused = fuse(streams, found.weights, rule, found.temperatures)
    assert temperature(fused.logits.astype(float), labels) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_a_stream_that_knows_nothing_does_no_harm(rule: Rule) -> None:
    """Its temperature is high: with whatever share, it says next to nothing."""
    labels, unseen = labels_of(300), labels_of(1000, 1)
    good, guesses = made("flow", 2.0, labels, 0), made("rgb", 0.0, labels, 0)
    found = choose([guesses, good], labels, rule)
    factors = np.array(found.weights) / found.temperatures
    assert factors[0] < 0.1 * factors[1]
    test = [made("rgb", 0.0, unseen, 5), made("flow", 2.0, unseen, 5)]
    fused = fuse(test, found.weights, rule, found.temperatures).logits.argmax(axis=1)
    best = video_logits(test[1], rule).argmax(axis=1)
    even = fuse(test, rule=rule).logits.argmax(axis=1)
    assert (fused == unseen).mean() >= (best == unseen).mean() - 0.01
    assert (even == unseen).mean() < (best == unseen).mean() - 0.03


def test_equal_streams_share_equally() -> None:
    labels = labels_of(50)
    one = made("rgb", 1.0, labels, 0)
    same = replace(one, source=replace(one.source, stream="flow"))
    for rule in RULES:
        assert choose([one, same], labels, rule).weights == (0.5, 0.5)


def test_the_order_of_the_held_out_videos_changes_nothing() -> None:
    labels = labels_of(40)
    rgb, flow = made("rgb", 1.0, labels, 0), made("flow", 1.0, labels, 0)
    turned = in_order(flow, flow.video_ids[::-1])
    assert choose([rgb, turned], labels, "softmax") == choose([rgb, flow], labels, "softmax")


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.floats(0.2, 5), st.sampled_from(RULES))
def test_how_sure_a_stream_calls_itself_changes_no_ranking(
    seed: int, factor: float, rule: Rule
) -> None:
    """Its temperature takes that back, but for the videos in thought and rounding."""
    labels = labels_of(50, seed)
    rgb, flow = made("rgb", 1.0, labels, seed), made("flow", 1.5, labels, seed)
    times = np.float32(factor)
    sure = replace(flow, logits=times * flow.logits, clip_logits=times * flow.clip_logits)
    one, other = (choose([rgb, each], labels, rule) for each in (flow, sure))
    assert other.temperatures[1] == pytest.approx(factor * one.temperatures[1], rel=1e-2)
    assert other.weights[1] == pytest.approx(one.weights[1], abs=0.0501)


def test_one_video_and_all_right_are_no_trouble() -> None:
    for videos in (1, 6):
        labels = labels_of(videos)
        streams = [made("rgb", 40.0, labels, 0), made("flow", 40.0, labels, 0)]
        for rule in RULES:
            found = choose(streams, labels, rule)
            fused = fuse(streams, found.weights, rule, found.temperatures)
            assert (fused.logits.argmax(axis=1) == labels).all()


@pytest.mark.parametrize("rule", RULES)
def test_of_three_streams_no_weights_nearby_are_more_likely(rule: Rule) -> None:
    labels = labels_of(200)
    streams = [made(name, knows, labels, 3) for name, knows in (("a", 0.5), ("bb", 1), ("ccc", 2))]
    found = choose(streams, labels, rule)
    assert found == choose_likely(streams, labels, rule)
    factors = np.array(found.weights) / found.temperatures
    assert factors[0] < factors[1] < factors[2] or rule == "softmax"
    own = [temperature(video_logits(s, rule).astype(float), labels) for s in streams]
    least = loss_of(fuse(streams, found.weights, rule, own), labels)
    rng = np.random.default_rng(0)
    for size in (0.02, 0.1, 0.4):
        for _ in range(20):
            near = np.abs(np.array(found.weights) + size * rng.normal(size=3))
            assert loss_of(fuse(streams, near.tolist(), rule, own), labels) >= least - 1e-5


def test_likely_weights_are_found_again() -> None:
    """Labels drawn from the product of two streams to the powers 3 and 1: 0.75 and 0.25."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 20_000, 3)).astype(np.float32)
    chances = softmax(3 * values[0] + values[1], axis=1)
    labels = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    base = made("rgb", 0, labels, 0)
    streams = [
        replace(base, logits=each, clip_logits=each[:, None], source=replace(base.source, stream=s))
        for each, s in zip(values, ("rgb", "flow"), strict=True)
    ]
    for found in (choose_likely(streams, labels), choose(streams, labels, "log_probabilities")):
        factors = np.array(found.weights) / found.temperatures
        # Over 30 data sets their deviations are 0.035 and 0.019; the grid adds 0.025 of 4.
        assert factors == pytest.approx([3, 1], abs=0.15)


def split(held_out: tuple[Scores, ...] = ()) -> Split:
    labels = labels_of(5)
    test = tuple(made(stream, 1, labels, 0, "test") for stream in ("rgb", "flow"))
    names = [f"test{row}" for row in range(5)] + [f"v{row}" for row in range(9)]
    return Split(test, {name: Video(name, 0, "g") for name in names}, held_out)


def test_held_out_scores_of_another_network_or_of_test_videos_are_refused() -> None:
    rgb, flow = (made(stream, 1, labels_of(9), 0) for stream in ("rgb", "flow"))
    assert split((rgb, flow)).held_out == (rgb, flow)
    for name in ("checkpoint", "split", "protocol", "dataset", "flow"):
        others = tuple(
            replace(each, source=replace(each.source, **{name: "other"})) for each in (rgb, flow)
        )
        with pytest.raises(InputError, match=f"differ from the test scores in {name}: 'other'"):
            split(others)
    before = tuple(
        replace(each, source=replace(each.source, checkpoint="", protocol="own"))
        for each in (rgb, flow)
    )
    assert split(before).held_out == before  # of before the fine-tuning
    tested = tuple(made(stream, 1, labels_of(9), 0, "test") for stream in ("rgb", "flow"))
    tested = tuple(in_order(each, each.video_ids[:5]) for each in tested)
    with pytest.raises(InputError, match="hold 5 test videos, 'test0' first"):
        split(tested)
    with pytest.raises(InputError, match="other classes than the test scores"):
        split(tuple(replace(each, classes=("a", "b", "c")) for each in (rgb, flow)))
    with pytest.raises(InputError, match="differ from the test scores in stream"):
        split((flow, rgb))
    with pytest.raises(InputError, match="1 scored videos are not on the list, 'v9' first"):
        split(tuple(made(stream, 1, labels_of(10), 0) for stream in ("rgb", "flow")))


def test_nothing_is_chosen_on_no_video() -> None:
    none = [made(stream, 1, labels_of(0), 0) for stream in ("rgb", "flow")]
    with pytest.raises(InputError, match="no held-out video"):
        choose(none, labels_of(0), "softmax")
