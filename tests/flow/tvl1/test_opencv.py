"""OpenCV's solver behind the front door: OpenCV itself as the oracle, bit for bit, and refusals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import InputError, TVL1Params, tvl1

QUICK = TVL1Params(scales=3, warps=2, outer_iterations=2, inner_iterations=5)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """OpenCV's threads would only fight with other work for so small images."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def images(height: int, width: int, count: int = 2, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise, moving to the right by a pixel an image."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width + count))
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    moving = [smooth[:, count - n : count - n + width] for n in range(count)]
    return np.stack(moving).round().astype(np.uint8)


def solve(first: Any, second: Any, params: TVL1Params = QUICK, **options: Any) -> Any:
    return tvl1(first, second, params, solver="opencv", **options)


def by_hand(first: Any, second: Any, params: TVL1Params, initial: Any = None) -> Any:
    """cv2 with each parameter set by its own setter, on a solver that was never used before."""
    solver = cv2.optflow.DualTVL1OpticalFlow.create()
    solver.setTau(params.tau)
    solver.setLambda(params.lambda_)
    solver.setTheta(params.theta)
    solver.setScalesNumber(params.scales)
    solver.setScaleStep(params.scale_step)
    solver.setWarpingsNumber(params.warps)
    solver.setEpsilon(params.epsilon)
    solver.setInnerIterations(params.inner_iterations)
    solver.setOuterIterations(params.outer_iterations)
    solver.setMedianFiltering(params.median)
    solver.setUseInitialFlow(initial is not None)
    return solver.calc(first, second, None if initial is None else initial.copy())


@pytest.mark.parametrize("size", [(2, 2), (3, 20), (16, 16), (17, 31), (48, 64)])
def test_it_is_opencv_at_any_size(size: tuple[int, int]) -> None:
    first, second = images(*size)
    flow = solve(first, second, TVL1Params())
    assert flow.shape == (*size, 2)
    assert flow.dtype == np.float32
    assert (flow == by_hand(first, second, TVL1Params())).all()


@pytest.mark.parametrize(
    "change",
    [
        {"tau": 0.1},
        {"lambda_": 0.05},
        {"theta": 0.1},
        {"scales": 1},
        {"scale_step": 0.5},
        {"warps": 3},
        {"epsilon": 0.2},
        {"inner_iterations": 9},
        {"outer_iterations": 1},
        {"median": 3},
        {"median": 1},
    ],
    ids=str,
)
def test_each_parameter_reaches_opencv(change: dict[str, Any]) -> None:
    first, second = images(40, 50)
    params = replace(QUICK, **change)
    flow = solve(first, second, params)
    assert (flow == by_hand(first, second, params)).all()
    assert (flow != solve(first, second, QUICK)).any()


def test_float_images_are_opencvs_float_images() -> None:
    first, second = images(40, 50).astype(np.float32) / 255 * np.float32(0.7)
    assert (solve(first, second) == by_hand(first, second, QUICK)).all()


def test_initial_flow_reaches_opencv_and_is_not_changed() -> None:
    first, second = images(40, 50)
    initial = np.random.default_rng(1).normal(1, 1, (40, 50, 2)).astype(np.float32)
    before = initial.copy()
    flow = solve(first, second, initial=initial)
    assert (initial == before).all()
    assert (flow == by_hand(first, second, QUICK, initial)).all()
    assert (flow != solve(first, second)).any()


def test_a_batch_equals_its_pairs() -> None:
    frames = images(40, 50, count=4)
    initial = np.random.default_rng(1).normal(1, 1, (3, 40, 50, 2)).astype(np.float32)
    flows = solve(frames[:-1], frames[1:])
    started = solve(frames[:-1], frames[1:], initial=initial)
    assert flows.shape == started.shape == (3, 40, 50, 2)
    for n in range(3):
        assert (flows[n] == solve(frames[n], frames[n + 1])).all()
        assert (started[n] == solve(frames[n], frames[n + 1], initial=initial[n])).all()


def test_a_small_image_leaves_no_trace() -> None:
    """OpenCV lowers a solver's own number of scales on a small image, and keeps it lowered."""
    first, second = images(48, 64)
    expected = solve(first, second)
    solve(*images(18, 18))
    assert (solve(first, second) == expected).all()
    assert (expected == by_hand(first, second, QUICK)).all()


def test_a_level_that_would_be_empty_is_left_out() -> None:
    first, second = images(4, 20)
    params = replace(QUICK, scale_step=0.1)
    with pytest.raises(cv2.error):  # OpenCV resizes before it looks at the size
        by_hand(first, second, params)
    assert (solve(first, second, params) == solve(first, second, replace(QUICK, scales=1))).all()


def test_the_cuda_sampling_is_refused() -> None:
    first, second = images(20, 24)
    with pytest.raises(InputError, match=r"'opencv' has no sampling 'opencv_cuda'; give .*\.$"):
        solve(first, second, TVL1Params.opencv_cuda())


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_a_side_of_one_pixel_is_refused(size: tuple[int, int]) -> None:
    image = np.zeros(size, np.uint8)
    with pytest.raises(InputError, match=f"images of {size[1]} x {size[0]} pixels; give"):
        solve(image, image)


def test_an_opencv_without_its_contributed_modules_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(InputError, match="has no TV-L1; leave opencv-contrib-python"):
        solve(*images(20, 24))
