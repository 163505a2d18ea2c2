"""Published tables, measured again: published number, tolerance, what came out, verdict.

    python benchmarks/reproduce.py                      # the tables, and what each needs
    python benchmarks/reproduce.py p3d_sizes            # needs nothing
    python benchmarks/reproduce.py p3d_ucf101 --store ucf101=STORE --lists ucf101=LISTS \
                                   --weights resnet50=FILE --out runs/reproduce

The numbers, their sources and the commands stand in published.toml. Run again, it goes on: a
command that has succeeded and a row that was measured are not done again. OUT/TABLE holds a card of
the run (card.md, card.json), a JSON file a row, the commands' logs, and the runs. With --dry-run
every command is run for real, for a few steps on small clips of the part of the data that is there.
"""

import argparse
import hashlib
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from measured import processor
from reproduce_card import Outcome, lines, write_card
from reproduce_dry import shortened
from reproduce_measure import of_network, of_results, time_networks
from reproduce_plan import Given, Step, missing, named, results_of, steps_of, wanted
from reproduce_published import MODEL_METRICS, Published, Row, Table, load
from reproduce_steps import Runner, StepError, running_in
from reproduce_verdict import CONTEXT, DRY_RUN, Measured, verdict

from flow.errors import InputError
from flow.files import write_atomically

