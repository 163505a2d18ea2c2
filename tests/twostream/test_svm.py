"""The SVM protocol: known answers, oracle (scikit-learn), identities, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.svm import LinearSVC

from flow.errors import InputError
from twostream import feature_folder, svm
from twostream.commands.fuse import Fuse
from twostream.commands.svm import SVM
from twostream.data.annotations import Annotations, Video
from twostream.evaluation import evaluate
from twostream.feature_folder import FeatureMeta, Features
from twostream.fusion import fuse, in_order
from twostream.linear_svm import decisions as decisions_of
from twostream.scores import Scores

CLASSES = ("clap", "jump", "walk")
META = FeatureMeta(
    stream="rgb",
    clips="3 even clips",
    layer="pool5",
    model="p3d63",
    weights="w" * 64,
    input="BGR",
    precision="float32",
    flow="",
    trained_on=(),
)


def videos(groups: int, each: int = 2, classes: int = 3) -> tuple[Video, ...]:
    """``each`` videos of every class in every group."""
    return tuple(
        Video(f"{label}/{group}_{number}", label, f"g{group}")
        for group in range(groups)
        for label in range(classes)
        for number in range(each)
    )


def features(listed: tuple[Video, ...], noise: float, seed: int = 0, size: int = 40) -> Features:
    """A direction for each class, and noise: (V, 2 sets, 3 clips, ``size``)."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(3, size))
    signal = directions[[video.label for video in listed], None, None]
    values = signal + noise * rng.normal(size=(len(listed), 2, 3, size))
    ids = tuple(video.id for video in listed)
    return Features(ids, values.astype(np.float32), META, "s" * 64)


def split(listed: tuple[Video, ...], test: str = "g0") -> Annotations:
    train = tuple(video for video in listed if video.group != test)
    held = tuple(video for video in listed if video.group == test)
    return Annotations("mine", f"group:{test}", CLASSES, train, held)


def right(scores: Scores, listed: tuple[Video, ...]) -> float:
    label = {video.id: video.label for video in listed}
    return float(
        np.mean(scores.logits.argmax(axis=1) == [label[name] for name in scores.video_ids])
    )


def test_descriptor_known_answer() -> None:
    clips = np.array([[3, -10, 0], [5, -8, 0]], np.float32)  # mean 4, -9, 0; roots 2, -3, 0
    expected = np.array([2, -3, 0]) / np.sqrt(13)
    np.testing.assert_allclose(svm.descriptors(clips), expected, rtol=1e-12)
    assert not svm.descriptors(np.zeros((2, 3), np.float32)).any()


def test_clips_that_are_like_their_classes_are_told_apart() -> None:
    listed = videos(groups=4)
    fold = svm.train_and_score(features(listed, noise=0.5), split(listed))
    scores = fold.scores
    assert right(scores, listed) == 1
    assert fold.choice.inner_accuracy == 1
    assert scores.video_ids == tuple(video.id for video in listed if video.group == "g0")
    assert scores.clip_logits.shape == (6, 3, 3)
    assert scores.source.stream == "rgb"
    assert scores.source.split == "group:g0"


def test_the_decisions_are_those_of_scikit_learn() -> None:
    """On 40 values of 18 videos, which we turn into 18 values first."""
    listed = videos(groups=4)
    taken = features(listed, noise=3)
    fold = split(listed)
    result = svm.train_and_score(taken, fold, grid=[1.0])
    x = svm.descriptors(taken.values.reshape(len(listed), 6, -1))
    held = np.array([video.group == "g0" for video in listed])
    labels = np.array([video.label for video in listed])
    oracle = LinearSVC(C=1.0, tol=1e-8, max_iter=1_000_000, random_state=1).fit(
        x[~held], labels[~held]
    )
    expected = oracle.decision_function(x[held])
    np.testing.assert_allclose(result.scores.logits / result.choice.factor, expected, atol=2e-3)


def test_turning_keeps_every_product() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(size=(8, 30)), rng.normal(size=(5, 30))
    one, two = svm._rotated(known, unknown)
    assert one.shape == (8, 8)
    np.testing.assert_allclose(two @ one.T, unknown @ known.T, atol=1e-12)
    np.testing.assert_allclose(one @ one.T, known @ known.T, atol=1e-12)


def test_of_two_classes_the_decisions_are_each_others_mirror() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(20, 5)), np.repeat([0, 1], 10)
    x[labels == 1, 0] += 3
    decisions = decisions_of(x, labels, x, 1.0, 2)
    np.testing.assert_array_equal(decisions[:, 0], -decisions[:, 1])
    assert np.mean(decisions.argmax(axis=1) == labels) > 0.9


