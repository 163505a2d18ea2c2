"""The report: one HTML page that works offline, and its tables as CSV, Markdown and LaTeX."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from flow.errors import InputError
from flow.files import make_writable, write_atomically
from twostream.fusion_study import Study
from twostream.report.confusion import matrix
from twostream.report.curves import forest, panels
from twostream.report.results import Difference, Result, better_stream, differences
from twostream.report.table import (
    Cell,
    Gain,
    Share,
    Table,
    percent_interval,
    points,
    points_interval,
    raw,
    shown,
    to_csv,
    to_latex,
    to_markdown,
)
from twostream.report.tables import (
    class_table,
    comparison_table,
    confused_table,
    confusion_table,
    fusion_table,
    split_mean_table,
    split_table,
    summary_table,
    video_table,
    worst_table,
)
from twostream.report.worst import worst_videos

if TYPE_CHECKING:
    from twostream.report.strips import Strip

PAGE = "index.html"
FORMS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
}
TABLES = (
    *("summary", "comparisons", "fusion", "classes", "confused", "confusion", "worst", "videos"),
    *("splits", "means"),
)
ONE_GROUP = "One group alone: its videos are not independent, and no interval can be told"


@dataclass(frozen=True)
class Report:
    """What a page tells.

    Attributes:
        title: Of the page.
        results: Of each stream on one list of videos, the fused one last; none of official splits,
            which test videos more than once.
        study: Of the fusion that the last scores are.
        strips: Pictures of the worst videos by their ids, or why there are none.
        splits: The results of each split by its name; none of one split alone.
        pages: The page of each split, relative to this one.
    """

    title: str
    results: tuple[Result, ...]
    study: Study | None = None
    strips: "Mapping[str, Strip | str]" = field(default_factory=dict)
    splits: Mapping[str, tuple[Result, ...]] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.results and not self.splits:
            raise InputError("There is nothing to report; give score files.")
        names = {tuple(result.name for result in each) for each in self.splits.values()}
        if len(names) > 1:
            one, two = sorted(names)[:2]
            raise InputError(
                f"One split has scores of {', '.join(one)}, another of {', '.join(two)}; "
                "give the same streams of each split, in the same order."
            )


def write_report(folder: Path, report: Report) -> Path:
    """Write ``index.html`` and each of its tables as .csv, .md and .tex in ``folder``.

    Returns:
        The path of the page.

    Raises:
        InputError: A folder that cannot be written.
    """
    make_writable(folder)
    tables = _tables(report)
    for name in TABLES:
        for suffix, form in FORMS.items():
            path = folder / f"{name}.{suffix}"
            if name in tables:
                write_atomically(path, form(tables[name]).encode())
            else:  # of another report that was here before
                path.unlink(missing_ok=True)
    page = folder / PAGE
    write_atomically(page, _page(report, tables).encode())
    return page


def text_summary(results: Sequence[Result]) -> str:
    """Accuracies, their intervals and comparisons as lines of text, in percent."""
    lines = [_text(summary_table(results)), _intervals(results)]
    return "\n".join([*lines, *map(_in_words, differences(results))])


def text_splits(splits: Mapping[str, Sequence[Result]]) -> str:
    """Top-1 of each split, and mean and standard deviation of every measure, in percent."""
    tables = _text(split_table(splits)), _text(split_mean_table(splits))
    return "\n\n".join(tables)


def _tables(report: Report) -> dict[str, Table]:
    tables = []
    if report.splits:
        tables += [split_table(report.splits), split_mean_table(report.splits)]
    if report.study is not None:
        tables.append(fusion_table(report.study))
    if report.results:
        last = report.results[-1].evaluation
        tables += [summary_table(report.results), class_table(report.results)]
        tables += [confusion_table(last), video_table(report.results)]
        compared = comparison_table(differences(report.results))
        worst = worst_table(worst_videos(report.results))
        tables += [each for each in (compared, confused_table(last), worst) if each.rows]
    return {table.name: table for table in tables}


def _page(report: Report, tables: Mapping[str, Table]) -> str:
    environment = Environment(
        loader=PackageLoader("twostream", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "raw": raw}
    environment.tests["gain"] = lambda cell: isinstance(cell, Gain)
    details: dict[str, Any] = {}
    if report.results:
        last = report.results[-1]
        details = {
            "last": last.name,
            "better": better_stream(report.results),
            "matrix": matrix(last.evaluation),
            "worst": worst_videos(report.results),
            "wrong": int((~last.right).sum()),
            "has_intervals": any(result.interval for result in report.results),
            "intervals": _intervals(report.results),
            "forest": forest(report.results),
        }
    return environment.get_template("report.html").render(
        report=report,
        results=report.results,
        about=_about(report),
        tables=tables,
        study=report.study,
        panels=panels(report.study) if report.study else (),
        **details,
    )


def _about(report: Report) -> str:
    """The line under the title."""
    results = report.results or next(iter(report.splits.values()))
    source = results[-1].scores.source
    parts = [source.protocol, f"flow: {source.flow}" if source.flow else ""]
    if report.results:
        videos, groups = len(results[-1].scores.video_ids), _groups(results[-1])
        parts = [f"{_count(videos, 'test video')} in {_count(groups, 'group')}", *parts]
    return " · ".join(filter(None, parts))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _groups(result: Result) -> int:
    return len(set(result.groups.tolist()))


def _intervals(results: Sequence[Result]) -> str:
    groups = _groups(results[-1])
    if groups < 2:
        return ONE_GROUP
    known = ", ".join(
        f"{result.name} {percent_interval(result.interval)}"
        for result in results
        if result.interval
    )
    return f"95 % intervals of top-1 by video, over {groups:,} groups: {known}"


def _in_words(found: Difference) -> str:
    """A comparison as a sentence."""
    interval = "" if found.interval is None else f" ({points_interval(found.interval)})"
    return (
        f"{found.first} less {found.second}: {points(found.difference)} points{interval}, alone "
        f"right on {found.only_first:,} of {found.videos:,} videos against {found.only_second:,}, "
        f"McNemar's p {found.p:.2g}"
    )


def _text(table: Table) -> str:
    """The table in columns, without its intervals."""
    head, *names = table.columns
    rows = {str(row[0]): map(_plain, row[1:]) for row in table.all_rows}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    return frame.rename_axis(columns=head or None).to_string()


def _plain(cell: Cell) -> str:
    if not isinstance(cell, Share) or math.isnan(cell.value):
        return shown(cell)
    return f"{cell.value:.1%}" + ("" if cell.deviation is None else f" ± {cell.deviation:.1%}")
