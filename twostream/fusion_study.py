"""What the share of a stream does to a fusion: on held-out training videos, and on the test list.

Only what the held-out training videos chose, and what was fixed before, may be reported. The best
share on the test list is there to be seen, marked as not to be reported.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flow.errors import InputError


@dataclass(frozen=True)
class Curve:
    """Top-1 by video, 0 to 1, of two streams over the share of the second one's weight.

    Attributes:
        rule: Of the fusion.
        shares: From 0, the first stream alone, to 1, the second alone.
        held_out: On the held-out training videos, at each share; empty where there are none.
        test: On the test list, at each share.
    """

    rule: str
    shares: tuple[float, ...]
    held_out: tuple[float, ...]
    test: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.test) != len(self.shares) or len(self.held_out) not in (0, len(self.shares)):
            raise InputError(
                f"The curve of {self.rule} has {len(self.shares)} shares, {len(self.held_out)} "
                f"held-out and {len(self.test)} test accuracies; give as many."
            )
        _refuse_outside("share", self.shares)
        _refuse_outside("accuracy", (*self.held_out, *self.test))


@dataclass(frozen=True)
class Row:
    """One way to score the test list.

    Attributes:
        name: "rgb", "flow", "equal, softmax", "chosen, softmax", "given, softmax", "chosen, svm",
            "best on the test list, softmax".
        rule: Of the fusion; "" of a stream alone.
        shares: The second stream's of the weight, 0 to 1, one a split; none where a linear SVM
            weighs the streams, or where there are more than two.
        temperatures: One a stream, for each split.
        top1: By video over all splits, 0 to 1.
        reportable: Whether nothing was chosen on the test list.
    """

    name: str
    rule: str
    shares: tuple[float, ...]
    temperatures: tuple[tuple[float, ...], ...]
    top1: float
    reportable: bool

    def __post_init__(self) -> None:
        _refuse_outside("share", self.shares)
        _refuse_outside("accuracy", (self.top1,))


@dataclass(frozen=True)
class Study:
    """The fusion of a run.

    Attributes:
        streams: Names, in the order of the weights.
        curves: One a rule; none of more than two streams.
        rows: Streams alone; each rule with equal weights, with chosen ones, and with the best on
            the test list.
        chosen: The name of the row that is written as the fused scores.
        videos: Tested, over all splits.
        held_out_videos: Over all splits, in which a video can be held out more than once.
    """

    streams: tuple[str, ...]
    curves: tuple[Curve, ...]
    rows: tuple[Row, ...]
    chosen: str
    videos: int
    held_out_videos: int

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names) or self.chosen not in names:
            raise InputError(
                f"The study's rows are {names} and the chosen one is {self.chosen!r}; "
                "give each a name, one of them the chosen."
            )

    def to_json(self) -> str:
        """The study as text, readable by ``from_json``."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Study":
        """The study that ``to_json`` wrote.

        Raises:
            InputError: Text that is none.
        """
        try:
            return _study(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise InputError(
                f"This is no study of a fusion ({type(problem).__name__}: {problem}); "
                "write it with: python -m twostream fuse"
            ) from problem


def _study(values: Mapping[str, Any]) -> Study:
    curves = tuple(
        Curve(str(curve["rule"]), *(_floats(curve[n]) for n in ("shares", "held_out", "test")))
        for curve in values["curves"]
    )
    rows = tuple(
        Row(
            str(row["name"]),
            str(row["rule"]),
            _floats(row["shares"]),
            tuple(_floats(each) for each in row["temperatures"]),
            float(row["top1"]),
            bool(row["reportable"]),
        )
        for row in values["rows"]
    )
    streams = tuple(str(stream) for stream in values["streams"])
    counts = int(values["videos"]), int(values["held_out_videos"])
    return Study(streams, curves, rows, str(values["chosen"]), *counts)


def _floats(values: list[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _refuse_outside(name: str, values: tuple[float, ...]) -> None:
    """NaN is outside, too."""
    if not all(0 <= value <= 1 for value in values):
        raise InputError(f"A {name} of a fusion study is outside 0 to 1: {list(values)}.")