def test_a_class_without_training_videos_never_wins() -> None:
    listed = videos(groups=4)
    fold = split(listed)
    train = tuple(video for video in fold.train if video.label != 1)
    scores = svm.train_and_score(features(listed, noise=0.5), replace(fold, train=train)).scores
    assert set(scores.logits.argmax(axis=1)) <= {0, 2}
    assert (scores.logits[:, 1] < scores.logits[:, [0, 2]].min(axis=1)).all()


def test_what_a_test_video_is_and_is_called_changes_nothing_but_its_own_scores() -> None:
    listed = videos(groups=4)
    taken, fold = features(listed, noise=3), split(listed)
    result = svm.train_and_score(taken, fold)
    test = tuple(replace(video, label=(video.label + 1) % 3) for video in fold.test)
    values = taken.values.copy()
    values[0] = 7  # the first test video
    other = svm.train_and_score(replace(taken, values=values), replace(fold, test=test))
    assert other.choice == result.choice
    np.testing.assert_array_equal(other.held_out.logits, result.held_out.logits)
    np.testing.assert_array_equal(other.scores.logits[1:], result.scores.logits[1:])
    assert (other.scores.logits[0] != result.scores.logits[0]).all()


def test_mirrored_clips_count_like_others_and_clips_in_any_order() -> None:
    listed = videos(groups=4)
    taken, fold = features(listed, noise=3), split(listed)
    scores = svm.train_and_score(taken, fold).scores
    turned = replace(taken, values=taken.values[:, ::-1, ::-1])
    swapped = svm.train_and_score(turned, fold).scores
    np.testing.assert_allclose(swapped.logits, scores.logits, atol=1e-3 * np.ptp(scores.logits))
    np.testing.assert_allclose(
        swapped.clip_logits[:, ::-1], scores.clip_logits, atol=1e-3 * np.ptp(scores.logits)
    )


def test_c_is_chosen_on_videos_of_groups_that_were_not_trained_on() -> None:
    """What tells a group tells its label here, which is of no use in another group."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation(np.arange(30) % 3), 4)
    listed = tuple(Video(f"v{row}", int(label), f"g{row // 4}") for row, label in enumerate(labels))
    signature = np.repeat(rng.normal(size=(30, 40)), 4, axis=0)
    noise = 0.1 * rng.normal(size=(120, 2, 2, 40))
    values = (signature[:, None, None] + noise).astype(np.float32)
    taken = Features(tuple(video.id for video in listed), values, META, "s")
    choice = svm.train_and_score(taken, split(listed)).choice
    assert choice.inner_accuracy < 0.6  # with groups on both sides it is 1


def test_the_c_with_the_least_loss_in_inner_folds_is_taken() -> None:
    listed = videos(groups=5)
    taken, fold = features(listed, noise=3), split(listed)
    single = [svm.train_and_score(taken, fold, [c]).choice for c in svm.GRID]
    losses = [choice.inner_loss for choice in single]
    assert len(set(losses)) == 4
    chosen = svm.train_and_score(taken, fold, svm.GRID[::-1]).choice
    assert chosen == single[int(np.argmin(losses))]


def test_a_stream_that_knows_nothing_does_not_spoil_the_sum() -> None:
    listed = videos(groups=6, each=4)
    fold = split(listed)
    one = svm.train_and_score(features(listed, noise=3), fold)
    guesses = features(listed, noise=1000, seed=1)
    two = svm.train_and_score(replace(guesses, meta=replace(META, stream="flow")), fold)
    assert two.choice.inner_accuracy < 0.6 < one.choice.inner_accuracy
    fused, factors = svm.fuse_fold([one, two])
    assert factors[1] < 0.5 < factors[0] < 2
    assert right(fused, listed) >= right(one.scores, listed)
    added = factors[0] * one.scores.logits + factors[1] * two.scores.logits
    np.testing.assert_allclose(fused.logits, log_softmax(added, axis=1), rtol=1e-4, atol=1e-6)
    assert fused.clip_logits.shape == one.scores.clip_logits.shape
    assert fused.source.stream == "rgb+flow"


def test_streams_are_joined_by_video_and_not_of_other_training_videos() -> None:
    listed = videos(groups=4)
    one = svm.train_and_score(features(listed, noise=1), split(listed))
    other = svm.train_and_score(features(listed, noise=3, seed=1), split(listed))
    flow = of_flow(other)
    turned = replace(
        flow,
        scores=in_order(flow.scores, flow.scores.video_ids[::-1]),
        held_out=in_order(flow.held_out, flow.held_out.video_ids[::-1]),
        labels=flow.labels[::-1],
    )
    np.testing.assert_array_equal(
        svm.fuse_fold([one, turned])[0].logits, svm.fuse_fold([one, flow])[0].logits
    )
    with pytest.raises(InputError, match="not been trained on the same videos"):
        svm.fuse_fold([one, replace(flow, labels=flow.labels[::-1])])
    with pytest.raises(InputError, match="one rgb network"):
        svm.fuse_fold([one, one])


def of_flow(fold: svm.Fold) -> svm.Fold:
    """The same as another stream's."""
    scores, held_out = (
        replace(each, source=replace(each.source, stream="flow"))
        for each in (fold.scores, fold.held_out)
    )
    return replace(fold, scores=scores, held_out=held_out)


