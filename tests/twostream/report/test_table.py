"""Tables as files: round trips through CSV, Markdown and LaTeX, known answers."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twostream.report.table import Gain, Number, Share, Table, to_csv, to_latex, to_markdown

HOSTILE = '<script>alert(1)</script>|&_%#$~^\\{}"'
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
}


def table(name: str) -> Table:
    rows = (
        (name, 3, Share(0.5, (0.25, 0.75)), Gain(-0.125, (-0.5, 0.25)), Number(0.0123)),
        ("b", 1200, Share(1 / 3), Gain(0.0), None),
    )
    return Table("t", (name, "videos", "rgb", "gain", "p"), rows, (("mean", 1, None, None, None),))


def plain(latex: str) -> str:
    """What LaTeX prints."""
    text = re.sub(r"\\(text\w+)\{\}", lambda found: COMMANDS[found[1]], latex.replace("''", '"'))
    return re.sub(r"\\([{}$&#_%])", r"\1", text)


def latex_cells(line: str) -> list[str]:
    """The cells of a row; an ampersand or a backslash of a name is no mark of LaTeX's."""
    body = line.removesuffix(r" \\")
    return [cell.removeprefix("{}") for cell in re.split(r" (?<!\\)& ", body)]


def markdown_cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.replace("\\\\", "\0"))[1:-1]
    return [re.sub(r"\\(.)", r"\1", cell[1:-1]).replace("\0", "\\") for cell in cells]


@given(NAMES)
def test_names_come_back_out_of_every_form(name: str) -> None:
    made = table(name)
    assert next(csv.reader(io.StringIO(to_csv(made))))[0] == name
    assert markdown_cells(to_markdown(made).splitlines()[0])[0] == name
    if "'" not in name:  # a double quote is made of two single ones
        row = to_latex(made).splitlines()[2]
        unmarked = row.replace(r"\textbackslash{}", "\0")
        first = latex_cells(unmarked)[0].replace("\0", r"\textbackslash{}")
        assert plain(first) == name


def test_csv_has_shares_and_intervals_as_numbers() -> None:
    frame = pd.read_csv(io.StringIO(to_csv(table("a"))), index_col=0)
    assert frame.columns.tolist() == [
        *("videos", "rgb", "rgb low", "rgb high", "gain", "gain low", "gain high", "p"),
    ]
    assert frame.loc["a"].tolist() == [3, 0.5, 0.25, 0.75, -0.125, -0.5, 0.25, 0.0123]
    assert frame.loc["b", "rgb"] == pytest.approx(1 / 3, abs=1e-6)
    assert np.isnan(frame.loc["b", "rgb low"])
    assert frame.index.tolist() == ["a", "b", "mean"]


def test_markdown_is_a_table_with_as_many_cells_in_each_row() -> None:
    lines = to_markdown(table(HOSTILE)).splitlines()
    assert {len(markdown_cells(line)) for line in lines} == {5}
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: |"
    assert markdown_cells(lines[2]) == [
        HOSTILE,
        "3",
        "50.0 % (25.0 to 75.0)",
        "-12.5 (-50.0 to +25.0)",
        "0.012",
    ]
    assert markdown_cells(lines[3]) == ["b", "1,200", "33.3 %", "+0.0", "-"]


def test_latex_leaves_nothing_that_would_be_a_command_or_a_comment() -> None:
    text = to_latex(table(HOSTILE))
    assert text.startswith("\\begin{tabular}{lrrrr}\n\\hline\n")
    assert text.endswith("\\hline\n\\end{tabular}\n")
    assert not re.search(r"(?<!\\)[#$%_^~]", text)
    assert not re.search(r"[<>|\"]", text)
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert [len(latex_cells(row.replace(r"\&", "and"))) for row in rows] == [5] * 4
    assert "50.0 \\% (25.0 to 75.0)" in rows[1]


def test_a_line_break_in_a_name_breaks_no_row() -> None:
    made = Table("t", ("class", "n"), (("two\nlines", 1),))
    assert len(to_markdown(made).splitlines()) == 3
    assert "two lines & 1 \\\\" in to_latex(made)
    assert list(csv.reader(io.StringIO(to_csv(made), newline="")))[1] == ["two\nlines", "1"]


def test_an_interval_without_width_is_not_shown_as_certainty() -> None:
    assert str(Share(1.0, (1.0, 1.0))) == "100.0 % (no spread)"
    assert str(Gain(0.0, (0.0, 0.0))) == "+0.0 (no spread)"
    made = Table("t", ("class", "share"), (("a", Share(float("nan"))),))
    assert to_csv(made).splitlines()[1] == "a,"
    assert "| a | - |" in to_markdown(made)


def test_a_deviation_has_a_column_of_its_own() -> None:
    made = Table("t", ("measure", "rgb"), (("top-1", Share(0.5, deviation=0.0125)),))
    assert to_csv(made) == "measure,rgb,rgb deviation\ntop-1,0.5,0.0125\n"
    assert "50.0 % ± 1.2" in to_markdown(made)


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 cells"):
        Table("t", ("a", "b"), (("x",),))
