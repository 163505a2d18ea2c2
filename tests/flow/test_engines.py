"""Where the work runs. Kinds: known answer (each task ends once), death of processes."""

import itertools
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from flow import engines
from living import is_running, wait_for
from misbehaving import HELPERS, work


@pytest.mark.parametrize("workers", [1, 3])
def test_each_task_ends_once_whatever_its_process_does(workers: int) -> None:
    tasks = ["a", "killed", "b", "crashed", "wrong", "c", "ended", "unexpected", "d"]
    done, failed, units = {}, {}, dict.fromkeys(tasks, 0)
    for event in engines.run(work, tasks, workers):
        if isinstance(event, engines.Progress):
            units[event.task] += event.amount
        elif isinstance(event, engines.Done):
            assert done.setdefault(event.task, event.result) is event.result
        else:
            assert failed.setdefault(event.task, event.reason) is event.reason
    assert done == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert {task for task in tasks if units[task]} == done.keys()
    assert set(units.values()) == {0, 5}
    assert failed["wrong"] == "a reason"
    assert failed["unexpected"] == "unexpected ZeroDivisionError: several lines"
    assert "memory" in failed["killed"]
    assert "SIGSEGV" in failed["crashed"]
    assert "status 3" in failed["ended"]
    assert len(failed) == 5


def test_no_process_outlives_the_iterator() -> None:
    started = time.perf_counter()
    with closing(engines.run(work, ["asleep", "asleep"], 2)) as events:
        processes = [event.amount for event in itertools.islice(events, 2)]
        assert all(map(is_running, processes))
    assert not any(map(is_running, processes))
    assert time.perf_counter() - started < 30


def test_a_process_takes_one_task_after_another() -> None:
    events = list(engines.run(work, ["who"] * 6, 2))
    assert len(events) == 6
    assert len({event.result for event in events if isinstance(event, engines.Done)}) <= 2


def test_ctrl_c_is_not_for_the_workers() -> None:
    (event,) = engines.run(work, ["interrupts"], 1)
    assert isinstance(event, engines.Done)
    assert event.result == (True, True)

    events: list[object] = []
    thread = threading.Thread(target=lambda: events.extend(engines.run(work, ["interrupts"], 1)))
    thread.start()
    thread.join()
    assert events == [engines.Done("interrupts", (False, True))]


def test_no_process_outlives_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HELPERS), prepend=os.pathsep)
    script = tmp_path / "script.py"
    script.write_text(
        "import misbehaving\n"
        "from flow import engines\n"
        "if __name__ == '__main__':\n"
        "    for event in engines.run(misbehaving.work, ['asleep'], 1):\n"
        "        print(event.amount, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    wait_for(lambda: not is_running(worker))
