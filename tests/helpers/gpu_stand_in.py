"""What stands for the solver of a GPU in its process, and fails as a GPU may."""

import os
import signal
import threading
import time

import numpy as np

from flow.encoding import clipped_fraction, encode
from flow.errors import InputError
from flow.gpu import Answer, Task
from flow.tvl1 import tvl1_video

_active = _most = 0
_lock = threading.Lock()


def solve(task: Task, device: str) -> Answer:
    """Each pair of frames as an image; in its corner, how many tasks there were at once at most.

    The first pixel of the frames says what goes wrong: 1 the input, 2 and 56 to 64 the GPU, 3 the
    process.
    """
    global _active, _most
    first = int(task.frames[0, 0, 0])
    if first == 1:
        raise InputError("a reason")
    if first == 2 or 55 < first < 65:
        raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")
    if first == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    with _lock:
        _active += 1
        _most = max(_most, _active)
    time.sleep(0.05)
    with _lock:
        _active -= 1
    images = np.stack([task.frames[:-1], task.frames[1:]], axis=-1)
    images[:, 0, 0] = _most, int(device[-1])
    return Answer(images, task.bound)


def true_flow(task: Task, device: str) -> Answer:
    """What a GPU answers."""
    field = tvl1_video(task.frames, task.params, "cpu", threads=1)
    return Answer(encode(field, task.bound, task.scheme), clipped_fraction(field, task.bound))
