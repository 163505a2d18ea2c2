"""Training that is killed or asked to stop, in real processes: identity with one that is not."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from training_runs import assert_same_training, train_command
from twostream.__main__ import main
from twostream.experiments import demo
from twostream.interruption import Interruption, shielded
from twostream.runs import Checkpoint, Data, Run

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
STEPS = 28
KILLS = 5

# Forks a process that trains, as starting Python anew takes seconds; kills it; and again.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from torch.utils.tensorboard import SummaryWriter
from twostream.distributed import alone
from twostream.runs import Run
from twostream.training import train

run = Run.from_json(Path(sys.argv[1]).read_text())
whole, cut = Path(sys.argv[2]), Path(sys.argv[3])
draw = random.Random(int(sys.argv[4]))

def started(folder):
    child = os.fork()
    if child == 0:
        train(run, folder, 0, alone("cpu"), minutes=0)
        os._exit(0)
    return child

def written(folder):
    path = folder / "checkpoint.pt"
    return path.stat().st_ino if path.exists() else None

assert os.waitpid(started(whole), 0)[1] == 0
for _ in range(int(sys.argv[5])):
    child = started(cut)
    for _ in range(draw.randrange(4)):
        before = written(cut)
        while written(cut) == before:
            time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print(status, sorted(path.name for path in cut.iterdir()) if cut.is_dir() else [])
assert os.waitpid(started(cut), 0)[1] == 0
"""


@pytest.fixture
def run(demo_data: Path) -> Run:
    """12 training clips and 12 to validate on, 8 a step: an epoch is 2 steps."""
    experiment = replace(
        demo(),
        steps=STEPS,
        batch=8,
        clips_at_once=4,
        clip_length=2,
        crop=(32, 32),
        ema=0.9,
        validate_on="held_out",
        held_out=0.5,
        validation_clips=1,
        rate=0.003,
        schedule="cosine",
        warmup_steps=3,
    )
    return Run(experiment, Data(demo_data / "annotations.csv", demo_data / "store"), "flow")


def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run.to_json())
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = [str(tmp_path / "run.json"), str(whole), str(cut), "0", str(KILLS)]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, *arguments],
        cwd=ROOT,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    statuses = [line.split()[0] for line in done.stdout.splitlines() if line.endswith("]")]
    assert statuses == KILLS * [str(int(signal.SIGKILL))]
    assert done.stdout.count(f"of {STEPS} steps") >= 3  # it has gone on, rather than begun anew
    assert_same_training(whole, cut, "checkpoint.pt", "best.pt")
    assert sorted(path.name for path in whole.iterdir()) == sorted(p.name for p in cut.iterdir())


def test_sigterm_to_all_processes_writes_a_checkpoint(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a cluster ends a job: the processes that read clips get the signal, too."""
    more = ["--streams", "flow", "--batch", "8", "--clip-length", "4", "--crop", "48", "48"]
    command = train_command(demo_data, tmp_path, *more, "--device", "cpu")
    process = subprocess.Popen(
        [sys.executable, "-m", "twostream", *command, "--steps", "5000", "--workers", "2"],
        cwd=ROOT,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "flow" / "log.csv").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 143, error
    step = Checkpoint.load(tmp_path / "flow" / "checkpoint.pt").step
    assert 3 <= step < 5000
    assert f"interrupted after step {step}; the same command goes on" in error
    assert "Traceback" not in error
    capsys.readouterr()
    assert main([*command, "--steps", str(step + 1)]) == 0
    assert f"has {step} of {step + 1} steps" in capsys.readouterr().out
    assert Checkpoint.load(tmp_path / "flow" / "checkpoint.pt").step == step + 1


def test_signals_are_remembered_and_handlers_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption() as interruption:
        assert interruption.received() == 0
        signal.raise_signal(signal.SIGTERM)
        assert interruption.received() == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("repeated", [True, False])
def test_a_second_ctrl_c_leaves_at_once_where_it_is_the_users(repeated: bool) -> None:
    with Interruption(repeated) as interruption:
        signal.raise_signal(signal.SIGINT)
        if repeated:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        else:
            signal.raise_signal(signal.SIGINT)
        assert interruption.received() == signal.SIGINT


def test_shielded_processes_do_not_see_the_signals() -> None:
    code = "import time; print('up', flush=True); time.sleep(30)"
    with shielded():
        sleeper = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert sleeper.stdout is not None
    with sleeper:
        assert sleeper.stdout.readline() == "up\n"
        for number in (signal.SIGINT, signal.SIGTERM):
            sleeper.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            sleeper.wait(0.3)
        sleeper.kill()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


READING = """
import torch
from torch.utils.data import DataLoader
from twostream.feeding import read

if __name__ == "__main__":
    loader = DataLoader(
        torch.arange(8.0), num_workers=2, multiprocessing_context="spawn", persistent_workers=True
    )
    batches = read(loader)
    print(next(batches).item())
"""


def test_readers_that_are_left_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """They do not see the SIGTERM by which multiprocessing would end them."""
    script = tmp_path / "reading.py"
    script.write_text(READING)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.0\n", "")