def test_held_out_scores_are_those_of_an_svm_that_has_not_seen_the_group() -> None:
    """Of videos and of clips, by scikit-learn on all other training groups."""
    listed = videos(groups=4)
    taken, fold = features(listed, noise=3), split(listed)
    result = svm.train_and_score(taken, fold, grid=[1.0])
    assert result.held_out.video_ids == tuple(video.id for video in fold.train)
    x = svm.descriptors(taken.values.reshape(len(listed), 6, -1))
    clips = svm.descriptors(taken.values.swapaxes(1, 2))
    labels = np.array([video.label for video in listed])
    for group in ("g1", "g2", "g3"):
        known = [row for row, v in enumerate(listed) if v.group not in ("g0", group)]
        here = [row for row, v in enumerate(listed) if v.group == group]
        oracle = LinearSVC(C=1.0, tol=1e-8, max_iter=1_000_000, random_state=1)
        oracle.fit(x[known], labels[known])
        rows = [result.held_out.video_ids.index(listed[row].id) for row in here]
        factor = result.choice.factor
        np.testing.assert_allclose(
            result.held_out.logits[rows] / factor, oracle.decision_function(x[here]), atol=2e-3
        )
        by_clip = oracle.decision_function(clips[here].reshape(-1, 40)).reshape(-1, 3, 3)
        np.testing.assert_allclose(result.held_out.clip_logits[rows] / factor, by_clip, atol=2e-3)


def test_a_network_that_has_seen_test_videos_is_refused() -> None:
    listed = videos(groups=4)
    seen = replace(META, trained_on=("2/0_0", "0/1_0"))
    with pytest.raises(InputError, match=r"trained on 1 of the test videos .*'2/0_0' first"):
        svm.train_and_score(replace(features(listed, 1), meta=seen), split(listed))


def test_one_class_or_one_group_cannot_be_learnt_from() -> None:
    listed = videos(groups=4)
    fold, taken = split(listed), features(listed, 1)
    for name, value in (("label", 0), ("group", "g1")):
        train = tuple(video for video in fold.train if getattr(video, name) == value)
        with pytest.raises(InputError, match=f"have 1 {name}s"):
            svm.train_and_score(taken, replace(fold, train=train))
    with pytest.raises(InputError, match="no test videos"):
        svm.train_and_score(taken, replace(fold, test=()))


