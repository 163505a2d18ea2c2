"""The engine on a Ray cluster. Kinds: known answer, oracle (flow computed here), deaths.

The nodes of the cluster are processes of this machine; dying, they are killed with all they run.
"""

import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from flow import engine_ray
from flow.engines import Done, Progress
from flow.errors import InputError
from flow.extract import extract
from flow.manifest import read_manifest
from flow.settings import Settings
from flow.status import verify_store
from flow.store import find_store_files
from flow.tvl1 import TVL1Params
from living import descendants, is_running, name_of, wait_for
from misbehaving import (
    HELPERS,
    device,
    dies_at_first,
    ends_after,
    flow_of,
    frames,
    solved,
    waits_for,
    work,
)
from twostream.demo import write_video

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs Ray: pip install '.[ray]'", allow_module_level=True)

MEMORY = 75 * 2**20  # the least that Ray takes
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test hangs."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("60 seconds are over")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine looks at the nodes more often than it need."""
    monkeypatch.setattr(engine_ray, "LOOK_SECONDS", 0.2)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """What the processes of all clusters start with; their files are removed."""
    folder = tempfile.mkdtemp(prefix="ray-")  # the names of Ray's sockets must stay short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HELPERS), prepend=os.pathsep)
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # a token would lie in the home folder
        patch.delenv("RAY_ADDRESS", raising=False)
        _read_the_environment()
        yield
    _read_the_environment()
    shutil.rmtree(folder)


def _read_the_environment() -> None:
    """Ray in this process has the settings of now, not of when it was first used."""
    from ray._raylet import Config

    Config.initialize("")


