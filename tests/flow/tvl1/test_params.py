"""The parameters and the front door: OpenCV's defaults, refusals, and identities of shape."""

import math
import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import InputError, TVL1Params, tvl1, tvl1_video
from flow.tvl1 import choose_solver

NUMBERS = [field.name for field in fields(TVL1Params) if field.type is float]
COUNTS = [field.name for field in fields(TVL1Params) if field.type is int]
QUICK = TVL1Params(scales=2, warps=1, outer_iterations=1, inner_iterations=5)


def images(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def solve(first: Any, second: Any, params: TVL1Params = QUICK, **options: Any) -> Any:
    return tvl1(first, second, params, solver="reference", **options)


def test_defaults_are_opencvs() -> None:
    solver = cv2.optflow.DualTVL1OpticalFlow.create()
    assert TVL1Params() == TVL1Params(
        tau=solver.getTau(),
        lambda_=solver.getLambda(),
        theta=solver.getTheta(),
        scales=solver.getScalesNumber(),
        scale_step=solver.getScaleStep(),
        warps=solver.getWarpingsNumber(),
        epsilon=solver.getEpsilon(),
        inner_iterations=solver.getInnerIterations(),
        outer_iterations=solver.getOuterIterations(),
        median=solver.getMedianFiltering(),
        sampling="opencv",
    )


def test_opencv_cuda_differs_in_the_loop_the_median_and_the_sampling() -> None:
    assert TVL1Params.opencv_cuda() == replace(
        TVL1Params(), inner_iterations=300, outer_iterations=1, median=1, sampling="opencv_cuda"
    )


def test_parameters_are_frozen_and_hashable() -> None:
    params = TVL1Params()
    with pytest.raises(FrozenInstanceError):
        params.tau = 0.1  # type: ignore[misc]
    assert len({params, TVL1Params(), TVL1Params.opencv_cuda()}) == 2


@pytest.mark.parametrize(
    "name", [field.name for field in fields(TVL1Params) if field.type is float]
)
@pytest.mark.parametrize("value", [0, -0.1, math.inf, math.nan])
def test_a_number_that_is_not_above_zero_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^TV-L1 parameter {name} is {value}; give .*\.$"):
        TVL1Params(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_count_below_one_or_broken_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^TV-L1 parameter {name} is {value}; give .*\.$"):
        TVL1Params(**{name: value})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale_step": 1.0}, "TV-L1 parameter scale_step is 1.0; give a number below 1."),
        ({"scale_step": 1.5}, "TV-L1 parameter scale_step is 1.5; give a number below 1."),
        ({"median": 2}, "TV-L1 parameter median is 2; give 1 (off), 3 or 5."),
        ({"median": 7}, "TV-L1 parameter median is 7; give 1 (off), 3 or 5."),
        (
            {"sampling": "bilinear"},
            "TV-L1 parameter sampling is 'bilinear'; give one of opencv, opencv_cuda.",
        ),
    ],
)
def test_other_values_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        TVL1Params(**change)


def test_one_pair_and_a_batch_have_their_shapes() -> None:
    first, second = images(2, 3, 20, 24)
    batch = solve(first, second)
    assert batch.shape == (3, 20, 24, 2)
    assert batch.dtype == np.float32
    pair = solve(first[1], second[1])
    assert pair.shape == (20, 24, 2)
    assert (pair == batch[1]).all()


def test_float_images_from_0_to_1_are_uint8_images() -> None:
    first, second = images(2, 20, 24)
    flow = solve(first.astype(np.float32) / 255, second.astype(np.float32) / 255)
    assert (flow == solve(first, second)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_views_are_taken_and_nothing_given_is_changed(dtype: type) -> None:
    whole = images(2, 40, 72)
    first, second = (whole / 255 if dtype is np.float32 else whole).astype(dtype)[:, ::2, 1::3]
    initial = np.random.default_rng(1).normal(0, 1, (20, 24, 2)).astype(np.float32)
    given = [first.copy(), second.copy(), initial.copy()]
    flow = solve(first, second, initial=initial)
    assert (flow == solve(given[0], given[1], initial=given[2])).all()
    for array, before in zip((first, second, initial), given, strict=True):
        assert (array == before).all()


def test_a_video_is_its_neighbouring_pairs() -> None:
    frames = images(4, 20, 24)
    flow = tvl1_video(frames, QUICK, solver="reference")
    assert (flow == solve(frames[:-1], frames[1:])).all()


@pytest.mark.parametrize("length", [0, 1])
def test_a_video_without_pairs_has_no_flow(length: int) -> None:
    flow = tvl1_video(images(length, 20, 24), QUICK, solver="reference")
    assert flow.shape == (0, 20, 24, 2)
    assert flow.dtype == np.float32


def test_auto_is_one_of_the_solvers() -> None:
    assert choose_solver("auto") in ("opencv", "cpu", "cuda")
    assert choose_solver("reference") == "reference"


GREY = images(20, 24)
FLOAT = GREY.astype(np.float32) / 255
HOLED = FLOAT.copy()
HOLED[3, 4] = np.nan
HOLED_FLOW = np.zeros((20, 24, 2), np.float32)
HOLED_FLOW[5, 6, 1] = np.inf

REFUSED: list[tuple[tuple[Any, Any], dict[str, Any], str]] = [
    ((GREY, GREY), {"solver": "slow"}, "Solver 'slow' is unknown"),
    (
        (images(2, 20, 24, 3), images(2, 20, 24, 3)),
        {},
        r"previous image has shape \(2, 20, 24, 3\)",
    ),
    ((images(24), images(24)), {}, r"previous image has shape \(24,\); give grey"),
    ((GREY, images(20, 0)), {}, r"following image has shape \(20, 0\)"),
    ((GREY.astype(np.float64), GREY), {}, "previous image is float64; give uint8"),
    ((GREY, GREY > 9), {}, "following image is bool; give uint8"),
    ((GREY, images(20, 25)), {}, r"images differ: uint8 \(20, 24\) and uint8 \(20, 25\)"),
    ((GREY, images(1, 20, 24)), {}, "images differ"),
    ((GREY, FLOAT), {}, r"images differ: uint8 \(20, 24\) and float32 \(20, 24\)"),
    ((HOLED, FLOAT), {}, "previous image has NaN or infinity"),
    ((FLOAT, HOLED), {}, "following image has NaN or infinity"),
    ((FLOAT, 255 * FLOAT), {}, "following image has values from 0 to 25[0-9]; give float32 from 0"),
    ((GREY, GREY), {"initial": HOLED_FLOW}, "initial flow has NaN or infinity"),
    ((GREY, GREY), {"initial": HOLED_FLOW[:-1]}, r"initial flow is float32 \(19, 24, 2\); give"),
    ((GREY, GREY), {"initial": np.zeros((20, 24, 2))}, "initial flow is float64"),
]


@pytest.mark.parametrize(
    ("pair", "options", "sentence"), REFUSED, ids=[case[2] for case in REFUSED]
)
def test_a_wrong_input_is_refused(pair: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        tvl1(*pair, QUICK, **{"solver": "reference", **options})


def test_a_video_that_is_no_video_is_refused() -> None:
    with pytest.raises(InputError, match=r"frames have shape \(20, 24\); give grey frames"):
        tvl1_video(GREY, QUICK, solver="reference")
