"""Known answers, properties: what an ablation study's runs say."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from ablation_page import markdown, write_page
from ablation_table import Line, Result, frame, holm, lines, readable, words
from studies import STUDIES, Given, Study

VIDEOS, GROUPS = 120, 12
GROUP = np.array([f"g{video % GROUPS}" for video in range(VIDEOS)])


def result(accuracy: float, seed: int, seeds: int = 3) -> Result:
    right = np.random.default_rng(seed).random((seeds, VIDEOS)) < accuracy
    return Result({"rgb": right})


def nearly(base: Result) -> Result:
    """The same but for a few videos that were right and are wrong, and the reverse."""
    right = base.answers["rgb"].copy()
    right[:, :6] = ~right[:, :6]
    return Result({"rgb": right})


def study(cases: Sequence[str]) -> Study:
    case = next(iter(STUDIES["blocks"](Given(None)).cases.values()))
    return Study("Does it matter?", cases[0], dict.fromkeys(cases, case), ("rgb",))


@pytest.fixture
def found() -> list[Line]:
    results = {
        "half": result(0.5, 0),
        "the same": nearly(result(0.5, 0)),
        "more": result(0.9, 2),
        "less": result(0.2, 3),
        "broken": Result({}, ("its process crashed", "its process crashed")),
    }
    return lines("half", results, GROUP, "rgb")


def test_base_comes_first_and_equals_itself(found: list[Line]) -> None:
    base = found[0]
    assert (base.case, base.difference, base.p) == ("half", 0.0, 1.0)
    assert base.difference_interval == (0.0, 0.0)
    assert [line.case for line in found] == ["half", "the same", "more", "less"]


def test_figures_are_means_over_seeds_and_videos(found: list[Line]) -> None:
    right = result(0.9, 2).answers["rgb"]
    more = found[2]
    assert more.means["rgb"] == pytest.approx(right.mean())
    assert more.deviation == pytest.approx(np.std(right.mean(axis=1), ddof=1))
    assert more.difference == pytest.approx(right.mean() - result(0.5, 0).answers["rgb"].mean())
    assert more.difference_interval[0] < more.difference < more.difference_interval[1]


def test_words_tell_what_is_beyond_noise(found: list[Line]) -> None:
    said = " ".join(words(found, "rgb"))
    assert "more is " in said
    assert " points above half" in said
    assert " points below half" in said
    assert "Within noise of half: the same." in said
    assert words(found[:1], "rgb") == ["There is nothing to compare yet."]


def test_without_a_base_nothing_is_compared() -> None:
    assert lines("half", {"half": Result({}), "more": result(0.9, 2)}, GROUP, "rgb") == []


def test_noise_is_seldom_called_a_difference() -> None:
    hits = 0
    for seed in range(60):
        results = {str(case): result(0.5, 10 * seed + case, seeds=1) for case in range(5)}
        hits += any(line.beyond_noise for line in lines("0", results, GROUP, "rgb"))
    assert hits <= 8  # of 60, 5 % and at most twice that by chance (p 0.01)


def test_holm_is_as_defined() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_page_holds_the_table_in_every_form(tmp_path: Path, found: list[Line]) -> None:
    names = [line.case for line in found]
    text = write_page(tmp_path, "test", study(names), found, "rgb", ["v"] * VIDEOS)
    assert "Does it matter?" in text
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["case"].tolist() == names
    assert table["rgb"].to_numpy() == pytest.approx([100 * line.means["rgb"] for line in found])
    page = (tmp_path / "table.md").read_text()
    for line in found:
        assert f"| {line.case} | {100 * line.means['rgb']:.1f} [" in page
    assert (tmp_path / "table.tex").read_text().count(r"\\") == len(found) + 1
    ElementTree.parse(tmp_path / "plot.svg")


def test_same_results_give_the_same_bytes(tmp_path: Path, found: list[Line]) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        made = study([line.case for line in found])
        write_page(tmp_path / folder, "test", made, found, "rgb", ["v"] * VIDEOS)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_names_are_escaped() -> None:
    table = pd.DataFrame({"case": ["a|b", "50 % & _"]})
    assert markdown(table).splitlines()[2] == "| a\\|b |"


def test_one_seed_has_no_deviation() -> None:
    found = lines("a", {"a": result(0.5, 0, 1), "b": result(0.6, 1, 1)}, GROUP, "rgb")
    assert np.isnan(found[0].deviation)
    assert "deviation" not in readable(found, "rgb")
    assert frame(found)["seeds"].tolist() == [1, 1]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_varies_something(name: str) -> None:
    made = STUDIES[name](Given(Path("weights"), 8.0))
    cases = list(made.cases.values())
    assert len(set(map(repr, cases))) == len(cases) > 1
    assert next(iter(made.cases)) == made.base
    assert all(case.classifier == "network" for case in cases) or made.seeds == 1
