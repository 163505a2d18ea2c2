"""The tables of a report."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from twostream import fusion_study
from twostream.evaluation import Evaluation
from twostream.fusion_study import Study
from twostream.report.results import Difference, Result, better_stream
from twostream.report.table import Cell, Gain, Number, Row, Share, Table
from twostream.report.worst import Worst
from twostream.statistics import over_splits

MOST_CONFUSED = 20
TOP1, CALIBRATION = "top-1 by video", "calibration error"
MEASURES: dict[str, Callable[[Evaluation], float]] = {
    TOP1: lambda evaluation: evaluation.video.top1,
    "top-5 by video": lambda evaluation: evaluation.video.top5,
    "mean-class by video": lambda evaluation: evaluation.video.mean_class,
    "top-1 by clip": lambda evaluation: evaluation.clip.top1,
    "top-5 by clip": lambda evaluation: evaluation.clip.top5,
    "mean-class by clip": lambda evaluation: evaluation.clip.mean_class,
    CALIBRATION: lambda evaluation: evaluation.calibration_error,
}


def summary_table(results: Sequence[Result]) -> Table:
    """Accuracies (rows) of each stream (columns), and how far confidence is from accuracy."""

    def cell(name: str, result: Result) -> Share:
        value = MEASURES[name](result.evaluation)
        return Share(value, result.interval if name == TOP1 else None)

    rows: list[Row] = [(name, *(cell(name, result) for result in results)) for name in MEASURES]
    return Table("summary", ("", *(result.name for result in results)), tuple(rows))


def comparison_table(differences: Sequence[Difference]) -> Table:
    """The last stream less each other one."""
    columns = ("difference", "points", "right alone", "other right alone", "McNemar's p", "videos")
    rows: list[Row] = [
        (
            f"{each.first} less {each.second}",
            Gain(each.difference, each.interval),
            each.only_first,
            each.only_second,
            Number(each.p),
            each.videos,
        )
        for each in differences
    ]
    return Table("comparisons", columns, tuple(rows))


def class_table(results: Sequence[Result]) -> Table:
    """Accuracy of each class by video, and what the last stream gains over the better other one."""
    counts = results[-1].evaluation.confusion.sum(axis=1)
    shares = [result.evaluation.class_accuracy for result in results]
    better = better_stream(results)
    columns = ["class", "videos", *(result.name for result in results)]
    gains = None
    if better is not None:
        gains = shares[-1] - better.evaluation.class_accuracy
        columns.append(f"{results[-1].name} less {better.name}")
    rows: list[Row] = []
    for k, name in enumerate(results[-1].scores.classes):
        gain = () if gains is None else (Gain(float(gains[k])),)
        rows.append((name, int(counts[k]), *(Share(float(each[k])) for each in shares), *gain))
    return Table("classes", tuple(columns), tuple(rows))


def confused_table(evaluation: Evaluation) -> Table:
    """The classes that are most often taken for another one."""
    confusion, names = evaluation.confusion, evaluation.classes
    totals = confusion.sum(axis=1)
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(confusion), strict=True) if i != j]
    pairs.sort(key=lambda p: (-confusion[p], -confusion[p] / totals[p[0]], p))
    columns = ("class", "taken for", "videos", "of the class", "the other way round")
    rows: list[Row] = [
        (
            names[i],
            names[j],
            int(confusion[i, j]),
            Share(float(confusion[i, j] / totals[i])),
            int(confusion[j, i]),
        )
        for i, j in pairs[:MOST_CONFUSED]
    ]
    return Table("confused", columns, tuple(rows))


def confusion_table(evaluation: Evaluation) -> Table:
    """Videos of the row's class that were taken for the column's."""
    rows: list[Row] = [
        (name, *map(int, counts))
        for name, counts in zip(evaluation.classes, evaluation.confusion, strict=True)
    ]
    return Table("confusion", ("class", *evaluation.classes), tuple(rows))


def video_table(results: Sequence[Result]) -> Table:
    """Each video, in the order of the last stream: what each stream says, and how sure it is."""
    last = results[-1]
    places = [{video: row for row, video in enumerate(r.scores.video_ids)} for r in results]
    sure = [result.probabilities.max(axis=1) for result in results]
    columns = ["video", "class", "group"]
    for result in results:
        columns += [result.name, f"{result.name} confidence"]
    rows: list[Row] = []
    for number, video in enumerate(last.scores.video_ids):
        true = last.scores.classes[last.evaluation.labels[number]]
        cells: list[Cell] = [video, true, str(last.groups[number])]
        for result, place, confidence in zip(results, places, sure, strict=True):
            row = place.get(video)
            cells += (
                [None, None]
                if row is None
                else [
                    result.scores.classes[result.evaluation.predictions[row]],
                    Share(float(confidence[row])),
                ]
            )
        rows.append(tuple(cells))
    return Table("videos", tuple(columns), tuple(rows))


def worst_table(worst: Sequence[Worst]) -> Table:
    """The videos that were taken for a wrong class with the highest confidence."""
    rows: list[Row] = [
        (each.video, each.true, each.taken_for, Share(each.confidence), Share(each.of_true))
        for each in worst
    ]
    columns = ("video", "class", "taken for", "confidence", "probability of its class")
    return Table("worst", columns, tuple(rows))


def fusion_table(study: Study) -> Table:
    """The ways to score the test list that were compared."""
    columns = ["way", TOP1, "temperatures", "may be reported", "is evaluated here"]
    if len(study.streams) == 2:
        columns.insert(2, f"weight of {study.streams[1]}")
    rows: list[Row] = []
    for row in study.rows:
        cells: list[Cell] = [
            row.name,
            Share(row.top1),
            _temperatures(row),
            "yes" if row.reportable else "no: chosen on the test list",
            "yes" if row.name == study.chosen else "",
        ]
        if len(study.streams) == 2:
            cells.insert(2, _range(row.shares))
        rows.append(tuple(cells))
    return Table("fusion", tuple(columns), tuple(rows))


def split_table(splits: Mapping[str, Sequence[Result]]) -> Table:
    """Top-1 by video of each split, their mean, and their standard deviation."""
    names = _streams(splits)
    rows: list[Row] = [
        (f"split {split}", *(Share(r.evaluation.video.top1, r.interval) for r in results))
        for split, results in splits.items()
    ]
    over = [over_splits(_values(splits, TOP1, number)) for number in range(len(names))]
    foot: tuple[Row, ...] = (
        ("mean over the splits", *(Share(each.mean) for each in over)),
        ("standard deviation", *(Share(each.deviation) for each in over)),
    )
    return Table("splits", (TOP1, *names), tuple(rows), foot)


def split_mean_table(splits: Mapping[str, Sequence[Result]]) -> Table:
    """Mean and standard deviation over the splits of every measure."""
    names = _streams(splits)
    rows: list[Row] = []
    for measure in MEASURES:
        over = [over_splits(_values(splits, measure, number)) for number in range(len(names))]
        rows.append((measure, *(Share(each.mean, deviation=each.deviation) for each in over)))
    return Table("means", ("mean over the splits", *names), tuple(rows))


def _streams(splits: Mapping[str, Sequence[Result]]) -> list[str]:
    return [result.name for result in next(iter(splits.values()))]


def _values(splits: Mapping[str, Sequence[Result]], measure: str, number: int) -> list[float]:
    return [MEASURES[measure](results[number].evaluation) for results in splits.values()]


def _temperatures(row: fusion_study.Row) -> str | None:
    """One a stream; of several splits from the lowest to the highest."""
    if not row.temperatures:
        return None
    return ", ".join(_range(each) or "" for each in zip(*row.temperatures, strict=True))


def _range(values: Sequence[float]) -> str | None:
    if not values:
        return None
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"