OPTIONS = ("store", "lists", "weights")
TERAFLOPS = 10
HOURS = (
    "GPU hours are counted from multiply-adds: two operations each, three times those of a forward "
    f"pass in a training step, at {TERAFLOPS} TFLOP/s that one GPU sustains, which is assumed and "
    "not measured. What an extraction takes stands in benchmarks/README.md."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: everything that could run has run; 1: something failed; 2: wrong usage."""
    parsed = _arguments(arguments)
    try:
        published = load()
        if parsed.table is None:
            print(listing(published))
            return 0
        if parsed.table not in published.tables:
            known = ", ".join(published.tables)
            raise InputError(f"There is no table {parsed.table}; give one of {known}.")
        return _reproduce(published, parsed)
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", help="none: lists the tables")
    for option, told in (
        ("data", "folders of videos, to be extracted"),
        ("store", "folders that python -m flow extract wrote"),
        ("lists", "folders of the official lists, or CSV files"),
        ("weights", "files of weights"),
    ):
        parser.add_argument(f"--{option}", nargs="+", default=[], metavar="NAME=PATH", help=told)
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--dry-run", action="store_true", help="in small, on what is there")
    parser.add_argument("--steps", type=int, help="of each training in a dry run; 2")
    parsed = parser.parse_args(arguments)
    if parsed.steps is not None and (not parsed.dry_run or parsed.steps < 1):
        parser.error("--steps takes a number from 1, of a --dry-run")
    return parsed


def listing(published: Published) -> str:
    """The tables and what each needs, with hours on a GPU and where they come from."""
    paragraphs: list[str] = []
    mentioned: dict[str, str] = {}
    for name, table in published.tables.items():
        rows = [row for row in table.rows if not row.context]
        plans = dict.fromkeys(p for row in rows if row.plan for p in published.order(row.plan))
        hours = sum(published.plans[plan].gpu_hours for plan in plans)
        lacking = _lacking(published, rows, Given({}, {}, {}, {}))
        mentioned |= lacking
        paragraphs += [
            f"{name}: {table.title}",
            f"  {len(rows)} of its lines are measured. {table.about}",
        ]
        paragraphs.append("  Needs " + (", ".join(lacking) or "nothing but a processor") + ".")
        if hours:
            paragraphs[-1] += f" About {hours:.1f} GPU hours, and the extraction."
        paragraphs.append("")
    paragraphs += [*_how_to_get(published, mentioned), "", HOURS]
    return "\n".join(_wrapped(paragraph) for paragraph in paragraphs)


def _lacking(published: Published, rows: Sequence[Row], given: Given) -> dict[str, str]:
    """What rows lack: options, with the names of the needs."""
    return {option: name for row in rows for option, name in missing(published, row, given).items()}


def _how_to_get(published: Published, lacking: Mapping[str, str]) -> list[str]:
    needs = {name: published.needs[name] for name in dict.fromkeys(lacking.values())}
    return [f"{name}: {need.what}; {need.get}." for name, need in needs.items()]


def _wrapped(paragraph: str) -> str:
    indent = " " * (len(paragraph) - len(paragraph.lstrip()))
    return textwrap.fill(paragraph, 100, subsequent_indent=indent, break_on_hyphens=False)


def _reproduce(published: Published, parsed: argparse.Namespace) -> int:
    table = published.tables[parsed.table]
    rows = [row for row in table.rows if not row.context]
    names = wanted(published, rows)
    paths = {option: named(option, getattr(parsed, option), names[option]) for option in OPTIONS}
    given = Given(named("data", parsed.data, names["store"]), **paths)
    # What is small must never be taken for a result of the real thing.
    folder = parsed.out / (f"{parsed.table}-dry-run" if parsed.dry_run else parsed.table)
    with running_in(folder / "steps") as runner:
        work = _Reproduction(published, table, given, parsed, folder, runner)
        outcomes = {row.name: work.outcome(row) for row in table.rows}
        steps = list(work.steps.values())
        card = write_card(folder, parsed.table, published, table, outcomes, steps, runner, given)
    print(_aligned(lines(table, outcomes)))
    for need in _how_to_get(published, _lacking(published, rows, given)):
        print(_wrapped(need))
    print(f"card: {card}")
    return 0 if work.complete else 1


class _Reproduction:
    """One table on one machine; a row is done once."""

    def __init__(
        self,
        published: Published,
        table: Table,
        given: Given,
        parsed: argparse.Namespace,
        folder: Path,
        runner: Runner,
    ) -> None:
        self.published, self.table, self.given = published, table, given
        self.folder, self.runner, self.out = folder, runner, parsed.out
        self.dry_steps = (parsed.steps or 2) if parsed.dry_run else None
        self.steps: dict[str, Step] = {}
        self.failed: dict[str, StepError] = {}
        self.complete = True
        self.seconds: dict[str, list[float]] = {}

    def outcome(self, row: Row) -> Outcome:
        """The verdict of a row and what was measured, of an earlier run where it is the same."""
        if row.context:
            return {"verdict": f"{CONTEXT}: {row.note}" if row.note else CONTEXT}
        if lacking := missing(self.published, row, self.given):
            return {"verdict": f"not run: needs {', '.join(lacking)}"}
        try:
            ran = self._run(row)
            return self._measure(row, ran)
        except (StepError, InputError) as problem:
            self.complete = False
            return {"verdict": f"not run: {problem}"}

    def _run(self, row: Row) -> list[Step]:
        """Run the commands of a row that are not done; gives all of them."""
        ran = []
        for whole in steps_of(self.published, row, self.given, self.out, self.folder / "runs"):
            step = whole
            if self.dry_steps is not None and whole.words[0] == "twostream":
                step = shortened(whole, self.dry_steps)
            self.steps[step.name] = step
            self._run_once(step)
            ran.append(step)
        return ran

    def _run_once(self, step: Step) -> None:
        """Run a step; one that has failed is not tried again for another row."""
        if step.name in self.failed:
            raise self.failed[step.name]
        try:
            self.runner.run(step)
        except StepError as problem:
            self.failed[step.name] = problem
            raise

    def _measure(self, row: Row, ran: Sequence[Step]) -> Outcome:
        path = self.folder / "rows" / f"{quote(row.name, safe=' ,()')}.json"
        key = self._key(row, ran)
        before = _read(path)
        if before.get("key") == key:
            return before
        if row.metric in MODEL_METRICS:
            found = of_network(row, self._times() if row.metric == "speed" else {})
        else:
            results = results_of(row, self.folder / "runs")
            part = self.dry_steps is not None
            found = of_results(row, results, self.given.lists[row.dataset], part)
        outcome = self._told(row, found) | {"key": key, "steps": [str(step) for step in ran]}
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, (json.dumps(outcome, indent=1) + "\n").encode())
        return outcome

    def _told(self, row: Row, found: Measured) -> dict[str, Any]:
        # What needs no data is whole in a dry run, too.
        small = self.dry_steps is not None and row.metric not in MODEL_METRICS
        said = DRY_RUN if small else verdict(row.published, row.tolerance, found)
        return {"verdict": said, "measured": asdict(found)}

    def _times(self) -> dict[str, list[float]]:
        """Of all networks whose speeds the table has, in turn, once."""
        if not self.seconds:
            rows = [row for row in self.table.rows if row.metric == "speed"]
            names = dict.fromkeys(name for row in rows for name in (row.network, row.over))
            self.seconds = time_networks(list(names))
        return self.seconds

    def _key(self, row: Row, ran: Sequence[Step]) -> str:
        """What a measurement hangs on: another row, commands that ran again, another machine."""
        done = [[step.words, self.runner.record(step).get("ended")] for step in ran]
        here = (
            (str(processor()), torch.get_num_threads(), torch.__version__)
            if row.metric in MODEL_METRICS
            else ()
        )
        return hashlib.sha256(json.dumps([asdict(row), done, here]).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
