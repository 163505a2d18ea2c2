"""The report: one HTML page that works offline, and its figures as CSV."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from flow.errors import InputError
from flow.files import write_atomically
from twostream.evaluation import Evaluation

ROWS = [
    ("video.top1", "top-1 by video"),
    ("video.top5", "top-5 by video"),
    ("video.mean_class", "mean-class by video"),
    ("clip.top1", "top-1 by clip"),
    ("clip.top5", "top-5 by clip"),
    ("clip.mean_class", "mean-class by clip"),
]


def summary(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Six accuracies (rows) of each stream (columns), from 0 to 1."""
    return pd.DataFrame(
        {
            evaluation.stream: [_accuracy(evaluation, name) for name, _ in ROWS]
            for evaluation in evaluations
        },
        index=[title for _, title in ROWS],
    )


def text_summary(evaluations: Sequence[Evaluation]) -> str:
    """The summary as lines of text, in percent."""
    table = summary(evaluations)
    return table.map(lambda share: f"{share:.1%}").to_string()


def write_report(
    folder: Path, evaluations: Sequence[Evaluation], title: str, protocol: str
) -> Path:
    """Write ``index.html``, ``summary.csv``, ``classes.csv`` and ``videos.csv`` in ``folder``.

    The confusion matrix is that of the last evaluation, the fused one where there is one.

    Returns:
        The path of the page.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(
            f"{folder} cannot be made ({problem.strerror}); give another folder for the report."
        ) from None
    tables = {
        "summary.csv": summary(evaluations),
        "classes.csv": _classes(evaluations),
        "videos.csv": _videos(evaluations),
    }
    for name, table in tables.items():
        write_atomically(folder / name, table.to_csv(float_format="%.6g").encode())
    page = folder / "index.html"
    write_atomically(page, _page(evaluations, title, protocol).encode())
    return page


@dataclass(frozen=True)
class _Cell:
    """A square of the confusion matrix: videos of class ``row`` that were taken for ``column``."""

    row: int
    column: int
    videos: int
    share: float


def _page(evaluations: Sequence[Evaluation], title: str, protocol: str) -> str:
    last = evaluations[-1]
    environment = Environment(
        loader=PackageLoader("twostream", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=title,
        protocol=protocol,
        videos=len(last.video_ids),
        streams=[evaluation.stream for evaluation in evaluations],
        summary=[(name, list(row)) for name, row in summary(evaluations).iterrows()],
        best=summary(evaluations).max(axis=1).tolist(),
        classes=_class_bars(evaluations),
        confused=_most_confused(last),
        cells=[asdict(cell) for cell in _cells(last)],
        names=last.classes,
    )


def _accuracy(evaluation: Evaluation, name: str) -> float:
    unit, measure = name.split(".")
    return float(getattr(getattr(evaluation, unit), measure))


def _classes(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    first = evaluations[0]
    columns = {"videos": first.confusion.sum(axis=1)}
    columns |= {evaluation.stream: evaluation.class_accuracy for evaluation in evaluations}
    return pd.DataFrame(columns, index=pd.Index(first.classes, name="class"))


def _videos(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    first = evaluations[0]
    names = np.array(first.classes)
    columns = {"class": pd.Series(names[first.labels], index=list(first.video_ids))}
    for evaluation in evaluations:
        # Joined by id, whatever the order of each stream's videos.
        columns[evaluation.stream] = pd.Series(
            names[evaluation.predictions], index=list(evaluation.video_ids)
        )
    return pd.DataFrame(columns).rename_axis("video")


def _class_bars(evaluations: Sequence[Evaluation]) -> list[dict[str, object]]:
    """The classes that have videos, each with a share a stream."""
    table = _classes(evaluations)
    streams = [evaluation.stream for evaluation in evaluations]
    return [
        {"name": name, "videos": int(row["videos"]), "shares": [float(row[s]) for s in streams]}
        for name, row in table.iterrows()
        if row["videos"] > 0
    ]


def _cells(evaluation: Evaluation) -> list[_Cell]:
    totals = evaluation.confusion.sum(axis=1)
    return [
        _Cell(
            int(i), int(j), int(evaluation.confusion[i, j]), evaluation.confusion[i, j] / totals[i]
        )
        for i, j in zip(*np.nonzero(evaluation.confusion), strict=True)
    ]


def _most_confused(evaluation: Evaluation, most: int = 10) -> list[dict[str, object]]:
    wrong = [cell for cell in _cells(evaluation) if cell.row != cell.column]
    wrong.sort(key=lambda cell: (-cell.videos, -cell.share, cell.row, cell.column))
    names = evaluation.classes
    return [
        {
            "true": names[cell.row],
            "predicted": names[cell.column],
            "videos": cell.videos,
            "share": cell.share,
        }
        for cell in wrong[:most]
    ]
