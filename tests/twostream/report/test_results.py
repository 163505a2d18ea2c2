"""The figures of a report: oracles (scikit-learn, SciPy, plain loops) on random and odd scores."""

from collections import Counter

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
)

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.report import text_summary
from twostream.report.results import Result, better_stream, differences, judge
from twostream.report.table import Gain, Number, Share
from twostream.report.tables import (
    CALIBRATION,
    class_table,
    comparison_table,
    confused_table,
    confusion_table,
    split_mean_table,
    split_table,
    summary_table,
    video_table,
)
from twostream.report.worst import worst_videos
from twostream.scores import Scores, Source
from twostream.statistics import bootstrap_accuracy, compare

STREAMS = ("rgb", "flow", "rgb+flow")


def make(
    seed: int = 0, videos: int = 60, classes: int = 8, groups: int = 12, used: int = 7
) -> tuple[Annotations, list[Scores]]:
    """Three streams that know something, each in an order of its own; the last classes are empty.

    The logits are whole numbers, so that many are equal.
    """
    rng = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(classes))
    test = tuple(
        Video(f"v{k}", int(rng.integers(used)), f"g{rng.integers(groups)}") for k in range(videos)
    )
    lists = Annotations("mine", "column", names, (), test)
    streams = []
    for stream in STREAMS:
        order = rng.permutation(videos)
        clips = rng.integers(-3, 4, (videos, 2, classes)).astype(np.float32)
        clips[np.arange(videos), :, [test[k].label for k in order]] += 2
        source = Source("mine", "column", stream, "p", stream, "s")
        ids = tuple(test[k].id for k in order)
        streams.append(Scores(ids, names, clips.mean(axis=1), clips, source))
    return lists, streams


def labels(lists: Annotations, scores: Scores) -> np.ndarray:
    label = {video.id: video.label for video in lists.test}
    return np.array([label[video] for video in scores.video_ids])


def rank(logits: np.ndarray, label: int) -> int:
    """How many classes are better; of equal ones those that come first."""
    return int((logits > logits[label]).sum() + (logits[:label] == logits[label]).sum())


@pytest.mark.parametrize("seed", range(3))
def test_the_summary_against_scikit_learn(seed: int) -> None:
    lists, streams = make(seed)
    table = summary_table(judge(streams, lists))
    cells = {str(row[0]): row[1:] for row in table.rows}
    for number, scores in enumerate(streams):
        true, clips = labels(lists, scores), scores.clip_logits.reshape(-1, 8)
        wanted = {}
        for unit, y, logits in (
            ("video", true, scores.logits),
            ("clip", np.repeat(true, 2), clips),
        ):
            best = logits.argmax(axis=1)
            wanted[f"top-1 by {unit}"] = accuracy_score(y, best)
            wanted[f"top-5 by {unit}"] = np.mean(
                [rank(*each) < 5 for each in zip(logits, y, strict=True)]
            )
            recalls = [float(np.mean(best[y == k] == k)) for k in set(y.tolist())]
            wanted[f"mean-class by {unit}"] = float(np.mean(recalls))
        for name, value in wanted.items():
            cell = cells[name][number]
            assert isinstance(cell, Share)
            assert cell.value == pytest.approx(value, abs=1e-12), name


def test_the_mean_over_classes_against_scikit_learn_where_none_is_empty() -> None:
    lists, streams = make(1, videos=200, used=8)
    (result, *_) = judge(streams, lists)
    wanted = balanced_accuracy_score(labels(lists, streams[0]), streams[0].logits.argmax(axis=1))
    assert result.evaluation.video.mean_class == pytest.approx(wanted)


def test_the_calibration_error_against_a_plain_loop() -> None:
    lists, streams = make(2)
    cells = {str(row[0]): row[1:] for row in summary_table(judge(streams, lists)).rows}
    for cell, scores in zip(cells[CALIBRATION], streams, strict=True):
        probabilities = softmax(scores.logits.astype(np.float64), axis=1)
        bins: dict[int, list[tuple[float, bool]]] = {}
        for row, true in zip(probabilities, labels(lists, scores), strict=True):
            place = next(m for m in range(15) if row.max() <= (m + 1) / 15)
            bins.setdefault(place, []).append((row.max(), row.argmax() == true))
        gaps = [abs(sum(r for _, r in held) - sum(c for c, _ in held)) for held in bins.values()]
        assert isinstance(cell, Share)
        assert cell.value == pytest.approx(sum(gaps) / len(probabilities))