@pytest.fixture(scope="module")
def cluster(environment: None) -> Iterator[Any]:
    """A cluster of one node, which has four processors and, for all that Ray knows, two GPUs."""
    from ray.cluster_utils import Cluster

    others = descendants(os.getpid())
    cluster = Cluster()
    # Ray notices sooner than it would that a node has died.
    system = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    node = {"num_cpus": 4, "num_gpus": 2, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster.add_node(**node, _system_config=system)
    processes = descendants(os.getpid()) - others
    yield cluster
    cluster.shutdown()
    wait_for(lambda: not any(map(is_running, processes)))


def test_each_task_ends_once_whatever_its_process_does(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_ray, "TRIES", 2)
    bad = ["killed", "crashed", "wrong", "unexpected", "exits", "odd"]
    tasks = ["a", *bad, "b", "interrupted", "c"]
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    told = dict.fromkeys(tasks, 0)
    for event in engine_ray.run(work, tasks, 3, address=cluster.address):
        if isinstance(event, Progress):
            assert event.task not in done
            told[event.task] += event.amount
        elif isinstance(event, Done):
            assert done.setdefault(event.task, event.result) is event.result
        else:
            assert failed.setdefault(event.task, event.reason) is event.reason
    assert done == {"a": "A", "b": "B", "c": "C", "interrupted": "INTERRUPTED"}
    assert {task for task in tasks if told[task]} == done.keys()
    assert set(told.values()) == {0, 5}
    assert failed.keys() == set(bad)
    assert failed["wrong"] == "a reason"
    assert failed["unexpected"] == "unexpected ZeroDivisionError: several lines"
    assert failed["odd"] == "unexpected OddError: a word"
    for task in ("killed", "crashed", "exits"):
        assert "its process died 2 times" in failed[task]


def test_a_task_whose_process_dies_is_begun_again(cluster: Any, tmp_path: Path) -> None:
    task = tmp_path / "begun"
    with closing(engine_ray.run(dies_at_first, [task], address=cluster.address)) as events:
        assert next(events) == Progress(task, 1)
        task.with_name("told").touch()
        assert list(events) == [Progress(task, 1), Done(task, "alive")]


def test_progress_arrives_while_the_task_runs(cluster: Any, tmp_path: Path) -> None:
    task = tmp_path / "go on"
    with closing(engine_ray.run(waits_for, [task], address=cluster.address)) as events:
        assert next(events) == Progress(task, "begun")
        task.touch()
        assert list(events) == [Done(task, "ended")]


def test_a_process_takes_one_task_after_another(cluster: Any) -> None:
    events = list(engine_ray.run(work, ["who"] * 200, 2, address=cluster.address))
    assert len(events) == 200
    assert len({event.result for event in events if isinstance(event, Done)}) <= 2


def test_a_process_for_which_nothing_is_left_ends(cluster: Any, tmp_path: Path) -> None:
    tasks = [tmp_path / "short", tmp_path / "long"]
    events = list(engine_ray.run(ends_after, tasks, address=cluster.address))
    assert events == [
        Done(tasks[0], "at once"),
        Done(tasks[1], "after the process of the other"),
    ]


def test_a_process_goes_on_after_a_bad_input_but_not_after_an_unexpected_error(
    cluster: Any,
) -> None:
    tasks = ["who", "wrong", "who", "unexpected", "who"]
    first, _, second, _, third = engine_ray.run(work, tasks, 1, address=cluster.address)
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert isinstance(third, Done)
    assert first.result == second.result != third.result


def test_each_task_has_its_share_of_one_gpu(cluster: Any, tmp_path: Path) -> None:
    tasks = [tmp_path / str(i) for i in range(4)]
    events = list(engine_ray.run(device, tasks, address=cluster.address, gpus_a_task=0.5))
    devices = [event.result for event in events if isinstance(event, Done)]
    assert sorted(devices) == ["0", "0", "1", "1"]


@pytest.mark.parametrize(
    ("nodes", "gpus_a_task", "slots"),
    [
        ([{"CPU": 8.0}, {"CPU": 3.0, "GPU": 1.0}, {}], 0.0, 11),
        ([{"CPU": 8.0}, {"CPU": 3.0, "GPU": 1.0}, {}], 0.25, 3),
        ([{"CPU": 8.0, "GPU": 1.0}], 0.25, 4),
        ([{"CPU": 64.0, "GPU": 2.0}], 0.3, 6),
        ([{"CPU": 64.0, "GPU": 1.0}], 0.1, 10),
        ([{"CPU": 64.0, "GPU": 3.0}, {"CPU": 64.0, "GPU": 1.0}], 2.0, 1),
        ([{"CPU": 0.5, "GPU": 1.0}], 1.0, 0),
        ([], 0.0, 0),
    ],
)
def test_how_many_tasks_nodes_hold(
    nodes: list[dict[str, float]], gpus_a_task: float, slots: int
) -> None:
    assert engine_ray._slots(nodes, gpus_a_task) == slots


def test_closing_ends_what_the_processes_are_at(cluster: Any) -> None:
    with closing(engine_ray.run(work, ["asleep"] * 9, address=cluster.address)) as events:
        processes = [event.amount for event in itertools.islice(events, 4)]
        assert all(map(is_running, processes))
    wait_for(lambda: not any(map(is_running, processes)), seconds=5)


@contextmanager
def script_at_work(
    folder: Path, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A script that has two tasks done, and the processes that are at them."""
    ours = {"RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"} if not arguments else set()
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    with subprocess.Popen(
        [sys.executable, "-W", "error", HELPERS / "ray_caller.py", *arguments],
        env=environment | {"HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        workers = {int(process.stdout.readline()) for _ in range(2)}
        assert all(map(is_running, workers))
        yield process, workers


def test_ctrl_c_reaches_the_caller_only(tmp_path: Path) -> None:
    with script_at_work(tmp_path) as (process, workers):
        started = descendants(process.pid)
        assert workers < started
        (raylet,) = (child for child in started if name_of(child) == "raylet")
        assert b"RAY_USAGE_STATS_ENABLED=0" in Path(f"/proc/{raylet}/environ").read_bytes()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate()
    assert out == ""
    assert err.startswith("Traceback")
    assert err.endswith("KeyboardInterrupt\n")
    wait_for(lambda: not any(map(is_running, started)), seconds=5)


def test_nothing_outlives_a_caller_that_runs_ray_itself(tmp_path: Path) -> None:
    with script_at_work(tmp_path) as (process, workers):
        started = descendants(process.pid)
        assert workers < started
        process.kill()
    wait_for(lambda: not any(map(is_running, workers)), seconds=5)
    for helper in filter(is_running, started):  # Ray's own, which wait a minute for their head
        os.kill(helper, signal.SIGKILL)


def test_nothing_outlives_the_caller_of_a_cluster(cluster: Any, tmp_path: Path) -> None:
    with script_at_work(tmp_path, cluster.address) as (process, workers):
        process.kill()
    wait_for(lambda: not any(map(is_running, workers)))


@pytest.fixture
def silent() -> str:
    """An address where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


def test_a_cluster_that_does_not_answer(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    for address in (silent, "no-such-host.invalid:6379"):
        with pytest.raises(InputError, match=f"No Ray cluster answers at {address}"):
            next(engine_ray.run(work, ["a"], address=address))
    for address in ("somewhere", "ray://127.0.0.1:10001", ":1", "host:"):
        with pytest.raises(InputError, match="is no address of a Ray cluster"):
            next(engine_ray.run(work, ["a"], address=address))
    monkeypatch.setenv("RAY_ADDRESS", silent)
    with pytest.raises(InputError, match=silent):
        next(engine_ray.run(work, ["a"], address="auto"))
    assert time.monotonic() - started < 20


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install '.\[ray\]'"):
        next(engine_ray.run(work, ["a"]))


def test_ray_is_not_loaded_unless_it_is_used() -> None:
    code = "import sys, flow.extract, flow.engine_ray; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_ray_is_in_use_already(cluster: Any) -> None:
    import ray

    ray.init(cluster.address, logging_level="CRITICAL", log_to_driver=False)
    try:
        with pytest.raises(InputError, match="in use"):
            next(engine_ray.run(work, ["a"], address=cluster.address))
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_no_tasks_need_no_ray(silent: str) -> None:
    assert list(engine_ray.run(work, [], address=silent)) == []


def test_wrong_numbers() -> None:
    with pytest.raises(InputError, match="workers is 0"):
        next(engine_ray.run(work, ["a"], 0))
    for gpus in (-1.0, 1.5):
        with pytest.raises(InputError, match=f"take {gpus} GPUs"):
            next(engine_ray.run(work, ["a"], gpus_a_task=gpus))


def test_a_function_that_the_nodes_cannot_import(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def work(task, tell): return task")
    monkeypatch.syspath_prepend(tmp_path)
    only_here = importlib.import_module("only_here")
    with pytest.raises(InputError, match=r"No process starts .*No module named 'only_here'"):
        next(engine_ray.run(only_here.work, ["a", "b"], address=cluster.address))


def test_processes_that_do_not_start_at_first(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    get, fails = ray.get, iter(range(2))

    def sometimes(ref: Any) -> Any:
        if next(fails, None) is not None:
            raise ray.exceptions.ActorDiedError
        return get(ref)

    monkeypatch.setattr(ray, "get", sometimes)
    events = list(engine_ray.run(work, ["who"] * 5, 1, address=cluster.address))
    assert [type(event) for event in events] == [Done] * 5
    fails = itertools.repeat(0)
    monkeypatch.setattr(engine_ray, "PATIENCE_SECONDS", 1)
    with pytest.raises(InputError, match="No process starts"):
        next(engine_ray.run(work, ["a"], address=cluster.address))


def test_no_node_can_hold_a_task(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="has a CPU and 3 GPUs"):
        next(engine_ray.run(work, ["a"], address=cluster.address, gpus_a_task=3))

    monkeypatch.setattr(engine_ray, "PATIENCE_SECONDS", 1)
    with closing(engine_ray.run(work, ["asleep"], address=cluster.address)) as events:
        assert isinstance(next(events), Progress)
        monkeypatch.setattr(engine_ray, "_slots", lambda nodes, gpus_a_task: 0)
        with pytest.raises(InputError, match="has a CPU for a task"):
            list(events)


def test_ray_dies_on_this_machine(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    nodes = ray.nodes
    with closing(engine_ray.run(work, ["asleep"], address=cluster.address)) as events:
        assert isinstance(next(events), Progress)
        monkeypatch.setattr(ray, "nodes", lambda: [{**node, "Alive": False} for node in nodes()])
        with pytest.raises(InputError, match="Ray has died on this machine"):
            list(events)


def test_nodes_come_and_die_and_nothing_is_lost_or_done_twice(cluster: Any, tmp_path: Path) -> None:
    tasks = [tmp_path / str(seed) for seed in range(9)]
    at_half: dict[Path, int] = {}
    ended: Counter[Path] = Counter()
    node: Any = None
    with closing(engine_ray.run(flow_of, tasks, address=cluster.address)) as events:
        for event in itertools.islice(events, 6):
            assert isinstance(event, Progress)
            at_half[event.task] = event.amount
            node = node or cluster.add_node(num_cpus=2, object_store_memory=MEMORY)
        raylet = node.all_processes["raylet"][0].process
        killed = {raylet.pid, *descendants(raylet.pid)}
        lost = {task for task, process in at_half.items() if process in killed}
        assert len(lost) == 2
        for process in killed:
            os.kill(process, signal.SIGKILL)
        (tmp_path / "go on").touch()
        for event in events:
            if not isinstance(event, Progress):
                assert event == Done(event.task, 29 * 24 * 32 * 2)
                ended[event.task] += 1
    assert ended == dict.fromkeys(tasks, 1)
    cluster.remove_node(node, allow_graceful=False)

    for task in tasks:
        processes = task.with_name(f"{task.name}.begun").read_text().split()
        assert len(processes) == (2 if task in lost else 1)
        assert int(processes[-1]) not in killed
        video = frames(int(task.name))
        assert task.read_bytes() == b"".join(map(solved, video, video[1:]))


def test_an_extraction_outlives_a_node_that_dies(cluster: Any, tmp_path: Path) -> None:
    signal.alarm(180)  # Ray takes its time to notice
    videos, here, there = (tmp_path / name for name in ("videos", "here", "there"))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        still = rng.integers(0, 256, (80, 160, 3), dtype=np.uint8)
        write_video(videos / f"{seed}.avi", np.stack([still[:, t : t + 96] for t in range(40)]))
    settings = Settings(solver="cpu", params=TVL1Params(warps=2, outer_iterations=4, epsilon=1e-6))
    node = cluster.add_node(num_cpus=2, object_store_memory=MEMORY)
    raylet = node.all_processes["raylet"][0].process

    def kill_the_node() -> None:
        wait_for(lambda: set(map(name_of, descendants(raylet.pid))) & {"ray::_Process.d"}, 40)
        wait_for(lambda: find_store_files(there), 40)
        for process in {raylet.pid, *descendants(raylet.pid)}:
            os.kill(process, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_the_node)
        summary = extract(
            videos, there, settings, progress=False, engine="ray", address=cluster.address
        )
        killed.result()
    cluster.remove_node(node, allow_graceful=False)
    # What the node had stored and not told yet is found there when it is begun again.
    assert (summary.stored + summary.present, summary.failures) == (10, ())
    plain = extract(videos, here, settings, 2, progress=False)
    assert plain.stored == 10
    files = find_store_files(here)
    assert find_store_files(there).keys() == files.keys()
    for video, path in find_store_files(there).items():
        assert path.read_bytes() == files[video].read_bytes()
    assert [row["video"] for row in read_manifest(there)] == [str(seed) for seed in range(10)]
    assert verify_store(there, 1, progress=False, videos=videos) == []
    assert list(there.rglob(".*")) == []
