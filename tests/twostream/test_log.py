"""The log: round trip of its file, known answers of its figures, and its warning."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flow.errors import InputError
from twostream.distributed import World
from twostream.experiments import demo
from twostream.log import Log, StepResult, read_log
from twostream.validation import Validation

EXPERIMENT = replace(demo(), steps=8, batch=10)
ALONE = World(torch.device("cpu"))


def log(folder: Path, done: int = 0, world: World = ALONE) -> Log:
    return Log(folder, "rgb", EXPERIMENT, videos=20, done=done, world=world, workers=3)


def result(step: int) -> StepResult:
    return StepResult(loss_sum=10.0 * step, right=step, clips=10, gradient_norm=5.0 / step)


def write(folder: Path, steps: range, done: int = 0, waited: float = 0.25) -> None:
    with log(folder, done) as opened:
        for step in steps:
            opened.add(result(step), seconds=2.0, waited=waited)
            if opened.row_is_due(step):
                opened.write(step, 0.5, Validation(0.1 * step, 0.5) if step == 4 else None)


def test_a_row_is_the_mean_over_its_steps(tmp_path: Path) -> None:
    write(tmp_path, range(1, 9))
    rows = read_log(tmp_path / "log.csv")
    assert [row.step for row in rows] == [2, 4, 6, 8]
    assert rows[1].loss == pytest.approx(3.5)
    assert rows[1].clip_top1 == pytest.approx(0.35)
    assert rows[1].gradient_norm == pytest.approx(5 / 3)
    assert rows[1].clips_per_second == pytest.approx(5)
    assert rows[1].waiting == pytest.approx(0.125)
    assert (rows[1].epoch, rows[1].rate) == (2.0, 0.5)
    assert (rows[1].validation_loss, rows[1].validation_top1) == (pytest.approx(0.4), 0.5)
    assert (rows[2].validation_loss, rows[2].validation_top1) == (None, None)


def test_the_wait_for_the_first_clips_does_not_count(tmp_path: Path) -> None:
    """Processes that read start within seconds, once."""
    with log(tmp_path) as opened:
        opened.add(result(1), seconds=30.0, waited=29.0)
        opened.add(result(2), seconds=1.0, waited=0.0)
        opened.write(2, 0.5)
    assert opened.rows[0].clips_per_second == pytest.approx(10)
    assert opened.rows[0].waiting == 0


def test_later_rows_are_written_anew(tmp_path: Path) -> None:
    write(tmp_path, range(1, 9))
    write(tmp_path, range(5, 9), done=4)
    assert [row.step for row in read_log(tmp_path / "log.csv")] == [2, 4, 6, 8]


def test_it_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    with log(tmp_path / "a") as cut:
        cut.add(result(1), 2.0, 0.0)
        state = cut.state_dict()
    (tmp_path / "b").mkdir()
    with log(tmp_path / "b", done=1) as later:
        later.load_state_dict(state)
        later.add(result(2), 2.0, 0.0)
        later.write(2, 0.5)
    assert later.rows[0].loss == pytest.approx(1.5)


def test_a_line_tells_the_figures_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, range(1, 5))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "rgb epoch   2.0  step 4/8  rate 0.5  loss 3.500  clip top-1  35.0%  5.0 clips/s  "
        "12% waiting  00:08 left  validation: loss 0.400, top-1 50.0%"
    )


def test_it_warns_once_that_data_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, range(1, 9), waited=1.0)
    warnings = [line for line in capsys.readouterr().out.splitlines() if "waiting for" in line]
    assert len(warnings) == 1
    assert "give more than 3 --workers" in warnings[0]


def test_only_the_main_process_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log(tmp_path, world=World(torch.device("cpu"), rank=1, size=2)) as opened:
        opened.add(result(1), 1.0, 0.0)
        opened.write(1, 0.5)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
    assert opened.rows[0].loss == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["step,loss\n1,2\n", "epoch,step\nx,y\n"])
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=r"log\.csv is no log of a training"):
        read_log(tmp_path / "log.csv")
