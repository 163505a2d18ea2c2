"""Accuracies with their intervals, and what the weight of a stream does, as lines to draw.

Convention: the forest has a row of 26 units for each stream, its axis from 84 to 384. A panel of
the weights is 300 x 200 units; x is the share of the second stream, y top-1 by video, the same in
all panels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twostream.fusion_study import Curve, Row, Study
from twostream.report.results import Result

START, END = 84.0, 384.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 290.0, 12.0, 168.0
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Mark:
    """A way to fuse: its kind ("chosen", "equal", "given", "best"), place, and what it is.

    Of several splits it reaches from ``low`` to ``high``, and ``x`` is the mean.
    """

    kind: str
    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and its label."""

    at: float
    text: str


@dataclass(frozen=True)
class Panel:
    """The curves of one rule; ``held_out`` is "" where nothing was held out."""

    rule: str
    test: str
    held_out: str
    marks: tuple[Mark, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True)
class Whisker:
    """Top-1 by video of a stream; ``low`` and ``high`` are the ends of its interval, or None."""

    name: str
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Forest:
    """Top-1 by video of all streams over one axis."""

    whiskers: tuple[Whisker, ...]
    across: tuple[Tick, ...]


def forest(results: Sequence[Result]) -> Forest:
    """The streams one above the other."""
    values = [result.evaluation.video.top1 for result in results]
    ends = [end for result in results if result.interval for end in result.interval]
    low, high, step = _axis(min(values + ends), max(values + ends))

    def at(value: float) -> float:
        return START + (value - low) / (high - low) * (END - START)

    whiskers = []
    for result, value in zip(results, values, strict=True):
        reach = map(at, result.interval) if result.interval else (None, None)
        whiskers.append(Whisker(result.name, at(value), *reach))
    ticks = tuple(Tick(at(value), _percent(value)) for value in _steps(low, high, step))
    return Forest(tuple(whiskers), ticks)


def panels(study: Study) -> tuple[Panel, ...]:
    """A panel for each rule."""
    values = [value for curve in study.curves for value in (*curve.test, *curve.held_out)]
    values += [row.top1 for row in study.rows if row.shares]
    if not values:
        return ()
    low, high, step = _axis(min(values), max(values))
    up = tuple(Tick(_y(v, low, high), _percent(v)) for v in _steps(low, high, step))
    across = tuple(Tick(_x(share), f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1))
    return tuple(
        Panel(
            curve.rule,
            _line(curve, curve.test, low, high),
            _line(curve, curve.held_out, low, high),
            tuple(_mark(row, low, high) for row in study.rows if _belongs(row, curve)),
            across,
            up,
        )
        for curve in study.curves
    )


def _axis(lowest: float, highest: float) -> tuple[float, float, float]:
    """Round ends and a step of which at most six fit between them."""
    for step in STEPS:
        low = math.floor(lowest / step + 1e-9) * step
        high = math.ceil(highest / step - 1e-9) * step
        if high <= low:  # a level line: room on the side where there can be values
            low, high = (low - step, high) if high > 0.5 else (low, high + step)
        if (high - low) / step <= 6 + 1e-9:
            break
    return low, high, step


def _steps(low: float, high: float, step: float) -> list[float]:
    return [low + k * step for k in range(round((high - low) / step) + 1)]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _belongs(row: Row, curve: Curve) -> bool:
    return row.rule == curve.rule and bool(row.shares)


def _mark(row: Row, low: float, high: float) -> Mark:
    mean = sum(row.shares) / len(row.shares)
    text = f"{row.name}: {100 * row.top1:.1f} % at {mean:.2f}"
    if not row.reportable:
        text += ", not to be reported"
    return Mark(
        row.name.split(",")[0].split(" ")[0],
        _x(mean),
        _y(row.top1, low, high),
        _x(min(row.shares)),
        _x(max(row.shares)),
        text,
    )


def _line(curve: Curve, values: tuple[float, ...], low: float, high: float) -> str:
    """The ``points`` of a polyline."""
    pairs = zip(curve.shares, values, strict=False)
    return " ".join(f"{_x(share):.1f},{_y(value, low, high):.1f}" for share, value in pairs)


def _x(share: float) -> float:
    return LEFT + share * (RIGHT - LEFT)


def _y(value: float, low: float, high: float) -> float:
    return BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP)
