"""Golden: the tables of both README files are those of the results."""

import re

import pytest
import tables


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_tables_agree_with_the_results(page: object) -> None:
    text = page.read_text()  # type: ignore[attr-defined]
    assert tables.filled(text) == text, "run python benchmarks/tables.py"


def test_every_table_stands_somewhere() -> None:
    text = "".join(page.read_text() for page in tables.PAGES)
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(tables.TABLES)


def test_a_changed_figure_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "before\n<!-- table: one -->\nold\n<!-- end -->\nafter\n"
    monkeypatch.setattr(tables, "TABLES", {"one": lambda: "new"})
    assert tables.filled(text) == "before\n<!-- table: one -->\nnew\n<!-- end -->\nafter\n"
