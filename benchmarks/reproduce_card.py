"""The card of a run: published and measured numbers, and what a reader needs to judge them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measured import machine
from reproduce_plan import Given, Step
from reproduce_published import Published, Row, Table
from reproduce_steps import Runner

from flow.files import write_atomically
from twostream.runs import sha256

Outcome = Mapping[str, Any]  # of a row: "verdict", and "measured" where there is something


def write_card(
    folder: Path,
    title: str,
    published: Published,
    table: Table,
    outcomes: Mapping[str, Outcome],
    steps: Sequence[Step],
    runner: Runner,
    given: Given,
) -> Path:
    """Write card.json and card.md; gives the latter's path."""
    card = {
        "table": title,
        "title": table.title,
        "about": table.about,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": [
            {
                "published": _row(row, published),
                **outcomes[row.name],
            }
            for row in table.rows
        ],
        "weights": {
            name: {"path": str(path), "sha256": sha256(path)}
            for name, path in given.weights.items()
            if path.is_file()
        },
        "stores": _stores(steps),
        "runs": _runs(folder / "runs"),
        "commands": [
            {
                "step": step.name,
                "command": str(step),
                "seconds": runner.record(step).get("seconds"),
                "log_tail": runner.tail(step),
            }
            for step in steps
        ],
    }
    write_atomically(folder / "card.json", (json.dumps(card, indent=1) + "\n").encode())
    path = folder / "card.md"
    write_atomically(path, _page(card, lines(table, outcomes)).encode())
    return path


def lines(table: Table, outcomes: Mapping[str, Outcome]) -> list[tuple[str, ...]]:
    """A head and a line a row: name, published, tolerance, measured with interval, verdict."""
    rows: list[tuple[str, ...]] = [("row", "published", "tolerance", "measured", "verdict")]
    for row in table.rows:
        outcome = outcomes[row.name]
        told = ["" if value is None else f"{value:,}" for value in (row.published, row.tolerance)]
        rows.append((row.name, *told, _measured(outcome, row), str(outcome["verdict"])))
    return rows


def _measured(outcome: Outcome, row: Row) -> str:
    found = outcome.get("measured")
    if not found:
        return ""
    text = _number(found["value"], row)
    if found["interval"]:
        low, high = (_number(bound, row) for bound in found["interval"])
        text += f" [{low}, {high}]"
    return text


def _number(value: float, row: Row) -> str:
    """As many digits as the published number, or its kind, has."""
    published = f"{row.published}".partition(".")[2].strip("0")
    digits = {"parameters": 0, "speed": 3, "gmac": 2}.get(row.metric, 1)
    return f"{value:,.{max(digits, len(published))}f}"


def _row(row: Row, published: Published) -> dict[str, Any]:
    """What a row claims, with its source and the reason of its tolerance in full."""
    source = published.sources.get(row.source)
    return {
        "name": row.name,
        "metric": row.metric,
        "number": row.published,
        "unit": row.unit,
        "tolerance": row.tolerance,
        "because": published.reasons.get(row.because, ""),
        "source": f"{source.title}, {row.where} ({source.url})" if source else "",
        "source_note": source.note if source else "",
        "dataset": row.dataset,
        "split": row.split,
        "protocol": row.protocol,
        "experiment": row.experiment,
        "note": row.note,
    }


def _stores(steps: Sequence[Step]) -> dict[str, str]:
    """The hash of the manifest of each store that a command reads."""
    words = {Path(word) for step in steps for word in step.words}
    manifests = sorted(path / "manifest.csv" for path in words)
    return {str(path.parent): sha256(path) for path in manifests if path.is_file()}


def _runs(folder: Path) -> dict[str, Any]:
    """The whole experiment, with its seed, of every training."""
    return {
        str(path.parent.relative_to(folder)): json.loads(path.read_text())
        for path in sorted(folder.rglob("run.json"))
    }


def _page(card: Mapping[str, Any], rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    parts = [
        f"# {card['title']}",
        "",
        card["about"],
        "",
        _table([head, ["---"] * len(head), *body]),
        "",
        "Intervals are of 95 %.",
        "",
        "## Sources and tolerances",
        "",
        *dict.fromkeys(_claim(row["published"]) for row in card["rows"]),
        "",
        "## Made with",
        "",
        f"{card['written']}; " + "; ".join(f"{k} {v}" for k, v in card["machine"].items()),
        "",
        *(
            f"- weights {name}: {w['path']}, SHA-256 {w['sha256']}"
            for name, w in _items(card, "weights")
        ),
        *(
            f"- store {path}: SHA-256 of its manifest {hash_}"
            for path, hash_ in _items(card, "stores")
        ),
        *(f"- run {name}: seed {run['experiment']['seed']}" for name, run in _items(card, "runs")),
        "",
        "The whole configuration of each run stands in card.json.",
        "",
        "## Commands",
        "",
    ]
    for each in card["commands"]:
        took = "not done" if each["seconds"] is None else f"{each['seconds']:,.0f} s"
        tail = "\n".join(each["log_tail"])
        parts += [f"{each['step']}, {took}:", "", "```", f"$ {each['command']}", tail, "```", ""]
    return "\n".join(parts) + "\n"


def _claim(row: Mapping[str, Any]) -> str:
    text = f"- {row['source'] or 'nothing is published'}. {row['source_note']}"
    if row["because"]:
        text += f" Tolerance {row['tolerance']:g} {row['unit']}: {row['because']}"
    return " ".join(text.split())


def _items(card: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    return list(card[name].items())


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    )