def test_intervals_are_those_of_the_bootstrap_over_groups() -> None:
    lists, streams = make(3)
    group = {video.id: video.group for video in lists.test}
    for result in judge(streams, lists):
        right = labels(lists, result.scores) == result.scores.logits.argmax(axis=1)
        groups = [group[video] for video in result.scores.video_ids]
        assert result.interval == bootstrap_accuracy(right, groups)
        assert summary_table([result]).rows[0][1] == Share(float(right.mean()), result.interval)


def test_comparisons_are_those_of_the_statistics_and_of_scipy() -> None:
    lists, streams = make(4)
    videos = {video.id: video for video in lists.test}
    found = differences(judge(streams, lists))
    assert [each.second for each in found] == ["rgb", "flow"]
    for each, other in zip(found, streams, strict=False):
        wanted = compare(streams[-1], other, videos)
        assert each.difference == pytest.approx(wanted.difference)
        assert each.interval == wanted.interval
        assert (each.only_first, each.only_second) == (wanted.only_first, wanted.only_second)
        alone = each.only_first + each.only_second
        assert each.p == pytest.approx(binomtest(each.only_first, alone).pvalue)
        assert each.difference == pytest.approx((each.only_first - each.only_second) / 60)
    row = comparison_table(found).rows[0]
    assert row[1] == Gain(found[0].difference, found[0].interval)
    assert row[4] == Number(found[0].p)


def test_streams_are_compared_on_the_videos_that_both_have() -> None:
    lists, (first, _, last) = make(5)
    keep = [k for k in range(60) if k % 3]
    some = Scores(
        tuple(first.video_ids[k] for k in keep),
        first.classes,
        first.logits[keep],
        first.clip_logits[keep],
        first.source,
    )
    (found,) = differences(judge([some, last], lists, allow_missing=True))
    best = {
        scores.source.stream: dict(
            zip(scores.video_ids, scores.logits.argmax(axis=1).tolist(), strict=True)
        )
        for scores in (some, last)
    }
    label = {video.id: video.label for video in lists.test}
    pairs = [(best["rgb+flow"][v] == label[v], best["rgb"][v] == label[v]) for v in some.video_ids]
    assert found.videos == 40
    assert found.difference == pytest.approx(sum(int(a) - int(b) for a, b in pairs) / 40)
    assert found.only_first == sum(a and not b for a, b in pairs)


def test_classes_and_gains_against_plain_counting() -> None:
    lists, streams = make(6)
    results = judge(streams, lists)
    better = better_stream(results)
    assert better is not None
    assert better.evaluation.video.top1 == max(r.evaluation.video.top1 for r in results[:2])
    table = class_table(results)
    assert table.columns[-1] == f"rgb+flow less {better.name}"
    for k, row in enumerate(table.rows):
        shares = []
        for scores in streams:
            rows = labels(lists, scores) == k
            shares.append(float((scores.logits[rows].argmax(axis=1) == k).mean()) if k < 7 else 0)
        assert row[1] == sum(video.label == k for video in lists.test)
        if k == 7:  # without a video
            assert all(isinstance(cell, Share) and np.isnan(cell.value) for cell in row[2:5])
            continue
        assert [cell.value for cell in row[2:5] if isinstance(cell, Share)] == pytest.approx(shares)
        base = shares[STREAMS.index(better.name)]
        assert isinstance(row[5], Gain)
        assert row[5].value == pytest.approx(shares[2] - base)


def test_confusions_against_scikit_learn_and_plain_counting() -> None:
    lists, streams = make(7)
    evaluation = judge(streams, lists)[-1].evaluation
    true, best = labels(lists, streams[-1]), streams[-1].logits.argmax(axis=1)
    counts = [list(row[1:]) for row in confusion_table(evaluation).rows]
    assert counts == confusion_matrix(true, best, labels=range(8)).tolist()
    pairs = Counter((t, p) for t, p in zip(true.tolist(), best.tolist(), strict=True) if t != p)
    rows = confused_table(evaluation).rows
    assert [row[2] for row in rows] == sorted(pairs.values(), reverse=True)[:20]
    for name, other, videos, share, back in rows:
        i, j = evaluation.classes.index(str(name)), evaluation.classes.index(str(other))
        assert videos == pairs[i, j]
        assert share == Share(pairs[i, j] / int((true == i).sum()))
        assert back == pairs[j, i]


