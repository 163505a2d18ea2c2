"""What each stage does. Kinds: known answer."""

import threading
import time
from collections import Counter

import pytest

from flow.throughput import Meter, Throughput, Work


def test_a_meter_adds_what_threads_do_and_forgets_it() -> None:
    meter = Meter()

    def work() -> None:
        for _ in range(200):
            meter.add("decode", 2, 0.25)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.take() == Work(Counter(decode=1600), {"decode": 200.0})
    assert meter.take() == Work()


def test_time_spent_waiting_does_not_count() -> None:
    meter = Meter()
    with meter.busy("encode"):
        time.sleep(0.2)
    with meter.busy("decode"):
        ended = time.thread_time() + 0.05
        while time.thread_time() < ended:
            pass
    seconds = meter.take().seconds
    assert seconds["encode"] < 0.1
    assert 0.05 <= seconds["decode"] < 0.1


WORK = Work(
    Counter(decode=100, solve=90, encode=100, write=100),
    {"decode": 0.1, "solve": 4.5, "encode": 0.4, "write": 0.0},
)


def test_rates_and_shares_of_processors() -> None:
    throughput = Throughput()
    assert (str(throughput), throughput.brief()) == ("", "")
    throughput.add(WORK)
    throughput.add(WORK)
    assert throughput.rates() == pytest.approx({"decode": 1000, "solve": 20, "encode": 250})
    assert throughput.shares() == pytest.approx(
        {"decode": 0.02, "solve": 0.9, "encode": 0.08, "write": 0}
    )
    assert "solve 20 (90%)" in str(throughput)
    assert "Solving limits: more processors, or a GPU, would" in str(throughput)
    assert "GPU" not in throughput.brief()


def test_a_gpu_and_what_feeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    throughput = Throughput(gpus=2)
    throughput.add(WORK)
    now[0] = 2.5
    assert throughput.gpu_busy() == pytest.approx(0.9)
    assert "busy 90% of the time. It limits: more GPUs" in str(throughput)
    now[0] = 9.0
    assert throughput.gpu_busy() == pytest.approx(0.25)
    assert "busy 25% of the time. Compressing limits: more processors" in str(throughput)
    assert throughput.shares() == pytest.approx({"decode": 0.2, "encode": 0.8, "write": 0})
    assert throughput.brief().endswith("GPU 25%")
