"""published.toml as values that check themselves: numbers, their sources, and what repeats them."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from flow.errors import InputError

FILE = Path(__file__).with_name("published.toml")
MODEL_METRICS = ("parameters", "gmac", "size", "speed")
ACCURACY_METRICS = ("video_top1", "video_top5", "clip_top1", "clip_top5")


@dataclass(frozen=True)
class Source:
    """Where numbers are published; ``note`` says what a reader should know of them."""

    title: str
    year: int
    url: str
    note: str = ""


@dataclass(frozen=True)
class Need:
    """Something that only the user can bring: what it is, and how to get it."""

    what: str
    get: str


@dataclass(frozen=True)
class Plan:
    """Commands, after those of other plans.

    Attributes:
        steps: Command lines with placeholders, "twostream train ..." or "flow extract ...".
        after: Names of the plans that come first.
        gpu_hours: Of its own steps, at 10 TFLOP/s.
    """

    steps: tuple[str, ...]
    after: tuple[str, ...] = ()
    gpu_hours: float = 0.0


@dataclass(frozen=True)
class Row:
    """A published number, and what it is compared with.

    Attributes:
        name: Unique in its table.
        metric: One of `MODEL_METRICS` or `ACCURACY_METRICS`.
        published: The number; None where none is published.
        unit: Of it.
        tolerance: The largest distance that counts as reproduced.
        because: Name of its reason.
        source: Name of the source.
        where: Table or section there.
        plan: Name of the plan that leads to ``result``.
        experiment: Name of the experiment that is trained.
        result: Score file, with placeholders.
        dataset: "ucf101", "hmdb51" or "kinetics400".
        split: "1", "all", or what the source says.
        protocol: Which clips, and how they are averaged.
        network: For metrics of a model, whose.
        over: The network that it is divided by, or of sizes, that is subtracted.
        context: Another network's number, which is not repeated here.
        note: What else a reader should know.
    """

    name: str
    metric: str
    published: float | None = None
    unit: str = ""
    tolerance: float | None = None
    because: str = ""
    source: str = ""
    where: str = ""
    plan: str = ""
    experiment: str = ""
    result: str = ""
    dataset: str = ""
    split: str = ""
    protocol: str = ""
    network: str = ""
    over: str = ""
    context: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if self.metric not in MODEL_METRICS + ACCURACY_METRICS:
            raise InputError(f"Row {self.name!r} has the unknown metric {self.metric!r}; mend it.")
        if self.published is not None and not (self.source and self.where):
            raise InputError(f"Row {self.name!r} has a number without a source; give one.")
        if self.context:
            return
        if (self.published is None) != (self.tolerance is None) or (
            self.tolerance is not None and (self.tolerance < 0 or not self.because)
        ):
            raise InputError(
                f"Row {self.name!r} needs a number with a tolerance from 0 and its reason, "
                "or none of them; give them."
            )
        if self.metric in MODEL_METRICS and not self.network:
            raise InputError(f"Row {self.name!r} names no network; give one.")
        if self.metric in ACCURACY_METRICS and not (self.plan and self.result and self.dataset):
            raise InputError(f"Row {self.name!r} lacks a plan, a result or a data set; give them.")


@dataclass(frozen=True)
class Table:
    """Rows that stand together."""

    title: str
    about: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise InputError(f"Two rows of {self.title!r} have one name; rename one.")


@dataclass(frozen=True)
class Published:
    """All of the file."""

    tables: Mapping[str, Table]
    plans: Mapping[str, Plan]
    sources: Mapping[str, Source]
    needs: Mapping[str, Need]
    reasons: Mapping[str, str]

    def __post_init__(self) -> None:
        for row in (row for table in self.tables.values() for row in table.rows):
            for name, there in (
                (row.source, self.sources),
                (row.plan, self.plans),
                (row.because, self.reasons),
            ):
                if name and name not in there:
                    raise InputError(f"Row {row.name!r} names {name!r}, which is not there.")

    def order(self, plan: str) -> Iterator[str]:
        """The plans that a plan takes, each after those that it needs."""
        for before in self.plans[plan].after:
            yield from self.order(before)
        yield plan


def load(path: Path = FILE) -> Published:
    """Read the file.

    Raises:
        InputError: It cannot be read, or a value is missing or unknown.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return Published(
            tables={name: _table(values) for name, values in data["tables"].items()},
            plans={name: _made(Plan, values) for name, values in data["plans"].items()},
            sources={name: _made(Source, values) for name, values in data["sources"].items()},
            needs={name: _made(Need, values) for name, values in data["needs"].items()},
            reasons=data["reasons"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InputError(f"{path} does not hold published numbers ({problem}); mend it.") from None


def _table(values: Mapping[str, Any]) -> Table:
    rows = [
        _made(Row, {**values.get(f"common_{kind}", {}), **row, "context": kind == "context"})
        for kind in ("rows", "context")
        for row in values.get(kind, ())
    ]
    return Table(values["title"], values["about"], tuple(rows))


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A value of a class; lists become tuples, and a name that it does not have is an error."""
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"unknown {sorted(unknown)[0]!r}")
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return kind(**plain)
