"""Algorithms beside TV-L1. Kinds: oracle (OpenCV called directly), known answer (a shift)."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.algorithms import SMALLEST_SIDE, video_flow
from flow.errors import InputError
from flow.meta import Algorithm
from flow.tvl1 import TVL1Params, tvl1_video


def video(count: int = 4, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """Something that moves 2 pixels to the right and 1 up in each frame."""
    rng = np.random.default_rng(0)
    size = (width + 2 * count, height + count)
    still = cv2.GaussianBlur(rng.uniform(0, 255, (size[1], size[0])), (0, 0), 3)
    still = cv2.normalize(still, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([still[t : t + height, 2 * (count - t) :][:, :width] for t in range(count)])


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback", "dis"])
def test_a_shift_is_found(algorithm: Algorithm) -> None:
    flow = video_flow(video(), algorithm)
    assert flow.shape == (3, 60, 80, 2)
    assert flow.dtype == np.float32
    inside = flow[:, 12:-12, 12:-12]
    assert np.abs(np.median(inside, axis=(1, 2)) - [2, -1]).max() < 0.15


def test_each_is_what_opencv_computes() -> None:
    frames = video()
    farneback = cv2.calcOpticalFlowFarneback(frames[1], frames[2], None, 0.5, 3, 15, 3, 5, 1.2, 0)
    assert np.array_equal(video_flow(frames, "farneback")[1], farneback)
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    assert np.array_equal(video_flow(frames, "dis")[1], solver.calc(frames[1], frames[2], None))
    params = TVL1Params(scales=2, warps=1)
    assert np.array_equal(
        video_flow(frames, "tvl1", params, "cpu"), tvl1_video(frames, params, "cpu")
    )


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback", "dis"])
def test_windows_do_not_matter_and_may_be_empty(algorithm: Algorithm) -> None:
    frames = video()
    flow = video_flow(frames, algorithm)
    parts = [video_flow(frames[k : k + 2], algorithm)[0] for k in range(3)]
    assert np.array_equal(flow, parts)
    assert video_flow(frames[:1], algorithm).shape == (0, 60, 80, 2)


@pytest.mark.parametrize("size", [(SMALLEST_SIDE, 200), (300, SMALLEST_SIDE), (16, 16)])
def test_the_smallest_frames_for_dis(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, *size), dtype=np.uint8)
    assert np.isfinite(video_flow(frames, "dis")).all()
    small = frames[:, : SMALLEST_SIDE - 1] if size[0] == SMALLEST_SIDE else frames[:, :, :15]
    with pytest.raises(InputError, match="sides of 16 pixels or more"):
        video_flow(small, "dis")
    assert np.isfinite(video_flow(small, "farneback")).all()
