"""A study's result on paper: Markdown, CSV, LaTeX and a plot."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import pandas as pd
from ablation_table import Line, frame, readable, words
from matplotlib import pyplot
from studies import Study

from flow.files import write_atomically


def write_page(
    folder: Path, name: str, study: Study, found: Sequence[Line], stream: str, videos: Sequence[str]
) -> str:
    """Write all forms of the table; gives what is printed."""
    failures = sum(len(line.failures) for line in found)
    if not found:
        return f"{study.question} The base, {study.base}, has no result yet."
    shown = readable(found, stream)
    said = words(found, stream)
    heading = (
        f"{study.question} Top-1 by video in percent, {len(videos)} videos, each tested once; "
        "intervals of 95 % over groups, of a difference to the first row as well."
    )
    below = [*said, study.cannot_tell, f"Failed runs: {failures}." if failures else ""]
    text = "\n".join(line for line in below if line)
    page = f"# {name}\n\n{heading}\n\n{markdown(shown)}\n\n{text}\n\n![{name}](plot.svg)\n"
    write_atomically(folder / "table.md", page.encode())
    write_atomically(folder / "table.csv", frame(found).to_csv(index=False).encode())
    write_atomically(folder / "table.tex", shown.to_latex(index=False, escape=True).encode())
    write_atomically(folder / "plot.svg", _plot(found, stream))
    return f"{heading}\n{shown.to_string(index=False)}\n{text}\n{folder / 'table.md'}"


def markdown(table: pd.DataFrame) -> str:
    """A table of text in Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def _plot(found: Sequence[Line], stream: str) -> bytes:
    """The mean and the interval of each case, the base's mean as a line."""
    figure, axes = pyplot.subplots(figsize=(7, 0.5 * len(found) + 1.2), layout="constrained")
    for place, line in enumerate(found):
        mean = 100 * line.means[stream]
        low, high = (100 * edge for edge in line.interval)
        colour = "C3" if line.beyond_noise else "C0"
        axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
        axes.plot(mean, place, "o", color=colour)
    axes.axvline(100 * found[0].means[stream], color="0.7", linewidth=1, zorder=0)
    axes.set_yticks(range(len(found)), [line.case for line in found])
    axes.invert_yaxis()
    axes.set_xlabel(f"top-1 by video of {stream}, %")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # The same bytes for the same figures.
    with matplotlib.rc_context({"svg.hashsalt": "ablation"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return buffer.getvalue()
