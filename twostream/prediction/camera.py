"""A camera: the newest frames that follow each other, as often as there is time for them."""

import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.scaling import scaled


class Camera:
    """The frames of a camera; as a context.

    A thread reads them, so that none is missing within a run: where answers take longer than the
    frames that they are about, frames between two runs are left out instead.

    Args:
        index: Of the camera, from 0.
        length: Frames in a run.
        step: Take every frame (1), every second one (2), ...

    Attributes:
        fps: Frames a second of those that are taken, as the camera states it; 0 where it does not.

    Raises:
        InputError: No such camera.
    """

    def __init__(self, index: int, length: int, step: int = 1) -> None:
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise InputError(
                f"Camera {index} cannot be opened; give the number of one that is connected and "
                "not in use, or the name of a video."
            )
        self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS))) / step
        self._index, self._length, self._step = index, length, step
        self._newest: deque[NDArray[np.uint8]] = deque(maxlen=length)
        self._read = 0
        self._over = self._failed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._keep_reading, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()
        self._capture.release()

    def runs(self, short_side: int | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Runs of frames uint8 (length, H, W, 3) RGB with the number of their first one, from 0.

        No frame is in two of them. They end when the camera gives no more frames.

        Raises:
            InputError: The camera fails.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or len(self._newest) == self._length)
                if self._failed:
                    raise InputError(f"Camera {self._index} has failed; connect it again.")
                if len(self._newest) < self._length:
                    return
                start, frames = self._read - self._length, list(self._newest)
                self._newest.clear()
            rgb = [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames]
            yield start, np.stack([scaled(frame, short_side) for frame in rgb])

    def _keep_reading(self) -> None:
        seen = 0
        while not self._over:
            try:
                good, frame = self._capture.read()
            except cv2.error:
                good, self._failed = False, True
            with self._changed:
                self._over = self._over or not good
                if good and seen % self._step == 0:
                    self._newest.append(frame)
                    self._read += 1
                self._changed.notify_all()
            seen += 1
