"""The native solver in a process of its own: Ctrl-C ends it, and its memory is as documented."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flow.tvl1 import cpu

ENDLESS = """
import sys
import numpy as np
from flow.tvl1 import TVL1Params, cpu
frames = np.random.default_rng(0).integers(0, 256, (9, 480, 640), dtype=np.uint8)
print("go", flush=True)
try:
    cpu.solve_video(frames, TVL1Params(epsilon=1e-30, inner_iterations=10**9, median=1))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(7)
"""


def start(script: str) -> "subprocess.Popen[str]":
    root = str(Path(cpu.__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


def test_ctrl_c_ends_a_solve() -> None:
    with start(ENDLESS) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            # Without the interruption this would take years.
            assert process.wait(timeout=20) == 7
            assert process.stdout.read() == "interrupted\n"
        finally:
            process.kill()


MEMORY = """
import re
from pathlib import Path
import numpy as np
from flow.tvl1 import TVL1Params, cpu
def peak():
    # Unlike ru_maxrss, which a process takes over from the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
params = TVL1Params(warps=1, inner_iterations=1, outer_iterations=1)
frames = np.full((3, 1080, 1920), 100, np.uint8)
cpu.solve_video(frames[:, :20, :20], params, 2)
flow = np.ones((2, 1080, 1920, 2), np.float32)  # as much as the result
before = peak()
del flow
cpu.solve_video(frames, params, 2)
after = peak()
print((after - before) * 1024 / (1080 * 1920))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_memory_is_what_the_docstring_says() -> None:
    with start(MEMORY) as process:
        out, _ = process.communicate(timeout=60)
    bytes_a_pixel_a_thread = float(out) / 2
    assert 60 < bytes_a_pixel_a_thread < 88
