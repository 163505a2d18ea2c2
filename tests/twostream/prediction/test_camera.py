"""A stand-in for OpenCV's camera: what is read in which order; refusals."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.errors import InputError
from twostream.prediction.camera import Camera

HEIGHT, WIDTH = 6, 8


class StandIn:
    """Frames of which each pixel says the number; ``wait`` may hold one back."""

    def __init__(self, count: int, wait: Callable[[int], object] = lambda number: None) -> None:
        self.count, self.wait, self.next = count, wait, 0
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.count > 0

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        if self.next == self.count:
            return False, None
        self.wait(self.next)
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[..., 0], frame[..., 2] = 200, self.next % 256  # blue, green, red
        self.next += 1
        return True, frame

    def release(self) -> None:
        self.released = True


def put(monkeypatch: pytest.MonkeyPatch, camera: StandIn) -> StandIn:
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: camera)
    return camera


def test_runs_follow_each_other_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Semaphore(4)
    stand_in = put(monkeypatch, StandIn(10, lambda number: free.acquire(timeout=10)))
    starts = []
    with Camera(0, length=4) as camera:
        assert camera.fps == 30.0
        for start, frames in camera.runs():
            starts.append(start)
            assert frames.shape == (4, HEIGHT, WIDTH, 3)
            assert frames[:, 0, 0].tolist() == [[start + k, 0, 200] for k in range(4)]
            for _ in range(4):
                free.release()
    assert starts == [0, 4]  # the two that are left are no run
    assert stand_in.released


def test_what_comes_while_an_answer_takes_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = put(monkeypatch, StandIn(200, lambda number: time.sleep(0.001)))
    starts = []
    with Camera(0, length=4) as camera:
        for start, frames in camera.runs():
            numbers = frames[:, 0, 0, 0].tolist()
            assert numbers == list(range(start, start + 4))  # none is missing within a run
            starts.append(start)
            time.sleep(0.05)
    assert len(starts) >= 2
    assert all(later - earlier >= 4 for earlier, later in pairwise(starts))
    assert max(np.diff(starts)) > 4
    assert stand_in.next == 200


def test_every_second_frame_and_a_short_side(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, StandIn(6))
    with Camera(0, length=3, step=2) as camera:
        assert camera.fps == 15.0
        ((start, frames),) = camera.runs(short_side=3)
    assert start == 0
    assert frames.shape == (3, 3, 4, 3)
    assert frames[:, 0, 0, 0].tolist() == [0, 2, 4]


def test_left_early_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = put(monkeypatch, StandIn(10**9))
    with Camera(0, length=2) as camera:
        next(camera.runs())
    assert stand_in.released


def test_no_camera_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, StandIn(0))
    with pytest.raises(InputError, match=r"Camera 3 cannot be opened; give"):
        Camera(3, length=2)


def test_a_camera_that_fails_ends_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise cv2.error("unplugged")

    put(monkeypatch, StandIn(10, fail))
    with pytest.raises(InputError, match="Camera 0 has failed"), Camera(0, length=2) as camera:
        list(camera.runs())
