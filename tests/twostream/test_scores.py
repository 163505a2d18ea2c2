"""Score files: round trip, laws of the softmax (property), and files that are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax as scipy_softmax

from flow.errors import InputError
from twostream.scores import Scores, Source, join, log_of_mean, softmax

SOURCE = Source("ucf101", "1", "rgb", "3 even clips", "c" * 64, "s" * 64)


def make(ids: tuple[str, ...] = ("a/1", 'b/ü, "2"'), clips: int = 3, classes: int = 4) -> Scores:
    rng = np.random.default_rng(0)
    clip_logits = rng.normal(size=(len(ids), clips, classes)).astype(np.float32)
    names = tuple(f"class {k}" for k in range(classes))
    return Scores(ids, names, clip_logits.mean(axis=1), clip_logits, SOURCE)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    scores = make()
    scores.save(tmp_path / "new" / "scores.npz")
    loaded = Scores.load(tmp_path / "new" / "scores.npz")
    assert loaded.video_ids == scores.video_ids
    assert loaded.classes == scores.classes
    assert loaded.source == SOURCE
    np.testing.assert_array_equal(loaded.logits, scores.logits)
    np.testing.assert_array_equal(loaded.clip_logits, scores.clip_logits)


def test_the_encoding_of_the_flow_is_kept_and_older_files_do_not_tell_it(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    scores = replace(make(), source=replace(SOURCE, flow="bound 20, centred codes"))
    scores.save(path)
    assert Scores.load(path).source == scores.source
    with np.load(path) as data:
        values = dict(data)
    meta = json.loads(str(values["meta"]))
    del meta["flow"]
    np.savez(path, **values | {"meta": np.array(json.dumps(meta))})
    assert Scores.load(path).source == SOURCE


def test_a_score_file_holds_no_pickle(tmp_path: Path) -> None:
    make().save(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as data:
        assert {"video_ids", "classes", "logits", "meta"} <= set(data.files)
        for name in data.files:
            assert data[name].dtype != object


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz is not there"):
        Scores.load(tmp_path / "none.npz")


@pytest.mark.parametrize("damage", ["text", "cut", "pickle", "no meta"])
def test_a_file_that_is_no_score_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scores.npz"
    make().save(path)
    if damage == "text":
        path.write_text("not a zip")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "pickle":
        np.savez(path, video_ids=np.array([{"a": 1}], dtype=object))
    else:
        np.savez(path, video_ids=np.array(["a"]))
    with pytest.raises(InputError, match=r"scores\.npz is no score file"):
        Scores.load(path)


def test_logits_that_are_not_finite_are_refused() -> None:
    bad = np.array([[np.nan, 1], [0, 1]], np.float32)
    with pytest.raises(InputError, match="NaN or infinity"):
        Scores(("a", "b"), ("x", "y"), bad, np.zeros((2, 1, 2), np.float32), SOURCE)


def test_shapes_that_do_not_fit_and_videos_twice_are_refused() -> None:
    clips = np.zeros((2, 1, 2), np.float32)
    with pytest.raises(InputError, match="logits have shape"):
        Scores(("a", "b"), ("x", "y"), np.zeros((2, 3), np.float32), clips, SOURCE)
    with pytest.raises(InputError, match="scored twice"):
        Scores(("a", "a"), ("x", "y"), np.zeros((2, 2), np.float32), clips, SOURCE)


FINITE = arrays(np.float32, (3, 5), elements=st.floats(-500, 500, width=32))


@given(FINITE)
def test_softmax_is_that_of_scipy(logits: np.ndarray) -> None:
    np.testing.assert_allclose(
        softmax(logits), scipy_softmax(logits.astype(np.float64), axis=-1), rtol=1e-12, atol=0
    )


@given(FINITE)
def test_log_of_mean_has_the_mean_as_its_softmax(logits: np.ndarray) -> None:
    probabilities = softmax(logits)
    weights = np.array([1.0, 2.0, 0.5])
    mean = (weights[:, None] * probabilities).sum(axis=0) / weights.sum()
    got = softmax(log_of_mean(probabilities, weights))
    np.testing.assert_allclose(got, mean, rtol=1e-4, atol=1e-30)


def fold(split: str, ids: tuple[str, ...], **source: str) -> Scores:
    made = make(ids)
    return replace(made, source=replace(SOURCE, split=split, **source))


def test_folds_are_joined_as_they_are() -> None:
    folds = [fold("fold:1/2", ("a", "b"), checkpoint="1"), fold("fold:2/2", ("c",), checkpoint="2")]
    joined = join(folds, "folds:2")
    assert joined.video_ids == ("a", "b", "c")
    np.testing.assert_array_equal(joined.logits[2:], folds[1].logits)
    np.testing.assert_array_equal(joined.clip_logits[:2], folds[0].clip_logits)
    assert joined.source.split == "folds:2"
    assert joined.source.store == SOURCE.store
    assert len(joined.source.checkpoint) == 64
    other = join([folds[0], fold("fold:2/2", ("c",), checkpoint="3")], "folds:2")
    assert other.source.checkpoint != joined.source.checkpoint


def test_folds_that_do_not_belong_together_are_refused() -> None:
    one = fold("fold:1/2", ("a",))
    for different in ({"protocol": "other"}, {"stream": "flow"}, {"flow": "bound 15"}):
        other = fold("x", ("b",), **different)
        with pytest.raises(InputError, match="score all folds alike"):
            join([one, other], "folds:2")
    with pytest.raises(InputError, match="score all folds alike"):
        join([one, replace(fold("x", ("b",)), classes=("w", "x", "y", "z"))], "folds:2")
    with pytest.raises(InputError, match="scored twice"):
        join([one, one], "folds:2")
