"""Known answers and properties: what changed between two results."""

import json
from pathlib import Path

import compare
import numpy as np
import pytest
from figures import READERS, Figure, figures_of

from flow.errors import InputError


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "RESAMPLES", 1000)


RESULTS = Path(compare.__file__).parent / "results"


def figure(values: np.ndarray, name: str = "a") -> Figure:
    return Figure(name, "clips/s", values)


def test_equal_results_have_not_changed() -> None:
    for name in READERS:
        for path in RESULTS.glob(f"{name}*.json"):
            for each in figures_of(path):
                ratio, low, high = compare.change(each, each)
                assert ratio == 1
                assert low <= 1 <= high
                assert not compare.changed(ratio, low, high)


def test_twice_as_fast_is_told() -> None:
    values = np.random.default_rng(0).normal(10, 0.3, 9)
    line = compare.told(figure(values), figure(2 * values))
    assert "2.00 times as fast" in line
    assert "2.00 times as slow" in compare.told(figure(2 * values), figure(values))


def test_noise_is_hardly_ever_a_change() -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        before, after = (figure(rng.normal(10, 1, 9)) for _ in range(2))
        found += compare.changed(*compare.change(before, after))
    assert found <= 12  # 1 % wanted; a median of nine rounds has few values to take


def test_a_change_that_is_sure_and_small_is_no_change() -> None:
    values = np.full(9, 10.0)
    assert not compare.changed(*compare.change(figure(values), figure(1.02 * values)))
    assert compare.changed(*compare.change(figure(values), figure(1.05 * values)))


def test_what_is_in_one_result_alone_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, extra in (("before", "old"), ("after", "new")):
        rates = {"same": [1.0, 2.0, 3.0], extra: [1.0]}
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "reading_speed.json"
        path.write_text(json.dumps({"clips_a_second": rates}))
    arguments = ["compare.py", str(tmp_path / "before"), str(tmp_path / "after")]
    monkeypatch.setattr("sys.argv", arguments)
    assert compare.main() == 0
    said = capsys.readouterr().out
    assert "reading: same: 2 -> 2 clips/s" in said
    assert "Only before: reading: old" in said
    assert "Only after: reading: new" in said


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"clips_a_second": 3}'])
def test_damaged_results_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reading_speed.json"
    path.write_text(text)
    with pytest.raises(InputError, match="holds no results"):
        figures_of(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no benchmark"):
        figures_of(tmp_path / "else.json")
    with pytest.raises(InputError, match="holds no results"):
        compare.read(tmp_path)