def test_every_video_is_told_with_what_each_stream_says() -> None:
    lists, streams = make(8)
    results = judge(streams, lists)
    table = video_table(results)
    by_id = {video.id: video for video in lists.test}
    assert [row[0] for row in table.rows] == list(streams[-1].video_ids)
    for row in table.rows:
        video = by_id[str(row[0])]
        assert (row[1], row[2]) == (f"class {video.label}", video.group)
        for number, scores in enumerate(streams):
            logits = scores.logits[scores.video_ids.index(video.id)].astype(np.float64)
            assert row[3 + 2 * number] == f"class {logits.argmax()}"
            cell = row[4 + 2 * number]
            assert isinstance(cell, Share)
            assert cell.value == pytest.approx(softmax(logits).max())


def test_the_worst_videos_are_the_surest_wrong_ones() -> None:
    lists, streams = make(9)
    found = worst_videos(judge(streams, lists))
    label = {video.id: video.label for video in lists.test}
    last = streams[-1]
    wrong = []
    for video, logits in zip(last.video_ids, last.logits.astype(np.float64), strict=True):
        if logits.argmax() != label[video]:
            wrong.append((float(softmax(logits).max()), video))
    assert [each.confidence for each in found] == pytest.approx(
        sorted((sure for sure, _ in wrong), reverse=True)[:12]
    )
    for each in found:
        assert (each.confidence, each.video) in [
            (pytest.approx(sure), video) for sure, video in wrong
        ]
        assert each.true == f"class {label[each.video]}"
        for stream, guesses in each.guesses.items():
            scores = streams[STREAMS.index(stream)]
            logits = scores.logits[scores.video_ids.index(each.video)].astype(np.float64)
            shares = softmax(logits)
            assert [g.probability for g in guesses] == pytest.approx(sorted(shares)[::-1][:5])
            for guess in guesses:
                k = int(guess.name.removeprefix("class "))
                assert guess.probability == pytest.approx(shares[k])
                assert guess.true == (k == label[each.video])


@pytest.mark.parametrize(
    ("videos", "classes", "groups", "used"), [(1, 2, 1, 1), (5, 1, 2, 1), (4, 3, 1, 2)]
)
def test_one_video_one_class_and_one_group(
    videos: int, classes: int, groups: int, used: int
) -> None:
    lists, streams = make(10, videos, classes, groups, used)
    results = judge(streams, lists)
    several = len({video.group for video in lists.test}) > 1
    for result in results:
        assert (result.interval is not None) == several
    for each in differences(results):
        assert (each.interval is not None) == several
    text = text_summary(results)
    assert ("One group alone" in text) == (not several)
    assert "nan" not in text.lower()


def test_streams_of_one_name_are_counted() -> None:
    lists, streams = make(11)
    names = [result.name for result in judge([streams[0], streams[0], streams[1]], lists)]
    assert names == ["rgb", "rgb 2", "flow"]


def test_scores_without_a_video_in_common_are_refused() -> None:
    lists, (first, _, last) = make(12)
    parts = []
    for scores, side in ((first, 0), (last, 1)):
        keep = [k for k, v in enumerate(scores.video_ids) if int(v[1:]) % 2 == side]
        ids = tuple(scores.video_ids[k] for k in keep)
        parts.append(
            Scores(
                ids, scores.classes, scores.logits[keep], scores.clip_logits[keep], scores.source
            )
        )
    with pytest.raises(InputError, match="no video in common"):
        differences(judge(parts, lists, allow_missing=True))


def splits() -> dict[str, tuple[Result, ...]]:
    found = {}
    for number in range(3):
        lists, streams = make(20 + number)
        found[str(number + 1)] = judge(streams, lists)
    return found


def test_mean_and_deviation_over_the_splits_against_numpy() -> None:
    found = splits()
    top1 = np.array(
        [[result.evaluation.video.top1 for result in results] for results in found.values()]
    )
    table = split_table(found)
    assert [row[0] for row in table.rows] == ["split 1", "split 2", "split 3"]
    mean, deviation = ([cell.value for cell in row[1:]] for row in table.foot)
    assert mean == pytest.approx(top1.mean(axis=0))
    assert deviation == pytest.approx(top1.std(axis=0, ddof=1))
    first = split_mean_table(found).rows[0]
    for number, cell in enumerate(first[1:]):
        assert isinstance(cell, Share)
        assert cell.value == pytest.approx(mean[number])
        assert cell.deviation == pytest.approx(deviation[number])
