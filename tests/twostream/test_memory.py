"""Freed memory is kept for the next tensors, in the processes that compute: page faults counted."""

import platform
import subprocess
import sys

import pytest

PAGES_OF_64_MIB = (64 << 20) // 4096
TIMES = 20
COUNT = f"""
import resource

def faults(times={TIMES}):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones({64 << 18})
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""
NETWORK = "from twostream.models import p3d_small; model = p3d_small(4, 3)\n"
SCORING = "from twostream.models.inference import for_inference; for_inference(model)\n"
TRAINING = """
from dataclasses import replace
from twostream.distributed import alone
from twostream.experiments import demo
from twostream.trainer import Trainer
Trainer(model, replace(demo(), model="p3d_small"), (), alone("cpu"))
"""


def faults(before: str) -> int:
    """Of twenty tensors of 64 MiB, one after the other, in a process that has done this before."""
    code = f"import torch\n{before}{COUNT}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
@pytest.mark.parametrize("work", [SCORING, TRAINING], ids=["scoring", "training"])
def test_processes_that_compute_keep_freed_memory(work: str) -> None:
    assert faults(NETWORK) >= TIMES * PAGES_OF_64_MIB  # as it is without
    assert faults(NETWORK + work) <= 2 * PAGES_OF_64_MIB
