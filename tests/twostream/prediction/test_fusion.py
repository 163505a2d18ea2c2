"""Known answer: what stands in RUN/fused.json is what streams are fused by; refusals."""

import json
from pathlib import Path

import pytest

from flow.errors import InputError
from twostream.experiments import demo
from twostream.fusion import Fusion
from twostream.fusion_study import Row, Study
from twostream.prediction.fusion import choose_fusion
from twostream.runs import Data, Run

BOTH = ("rgb", "flow")
EQUAL = Fusion("softmax", (1.0, 1.0), (1.0, 1.0))


def write_study(
    folder: Path,
    rule: str = "log_probabilities",
    shares: tuple[float, ...] = (0.75,),
    temperatures: tuple[tuple[float, ...], ...] = ((2.0, 0.5),),
    streams: tuple[str, ...] = BOTH,
) -> None:
    rows = (
        Row("1:1", "softmax", (0.5,), ((1.0, 1.0),), 0.5, True),
        Row("chosen", rule, shares, temperatures, 0.6, True),
    )
    folder.mkdir(exist_ok=True)
    study = Study(streams, (), rows, "chosen", 10, 20)
    (folder / "fused.json").write_text(study.to_json())


def test_without_a_study_all_streams_count_alike(tmp_path: Path) -> None:
    assert choose_fusion(tmp_path, BOTH) == EQUAL
    assert choose_fusion(tmp_path, BOTH, [1, 3]) == Fusion("softmax", (1, 3), (1.0, 1.0))
    assert choose_fusion(tmp_path, ["flow"]) == Fusion("softmax", (1.0,), (1.0,))


def test_the_chosen_row_decides(tmp_path: Path) -> None:
    write_study(tmp_path)
    chosen = choose_fusion(tmp_path, BOTH)
    assert chosen == Fusion("log_probabilities", (0.25, 0.75), (2.0, 0.5))
    assert choose_fusion(tmp_path, ("flow", "rgb")) == Fusion(
        "log_probabilities", (0.75, 0.25), (0.5, 2.0)
    )


def test_weights_that_are_given_leave_rule_and_temperatures(tmp_path: Path) -> None:
    write_study(tmp_path)
    given = choose_fusion(tmp_path, BOTH, [2, 1])
    assert given == Fusion("log_probabilities", (2, 1), (2.0, 0.5))


def test_a_stream_alone_keeps_its_temperature(tmp_path: Path) -> None:
    write_study(tmp_path)
    assert choose_fusion(tmp_path, ["flow"]) == Fusion("softmax", (1.0,), (0.5,))


def test_a_fold_takes_its_place_in_the_study_of_all(tmp_path: Path) -> None:
    lists = tmp_path / "list.csv"
    lists.write_text("video,label,group\n" + "".join(f"v{g},{g},{g}\n" for g in "abc"))
    for group in "abc":
        run = Run(demo(), Data(lists, tmp_path, split=f"group:{group}"), "rgb")
        folder = tmp_path / "run" / f"group-{group}" / "rgb"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(run.to_json())
    write_study(tmp_path / "run", "softmax", (0.1, 0.2, 0.3), ((1.0, 1.0), (3.0, 4.0), (1.0, 1.0)))
    of_second = choose_fusion(tmp_path / "run" / "group-b", BOTH)
    assert of_second == Fusion("softmax", (0.8, 0.2), (3.0, 4.0))
    write_study(tmp_path / "run" / "group-b")
    assert choose_fusion(tmp_path / "run" / "group-b", BOTH).weights == (0.25, 0.75)


def test_what_cannot_be_computed_for_one_video_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path, "svm", (), ())
    with pytest.raises(
        InputError, match=r"fused\.json chose 'chosen' by the rule 'svm'.*--weights"
    ):
        choose_fusion(tmp_path, BOTH)
    assert choose_fusion(tmp_path, BOTH, [1, 1]) == Fusion("softmax", (1, 1), (1.0, 1.0))


def test_a_study_of_other_streams_says_nothing(tmp_path: Path) -> None:
    write_study(tmp_path, streams=("rgb", "sound"))
    assert choose_fusion(tmp_path, BOTH) == EQUAL


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"streams": 3})])
def test_a_damaged_study_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "fused.json").write_text(text)
    with pytest.raises(InputError, match=r"fused\.json cannot be used"):
        choose_fusion(tmp_path, BOTH)


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [-1, 2], [0, 0]])
def test_weights_that_do_not_fit(tmp_path: Path, weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        choose_fusion(tmp_path, BOTH, weights)