@pytest.mark.parametrize("grid", [[], [0.0], [-1.0], [float("nan")], [float("inf"), 1.0]])
def test_a_c_that_is_none_is_refused(grid: list[float]) -> None:
    listed = videos(groups=4)
    with pytest.raises(InputError, match="values of C"):
        svm.train_and_score(features(listed, 1), split(listed), grid)
    with pytest.raises(InputError, match="1 inner folds"):
        svm.train_and_score(features(listed, 1), split(listed), inner_folds=1)


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder with features/rgb, features/flow and the list of their videos."""
    listed = videos(groups=5)
    rows = [f"{video.id}.avi,{CLASSES[video.label]},{video.group}" for video in listed]
    (tmp_path / "list.csv").write_text("\n".join(["video,label,group", *rows]))
    for stream, noise in (("rgb", 6.0), ("flow", 1.0)):
        folder = tmp_path / "features" / stream
        feature_folder.claim(folder, replace(META, stream=stream))
        for video, values in zip(listed, features(listed, noise).values, strict=True):
            feature_folder.write(folder, video.id, values, "stored")
    return tmp_path


@pytest.mark.parametrize(
    ("whole", "parts"),
    [("groups", ["group-g0", "group-g4"]), ("folds:2", ["fold-1of2", "fold-2of2"])],
)
def test_all_folds_by_the_command(
    taken: Path, whole: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = taken / "out"
    command = SVM(taken / "features", out, taken / "list.csv", split=whole, resamples=200)
    assert command() == 0
    rgb, flow = (Scores.load(out / stream / "scores.npz") for stream in ("rgb", "flow"))
    assert len(rgb.video_ids) == 30
    assert rgb.source.split == whole
    fused = Scores.load(out / "fused" / "scores.npz")
    assert fused.source.stream == "rgb+flow"
    assert right(fused, videos(5)) >= right(rgb, videos(5))
    assert fuse([rgb, flow], [1, 3]).source.stream == "rgb+flow"
    everyone = Annotations(rgb.source.dataset, whole, CLASSES, (), videos(5))
    assert evaluate(rgb, everyone).video.top1 == pytest.approx(right(rgb, videos(5)))
    for part in parts:
        one = Scores.load(out / part / "rgb" / "scores.npz")
        assert one.source.split == part.replace("-", ":").replace("of", "/")
        rows = [rgb.video_ids.index(video) for video in one.video_ids]
        np.testing.assert_array_equal(one.logits, rgb.logits[rows])
        held_out = Scores.load(out / part / "rgb" / "held_out.npz")
        assert {*held_out.video_ids} == {video.id for video in videos(5)} - {*one.video_ids}
        assert held_out.source == one.source
    choices = json.loads((out / "svm.json").read_text())
    assert (
        len(choices["flow"])
        == len(choices["fused"])
        == len(list(out.glob("*/flow")))
        == (5 if whole == "groups" else 2)
    )
    printed = capsys.readouterr().out
    assert f"rgb        top-1 by video {right(rgb, videos(5)):6.1%}" in printed
    assert "rgb+flow less flow" in printed
    assert Fuse((out,), choose=True, rule="log_probabilities", lists=taken / "list.csv")() == 0
    assert right(Scores.load(out / "fused.npz"), videos(5)) >= right(rgb, videos(5))


def test_one_split_of_one_stream_by_the_command(
    taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = SVM(
        taken / "features", taken / "out", taken / "list.csv", split="group:g1", streams=("flow",)
    )
    assert command() == 0
    scores = Scores.load(taken / "out" / "flow" / "scores.npz")
    assert {name.split("/")[1][0] for name in scores.video_ids} == {"1"}
    assert len(Scores.load(taken / "out" / "flow" / "held_out.npz").video_ids) == 24
    assert not (taken / "out" / "fused").exists()
    assert "one group alone" in capsys.readouterr().out


def test_a_video_without_features_is_named(taken: Path) -> None:
    (taken / "features" / "flow" / "1" / "3_0.npz").unlink()
    command = SVM(taken / "features", taken / "out", taken / "list.csv", split="groups")
    with pytest.raises(InputError, match=r"1 of 30 videos have no features .*'1/3_0' first"):
        command()


def test_videos_without_features_are_left_out_where_that_is_wanted(
    taken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if they were not on the list, whichever stream lacks them."""
    features, whole, part = taken / "features", taken / "list.csv", taken / "part.csv"
    for path in ("rgb/1/3_0.npz", "flow/2/0_1.npz"):
        (features / path).unlink()
    rows = whole.read_text().splitlines()
    left = [row for row in rows if not row.startswith(("1/3_0", "2/0_1"))]
    assert len(left) == len(rows) - 2
    part.write_text("\n".join(left) + "\n")
    for name, lists, allowed in (("out", whole, True), ("expected", part, False)):
        command = SVM(features, taken / name, lists, split="groups", allow_missing=allowed)
        assert command() == 0
    assert "2 listed videos have no features and left out" in capsys.readouterr().out
    assert (taken / "out" / "missing.txt").read_text().split() == ["1/3_0", "2/0_1"]
    found, expected = (
        Scores.load(taken / name / "fused" / "scores.npz") for name in ("out", "expected")
    )
    assert sorted(found.video_ids) == sorted(expected.video_ids)
    assert len(found.video_ids) == 28
    rows_of = [found.video_ids.index(video) for video in expected.video_ids]
    np.testing.assert_array_equal(found.logits[rows_of], expected.logits)
    for path in (features / "rgb").rglob("*.npz"):
        path.unlink()
    command = SVM(features, taken / "out", whole, split="groups", allow_missing=True)
    with pytest.raises(InputError, match="None of the 30 videos"):
        command()


def test_official_splits_that_share_test_videos_are_not_joined(shared: Path) -> None:
    lists = shared / "data" / "hmdb51" / "splits"
    with pytest.raises(InputError, match="hmdb51 share test videos"):
        SVM(Path("features"), Path("out"), lists, dataset="hmdb51", split="all")()
