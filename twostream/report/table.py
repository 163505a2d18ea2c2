"""A table as CSV, Markdown and LaTeX."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

NONE = "-"
EDGES = "low", "high"

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
} | {sign: f"\\{sign}" for sign in "{}$&#_%"}


@dataclass(frozen=True)
class Share:
    """A share from 0 to 1, shown in percent, maybe with its interval or standard deviation."""

    value: float
    interval: tuple[float, float] | None = None
    deviation: float | None = None

    def __str__(self) -> str:
        shown = f"{100 * self.value:.1f} %"
        if self.interval is not None:
            shown += f" ({percent_interval(self.interval)})"
        if self.deviation is not None:
            shown += f" ± {100 * self.deviation:.1f}"
        return shown

    @property
    def beside(self) -> dict[str, float]:
        """What is told beside the value, by its name."""
        edges = {} if self.interval is None else dict(zip(EDGES, self.interval, strict=True))
        return edges | ({} if self.deviation is None else {"deviation": self.deviation})


@dataclass(frozen=True)
class Gain:
    """A difference of two shares, from -1 to 1, shown in points, maybe with its interval."""

    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        shown = points(self.value)
        return shown if self.interval is None else f"{shown} ({points_interval(self.interval)})"

    @property
    def beside(self) -> dict[str, float]:
        """As of a share."""
        return {} if self.interval is None else dict(zip(EDGES, self.interval, strict=True))


@dataclass(frozen=True)
class Number:
    """Any other number, shown with two digits."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:.2g}"


Measured = Share | Gain | Number
Cell = str | int | Measured | None
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table whose file names begin with ``name``.

    Attributes:
        name: Such as "summary".
        columns: Their heads.
        rows: A cell for each column; None is shown as a dash.
        foot: More rows, which stay at the end however the others are sorted.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    foot: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        for row in self.all_rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {self.name} has {len(row)} cells: {row}")

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows and the foot."""
        return self.rows + self.foot

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, which stand at its left."""
        return any(isinstance(row[column], str) for row in self.all_rows)


def to_csv(table: Table) -> str:
    """The table with shares from 0 to 1.

    What is told beside some values of a column, as an interval or a deviation, has columns of its
    own: NAME low, NAME high, NAME deviation.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = range(len(table.columns))
    # Ordered, and each once.
    beside = [
        list(dict.fromkeys(n for row in table.all_rows for n in _beside(row[c]))) for c in columns
    ]
    heads = zip(table.columns, beside, strict=True)
    writer.writerow(
        [part for head, names in heads for part in (head, *(f"{head} {n}" for n in names))]
    )
    for row in table.all_rows:
        writer.writerow(
            [part for cell, names in zip(row, beside, strict=True) for part in _values(cell, names)]
        )
    return file.getvalue()


def to_markdown(table: Table) -> str:
    """The table as GitHub shows it, what is Markdown in a name escaped."""
    rules = ["---" if table.is_text(c) else "---:" for c in range(len(table.columns))]
    head = [_markdown(name) or " " for name in table.columns]
    body = [[_markdown(shown(cell)) for cell in row] for row in table.all_rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rules, *body))


def to_latex(table: Table) -> str:
    """The table as a ``tabular`` that needs no package."""
    places = "".join("l" if table.is_text(c) else "r" for c in range(len(table.columns)))
    lines = [rf"\begin{{tabular}}{{{places}}}", r"\hline", _latex_row(table.columns), r"\hline"]
    lines += [_latex_row([shown(cell) for cell in row]) for row in table.rows]
    if table.foot:
        lines += [r"\hline", *(_latex_row([shown(cell) for cell in row]) for row in table.foot)]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def shown(cell: Cell) -> str:
    """A cell as people read it."""
    if cell is None or (isinstance(cell, Measured) and math.isnan(cell.value)):
        return NONE
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def raw(cell: Cell) -> str:
    """A cell as programs read it: "" where there is none."""
    if cell is None or (isinstance(cell, Measured) and math.isnan(cell.value)):
        return ""
    return f"{cell.value:.6g}" if isinstance(cell, Measured) else str(cell)


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def percent_interval(interval: tuple[float, float]) -> str:
    """An interval of a share in percent; one without width is no sign of certainty."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}" if low < high else "no spread"


def points_interval(interval: tuple[float, float]) -> str:
    """An interval of a difference of shares in points."""
    low, high = interval
    return f"{points(low)} to {points(high)}" if low < high else "no spread"


def _beside(cell: Cell) -> dict[str, float]:
    return cell.beside if isinstance(cell, Share | Gain) else {}


def _values(cell: Cell, names: Sequence[str]) -> list[str]:
    """A cell, and what is told beside it under these names."""
    found = _beside(cell)
    return [raw(cell), *(f"{found[name]:.6g}" if name in found else "" for name in names)]


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|~&$#!])", r"\\\1", _one_line(text))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_latex(cell) for cell in cells) + r" \\"


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(sign, sign) for sign in _one_line(text))
    # A bracket at the beginning of a row would be taken for an option of the line break before it.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def _one_line(text: str) -> str:
    return " ".join(text.split())
