"""All speed benchmarks one after the other, and a page with their figures.

    python benchmarks/bench.py VIDEOS STORE --out runs/bench

Run it where nothing else runs. A benchmark that fails does not end the others; the page shows what
there is. Run again, it measures again: `compare.py` tells what has changed.
"""

import argparse
import html
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
from figures import READERS, Figure, figures_of
from matplotlib import pyplot

from flow.errors import InputError
from flow.files import write_atomically

HERE = Path(__file__).resolve().parent
STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif }
svg { max-width: 100%; height: auto } td, th { text-align: left; padding: .1rem 1rem .1rem 0 }
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("store", type=Path, help="their store")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and the page")
    parser.add_argument("--only", nargs="+", choices=list(READERS), default=list(READERS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = [name for name in arguments.only if not measure(name, arguments)]
    print(write_page(arguments.out))
    for name in failed:
        print(f"{name} failed; its own lines above say why", file=sys.stderr)
    return 1 if failed else 0


def measure(name: str, arguments: argparse.Namespace) -> bool:
    """Run one benchmark; gives whether it went well."""
    inputs = {
        "tvl1_speed": [arguments.videos],
        "extraction_speed": [arguments.videos],
        "reading_speed": [arguments.videos, arguments.store],
        "loading_speed": [arguments.videos, arguments.store],
        "p3d_speed": [],
        "predict_speed": [arguments.videos],
    }[name]
    out = arguments.out / f"{name}.json"
    command = [sys.executable, HERE / f"{name}.py", *inputs, "--out", out]
    print(f"== {name}", flush=True)
    return subprocess.run(list(map(str, command)), check=False).returncode == 0


def write_page(folder: Path) -> Path:
    """A page of all results in a folder."""
    parts = []
    for file in sorted(file for name in READERS for file in folder.glob(f"{name}*.json")):
        try:
            figures = figures_of(file)
        except InputError as problem:
            parts.append(f"<p>{html.escape(str(problem))}</p>")
            continue
        machine = json.loads(file.read_text()).get("machine", {})
        rows = "".join(
            f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in machine.items()
        )
        parts.append(f"<h2>{html.escape(file.stem)}</h2>")
        parts += [plot(list(same)) for _, same in groupby(_by_unit(figures), lambda f: f.unit)]
        parts.append(f"<details><summary>Machine</summary><table>{rows}</table></details>")
    page = folder / "index.html"
    body = "\n".join(parts)
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Benchmarks</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>Benchmarks</h1>\n"
        "<p>Medians with the range over rounds or clips; more is better. A short line across is "
        f"the most that the machine can do, where it was measured beside.</p>\n{body}</body></html>"
    )
    write_atomically(page, text.encode())
    return page


def _by_unit(figures: Sequence[Figure]) -> list[Figure]:
    return sorted(figures, key=lambda figure: (not figure.relative, figure.unit))


def plot(figures: Sequence[Figure]) -> str:
    """Bars of figures of one unit, as SVG."""
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(figures) + 1), layout="constrained")
    for place, each in enumerate(figures):
        low, high = each.median - each.values.min(), each.values.max() - each.median
        axes.barh(place, each.median, color="C0" if each.relative else "C7", height=0.6)
        axes.errorbar(each.median, place, xerr=[[low], [high]], color="0.2", linewidth=1)
        if np.isfinite(each.floor):
            axes.plot([each.floor, each.floor], [place - 0.4, place + 0.4], color="C3")
    axes.set_yticks(range(len(figures)), [each.name for each in figures], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(figures[0].unit)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


if __name__ == "__main__":
    sys.exit(main())
