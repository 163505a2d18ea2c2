"""Where the work runs. Kinds: known answer (each task ends once), death of processes."""

import importlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flow import engines

FUNCTIONS = """
import os, signal, time
from flow.errors import InputError

at_start = signal.getsignal(signal.SIGINT)

def work(task, tell):
    if task == "interrupts":
        return at_start == signal.SIG_IGN, signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if task == "who":
        return os.getpid()
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "crashed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "ended":
        os._exit(3)
    if task == "wrong":
        raise InputError("a reason")
    if task == "unexpected":
        raise ZeroDivisionError("several\\nlines")
    if task == "asleep":
        tell(os.getpid())
        time.sleep(60)
    tell(2)
    tell(3)
    return task.upper()
"""

Function = Callable[[str, engines.Tell], str]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    """A function that the processes of an engine can import."""
    (tmp_path / "functions_of_a_test.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("functions_of_a_test")
    yield module.work
    del sys.modules["functions_of_a_test"]


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet is dead all the same.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("workers", [1, 3])
def test_each_task_ends_once_whatever_its_process_does(work: Function, workers: int) -> None:
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


def test_no_process_outlives_the_iterator(work: Function) -> None:
    started = time.perf_counter()
    with closing(engines.run(work, ["asleep", "asleep"], 2)) as events:
        processes = [event.amount for event in itertools.islice(events, 2)]
        assert all(map(is_running, processes))
    assert not any(map(is_running, processes))
    assert time.perf_counter() - started < 30


def test_a_process_takes_one_task_after_another(work: Function) -> None:
    events = list(engines.run(work, ["who"] * 6, 2))
    assert len(events) == 6
    assert len({event.result for event in events if isinstance(event, engines.Done)}) <= 2


def test_ctrl_c_is_not_for_the_workers(work: Function) -> None:
    (event,) = engines.run(work, ["interrupts"], 1)
    assert isinstance(event, engines.Done)
    assert event.result == (True, True)

    events: list[object] = []
    thread = threading.Thread(target=lambda: events.extend(engines.run(work, ["interrupts"], 1)))
    thread.start()
    thread.join()
    assert events == [engines.Done("interrupts", (False, True))]


def test_no_process_outlives_its_parent(work: Function, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import functions_of_a_test\n"
        "from flow import engines\n"
        "if __name__ == '__main__':\n"
        "    for event in engines.run(functions_of_a_test.work, ['asleep'], 1):\n"
        "        print(event.amount, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    wait_for(lambda: not is_running(worker))


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
