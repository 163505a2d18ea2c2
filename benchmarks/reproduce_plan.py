"""What a row runs: its commands with the user's folders in them, or what is missing for that."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from reproduce_published import Plan, Published, Row

from flow.errors import InputError

SPLITS = ("1", "2", "3")


@dataclass(frozen=True)
class Step:
    """One command: "twostream" or "flow", and its arguments; ``name`` is unique in a table."""

    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return "python -m " + shlex.join(self.words)


@dataclass(frozen=True)
class Given:
    """What the user has, by the names in published.toml.

    Attributes:
        data: Folders of videos.
        store: Folders that ``flow extract`` wrote.
        lists: Folders of official lists, or CSV files.
        weights: Files.
    """

    data: Mapping[str, Path]
    store: Mapping[str, Path]
    lists: Mapping[str, Path]
    weights: Mapping[str, Path]

    def __post_init__(self) -> None:
        for option in ("data", "store", "lists", "weights"):
            for name, path in getattr(self, option).items():
                if not path.exists():
                    raise InputError(f"{path}, given as --{option} {name}, is not there; mend it.")


def named(option: str, values: Sequence[str], wanted: Sequence[str]) -> dict[str, Path]:
    """Paths by name from "NAME=PATH", or from a bare PATH where one name alone is wanted.

    Raises:
        InputError: A name that is not wanted, or a path that could be of several.
    """
    paths = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals and len(wanted) == 1:
            name, path = wanted[0], value
        if name not in wanted or not path:
            choices = ", ".join(f"{each}=PATH" for each in wanted) or "nothing"
            raise InputError(f"--{option} {value} is not understood; this table takes {choices}.")
        paths[name] = Path(path)
    return paths


def wanted(published: Published, rows: Iterable[Row]) -> dict[str, list[str]]:
    """The names of what rows need, by option: {"store": ["ucf101"], ...}."""
    found: dict[str, dict[str, None]] = {"store": {}, "lists": {}, "weights": {}}
    for row in rows:
        for kind, name in _placeholders(published, row):
            found[kind][name] = None
    return {kind: list(names) for kind, names in found.items()}


def missing(published: Published, row: Row, given: Given) -> dict[str, str]:
    """What a row lacks: the option to give, and the name of the need that it is of."""
    told = {}
    for kind, name in _placeholders(published, row):
        if name in getattr(given, kind) or (kind == "store" and name in given.data):
            continue
        option = f"--{kind} {name}=PATH"
        told[f"{option} or --data {name}=PATH" if kind == "store" else option] = name
    return told


def steps_of(published: Published, row: Row, given: Given, out: Path, runs: Path) -> list[Step]:
    """All commands of a row, in order; stores that are not given are extracted below ``out``."""
    stores = dict(given.store)
    steps = []
    for kind, name in _placeholders(published, row):
        if kind == "store" and name not in stores:
            stores[name] = out / "stores" / name
            values: dict[str, object] = {"data": given.data, "store": stores}
            extract = f"extract_{name}"
            steps += _filled(extract, published.plans[extract], values)
    values = {"store": stores, "lists": given.lists, "weights": given.weights, "runs": runs}
    for plan in published.order(row.plan) if row.plan else ():
        steps += _filled(plan, published.plans[plan], values)
    return steps


def results_of(row: Row, runs: Path) -> list[Path]:
    """Where a row's commands leave what is measured, one path a split."""
    return [Path(one.format(runs=runs)) for one in _each_split(row.result)]


def _filled(name: str, plan: Plan, values: Mapping[str, object]) -> list[Step]:
    # Words are parted before paths come in, which may hold spaces.
    lines = [shlex.split(line) for step in plan.steps for line in _each_split(step)]
    return [
        Step(f"{name}-{number}", tuple(word.format(**values) for word in words))
        for number, words in enumerate(lines, start=1)
    ]


def _each_split(text: str) -> list[str]:
    if "{split}" not in text:
        return [text]
    return [text.replace("{split}", split) for split in SPLITS]


def _placeholders(published: Published, row: Row) -> Iterator[tuple[str, str]]:
    """("store", "ucf101") and the like, each once, of all steps of a row."""
    plans = published.order(row.plan) if row.plan else ()
    steps = [step for plan in plans for step in published.plans[plan].steps]
    fields = dict.fromkeys(field for step in steps for _, field, _, _ in Formatter().parse(step))
    for field in fields:
        kind, bracket, name = (field or "").partition("[")
        if bracket:
            yield kind, name.removesuffix("]")
