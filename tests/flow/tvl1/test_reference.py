"""The NumPy solver: identities, known answers, laws, and OpenCV as an oracle.

How near is near was measured with OpenCV 5.0 against itself, one image multiplied by 1.0000001:
a run of few iterations, none of them stopped early, moves by 0.003 px at most on smooth textures
(0.001 px between OpenCV and this solver). Where a field is chaotic it moves without bound:
occlusions, pixels that leave the frame, and an early stop, as one iteration more or less changes
all that follow. On real pairs the median was up to 0.009 px and the mean up to 0.026 px a pair, and
single pixels were off by 10 px. So single pixels never decide here.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import TVL1Params, encode, tvl1
from flow.tvl1 import reference

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

OPENCV, CUDA = TVL1Params(), TVL1Params.opencv_cuda()
SHORT = TVL1Params(epsilon=1e-9, warps=2, outer_iterations=2, inner_iterations=10)
SCHEMES = pytest.mark.parametrize("params", [OPENCV, CUDA], ids=["opencv", "opencv_cuda"])
READINGS = pytest.mark.parametrize("sampling", ["opencv", "opencv_cuda"])

exact_opencv = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 rounds a warp to 1/32 pixel"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """OpenCV's threads would only fight with other work for so small images."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def texture(height: int, width: int, x: float = 0, y: float = 0, seed: int = 0) -> Image:
    """A sum of waves, moved by x pixels to the right and y downwards; exact between pixels too."""
    rng = np.random.default_rng(seed)
    frequency_x, frequency_y = rng.uniform(-0.5, 0.5, (2, 24))
    phase = rng.uniform(0, 2 * np.pi, 24)
    rows, columns = np.mgrid[:height, :width]
    angle = np.multiply.outer(columns - x, frequency_x) + np.multiply.outer(rows - y, frequency_y)
    return (127.5 + 15 * np.cos(angle + phase).sum(-1)).clip(0, 255).round().astype(np.uint8)


def solve(first: Any, second: Any, params: TVL1Params = OPENCV, **options: Any) -> Field:
    return tvl1(first, second, params, solver="reference", **options)


def oracle(first: Any, second: Any, params: TVL1Params = OPENCV, **options: Any) -> Field:
    return tvl1(first, second, params, solver="opencv", **options)


def end_point_difference(flow: Field, other: Any) -> NDArray[np.float64]:
    return np.linalg.norm(np.asarray(flow - other, np.float64), axis=-1)


def transposed(flow: Field) -> Field:
    return np.swapaxes(flow, -3, -2)[..., ::-1]


# Laws


@SCHEMES
@pytest.mark.parametrize("size", [(48, 64), (19, 37), (2, 3), (1, 9), (9, 1), (1, 1)])
def test_no_motion_is_exactly_zero(size: tuple[int, int], params: TVL1Params) -> None:
    image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    assert (solve(image, image, params) == 0).all()


@SCHEMES
def test_no_texture_is_exactly_zero(params: TVL1Params) -> None:
    assert (solve(np.full((20, 30), 90, np.uint8), np.full((20, 30), 130, np.uint8), params) == 0)[
        1:-1, 1:-1
    ].all()


@SCHEMES
@pytest.mark.parametrize("motion", [(1, 0), (0, -1), (0.5, 0.25), (-2.5, 1.5), (3, 4)])
def test_a_known_translation_is_found(motion: tuple[float, float], params: TVL1Params) -> None:
    flow = solve(texture(61, 75), texture(61, 75, *motion), params)
    assert flow.shape == (61, 75, 2)
    assert flow.dtype == np.float32
    inside = end_point_difference(flow, motion)[10:-10, 10:-10]
    # Whole pixels are found within 0.01; between pixels, cubic convolution is an approximation.
    assert np.median(inside) < 0.06
    assert np.quantile(inside, 0.98) < 0.1


@SCHEMES
@pytest.mark.parametrize("size", [(48, 64), (31, 40), (12, 50), (1, 30), (2, 3)])
def test_transposed_images_give_the_transposed_flow(
    size: tuple[int, int], params: TVL1Params
) -> None:
    short = replace(SHORT, sampling=params.sampling, median=params.median)
    first, second = texture(*size), texture(*size, 1, -0.5)
    flow = solve(first.T.copy(), second.T.copy(), short)
    difference = end_point_difference(transposed(flow), solve(first, second, short))
    assert np.quantile(difference, 0.98) < 0.005


@SCHEMES
def test_mirrored_images_give_the_mirrored_flow(params: TVL1Params) -> None:
    """Nearly: forward differences, and levels of rounded size, are not the same in a mirror."""
    first, second = texture(60, 75), texture(60, 75, 2, -1)
    mirror = solve(first[:, ::-1].copy(), second[:, ::-1].copy(), params)[:, ::-1]
    difference = end_point_difference(mirror * np.float32([-1, 1]), solve(first, second, params))
    assert np.median(difference[10:-10, 10:-10]) < 0.01
    assert np.quantile(difference[10:-10, 10:-10], 0.98) < 0.1


@SCHEMES
def test_a_batch_equals_its_pairs(params: TVL1Params) -> None:
    # One pair at rest stops at once; the others must go on.
    first = np.stack([texture(24, 33, seed=seed) for seed in (0, 1, 2)])
    second = np.stack([first[0], texture(24, 33, 1, 1, seed=1), texture(24, 33, -2, 0, seed=2)])
    flows = solve(first, second, params)
    assert flows.shape == (3, 24, 33, 2)
    for flow, a, b in zip(flows, first, second, strict=True):
        assert (flow == solve(a, b, params)).all()


def test_divergence_is_minus_the_adjoint_of_the_gradient() -> None:
    rng = np.random.default_rng(4)
    u = rng.integers(-9, 10, (2, 7, 9)).astype(np.float32)
    p = rng.integers(-9, 10, (2, 2, 7, 9)).astype(np.float32)
    p[:, 0, :, -1] = 0
    p[:, 1, -1, :] = 0
    # Whole numbers of this size add up exactly.
    gradient = reference._forward_differences(u)
    assert (gradient * p).sum() == -(u * reference._divergence(p)).sum()


def test_iterations_without_a_median_are_iterations() -> None:
    first, second = texture(40, 50), texture(40, 50, 1, -1)
    flat = replace(OPENCV, median=1, outer_iterations=1, inner_iterations=60)
    nested = replace(OPENCV, median=1, outer_iterations=12, inner_iterations=5)
    assert (solve(first, second, flat) == solve(first, second, nested)).all()


def test_a_large_epsilon_stops_every_warp_after_one_iteration() -> None:
    first, second = texture(40, 50), texture(40, 50, 1, -1)
    one = replace(OPENCV, outer_iterations=1, inner_iterations=1)
    assert (solve(first, second, replace(OPENCV, epsilon=1e3)) == solve(first, second, one)).all()


def test_middlebury_rubber_whale(shared: Path) -> None:
    """OpenCV 5.0 has an average end-point error of 0.156 px here, zero flow one of 1.256 px."""
    folder = shared / "data/middlebury/RubberWhale"
    frames = [cv2.imread(str(folder / f"frame{n}.png"), cv2.IMREAD_GRAYSCALE) for n in (10, 11)]
    truth = cv2.readOpticalFlow(str(folder / "flow10.flo"))
    known = np.abs(truth).max(-1) < 1e9  # Middlebury's mark for unknown motion
    error = end_point_difference(solve(*frames), truth)[known].mean()
    assert abs(error - 0.1562) < 0.001


# OpenCV as an oracle


def assert_equal_in_a_short_run(flow: Field, expected: Field) -> None:
    difference = end_point_difference(flow, expected)
    assert np.median(difference) < 1e-4
    assert np.quantile(difference, 0.98) < 0.005
    assert np.abs(expected).max() > 0.3, "too still to tell anything"


@exact_opencv
@pytest.mark.parametrize(
    "size",
    [
        *[(2, 2), (2, 9), (3, 3), (5, 40), (15, 15), (16, 16), (17, 17), (18, 21), (19, 23)],
        *[(20, 20), (21, 37), (31, 40), (47, 61), (96, 131)],
    ],
)
def test_opencv_at_any_size(size: tuple[int, int]) -> None:
    first, second = texture(*size), texture(*size, 1, 0.5)
    assert_equal_in_a_short_run(solve(first, second, SHORT), oracle(first, second, SHORT))


PARAMETERS: list[dict[str, Any]] = [
    {"tau": 0.1},
    {"lambda_": 0.05},
    {"theta": 0.1},
    {"scales": 1},
    {"scales": 2},
    {"scale_step": 0.5},
    {"scale_step": 0.98},  # rounds a small side back to itself
    {"scale_step": 0.95, "scales": 20},
    {"warps": 3},
    {"inner_iterations": 5},
    {"outer_iterations": 3},
    {"median": 3},
    {"median": 1},
]


@exact_opencv
@pytest.mark.parametrize("change", PARAMETERS, ids=str)
def test_each_parameter_has_opencvs_effect(change: dict[str, Any]) -> None:
    first, second = texture(40, 51), texture(40, 51, 2, -1)
    params = replace(SHORT, **change)
    flow = solve(first, second, params)
    assert_equal_in_a_short_run(flow, oracle(first, second, params))
    # The effect is far above the tolerance that it is compared with.
    assert end_point_difference(flow, solve(first, second, SHORT)).max() > 0.02


@exact_opencv
@pytest.mark.parametrize("epsilon", [0.2, 0.05, 0.02])
def test_iterations_stop_where_opencv_stops(epsilon: float) -> None:
    first, second = texture(48, 64), texture(48, 64, 2, -1)
    endless = TVL1Params(epsilon=1e-9, scales=1, warps=1, inner_iterations=100, median=1)
    params = replace(endless, epsilon=epsilon)
    flow = solve(first, second, params)
    assert_equal_in_a_short_run(flow, oracle(first, second, params))
    assert end_point_difference(flow, solve(first, second, endless)).max() > 0.02


@exact_opencv
def test_the_loop_of_opencvs_cuda_solver() -> None:
    first, second = texture(40, 51), texture(40, 51, 2, -1)
    loop = replace(CUDA, sampling="opencv")
    endless = replace(loop, epsilon=1e-9, warps=1)
    assert_equal_in_a_short_run(solve(first, second, endless), oracle(first, second, endless))
    stopped = end_point_difference(solve(first, second, loop), oracle(first, second, loop))
    assert np.median(stopped) < 0.02


@exact_opencv
@pytest.mark.parametrize("scales", [1, 5])
def test_initial_flow_as_opencv_takes_it(scales: int) -> None:
    first, second = texture(48, 61), texture(48, 61, 5, -4)
    initial = np.random.default_rng(6).normal((5, -4), 1, (48, 61, 2)).astype(np.float32)
    before = initial.copy()
    params = replace(SHORT, scales=scales)
    flow = solve(first, second, params, initial=initial)
    assert_equal_in_a_short_run(flow, oracle(first, second, params, initial=initial))
    assert end_point_difference(flow, solve(first, second, params)).max() > 0.1
    assert (initial == before).all()


REAL_PAIRS = [
    ("ucf101/videos/Hammering/v_Hammering_g12_c03.avi", 10),
    ("ut_interaction/videos/point/22_4_3.avi", 30),
    ("weizmann/videos/side/daria_side.avi", 10),
]


def read_pair(path: Path, number: int) -> list[Image]:
    video = cv2.VideoCapture(str(path))
    frames = [video.read()[1] for _ in range(number + 2)][number:]
    video.release()
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]


@exact_opencv
def test_opencv_on_real_frames(shared: Path) -> None:
    differences, levels = [], []
    for name, number in REAL_PAIRS:
        pair = read_pair(shared / "data" / name, number)
        flow, expected = solve(*pair), oracle(*pair)
        assert np.abs(expected).max() > 1, "too still to tell anything"
        differences.append(end_point_difference(flow, expected).ravel())
        levels.append(np.abs(encode(flow).astype(int) - encode(expected)).ravel())
        assert np.median(differences[-1]) < 0.02
        assert differences[-1].mean() < 0.1
        assert (levels[-1] <= 1).mean() >= 0.98
    assert np.median(np.concatenate(differences)) < 0.005
    assert np.concatenate(differences).mean() < 0.03
    assert (np.concatenate(levels) <= 1).mean() >= 0.99


@pytest.mark.parametrize("step", [0.8, 0.5, 0.93])
def test_pyramid_sizes_are_opencvs(step: float) -> None:
    sizes = [(n, n) for n in range(16, 41)] + [(2, 90), (15, 15), (17, 400), (240, 320), (99, 77)]
    for height, width in sizes:
        params = TVL1Params(scale_step=step, scales=7)
        solver = cv2.optflow.DualTVL1OpticalFlow.create(
            nscales=7, scaleStep=step, warps=1, innnerIterations=1, outerIterations=1
        )
        image = np.zeros((height, width), np.uint8)
        solver.calc(image, image, np.zeros((height, width, 2), np.float32))
        levels = reference.pyramid_sizes(height, width, params)
        assert len(levels) == solver.getScalesNumber(), (height, width)
        for (above_height, above_width), level in pairwise(levels):
            above = np.zeros((above_height, above_width), np.float32)
            assert cv2.resize(above, None, fx=step, fy=step).shape == level


# The parts, each against OpenCV or against its CUDA kernel written with loops


def positions(size: tuple[int, int], motion: Field) -> tuple[Field, Field]:
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return columns + motion[0], rows + motion[1]


WARPED = [(24, 31), (5, 7), (2, 2), (1, 9), (9, 1), (1, 1)]


@exact_opencv
@pytest.mark.parametrize("size", WARPED)
@pytest.mark.parametrize("pixels", [0.3, 3, 1e4])
def test_warp_is_opencvs_remap(size: tuple[int, int], pixels: float) -> None:
    rng = np.random.default_rng(7)
    images = rng.uniform(0, 255, (3, *size)).astype(np.float32)
    motion = rng.normal(0, pixels, (2, *size)).astype(np.float32)
    warped = reference._warp(images, motion, reference._READINGS["opencv"])
    x, y = positions(size, motion)
    for image, result in zip(images, warped, strict=True):
        expected = cv2.remap(image, x, y, cv2.INTER_CUBIC)
        # Weights are float32 sums of terms up to 6: 2^-22 of 255 grey values, over two axes.
        np.testing.assert_allclose(result, expected, atol=5e-4)


def cuda_warp(image: Field, x: float, y: float) -> float:
    """bicubicCoeff and warpBackwardKernel of cudaoptflow, for one pixel."""

    def weight(distance: float) -> float:
        s = abs(distance)
        if s <= 1:
            return s * s * (1.5 * s - 2.5) + 1
        return s * (s * (-0.5 * s + 2.5) - 4) + 2 if s < 2 else 0

    height, width = image.shape
    total = total_weight = 0.0
    for row in range(int(np.ceil(y - 2)), int(np.floor(y + 2)) + 1):
        for column in range(int(np.ceil(x - 2)), int(np.floor(x + 2)) + 1):
            w = weight(x - column) * weight(y - row)
            total += w * image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
            total_weight += w
    return total / total_weight


@pytest.mark.parametrize("size", WARPED)
@pytest.mark.parametrize("pixels", [0, 0.3, 3, 1e4])
def test_warp_is_opencvs_cuda_kernel(size: tuple[int, int], pixels: float) -> None:
    rng = np.random.default_rng(8)
    image = rng.uniform(0, 255, size).astype(np.float32)
    motion = rng.normal(0, pixels, (2, *size)).astype(np.float32)
    warped = reference._warp(image[None], motion, reference._READINGS["opencv_cuda"])[0]
    x, y = positions(size, motion)
    expected = np.vectorize(lambda x, y: cuda_warp(image, float(x), float(y)))(x, y)
    np.testing.assert_allclose(warped, expected, atol=5e-4)


RESIZED = [(24, 31), (17, 33), (16, 16), (5, 7), (1, 9)]


@pytest.mark.parametrize("size", RESIZED)
@pytest.mark.parametrize("step", [0.8, 0.5, 0.95])
def test_resize_is_opencvs(size: tuple[int, int], step: float) -> None:
    image = np.random.default_rng(9).uniform(0, 255, size).astype(np.float32)
    reading = reference._READINGS["opencv"]
    smaller = (max(1, round(size[0] * step)), max(1, round(size[1] * step)))
    if min(size) > 1:
        down = reference._resize(image[None], smaller, (1 / step, 1 / step), reading)[0]
        expected = cv2.resize(image, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        # OpenCV's float32 positions below 32 are off by up to 2^-20, over steps of up to 255.
        np.testing.assert_allclose(down, expected, atol=5e-4)
    ratios = (smaller[0] / size[0], smaller[1] / size[1])
    up = reference._resize(image[None, : smaller[0], : smaller[1]], size, ratios, reading)[0]
    source = np.ascontiguousarray(image[: smaller[0], : smaller[1]])
    expected = cv2.resize(source, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(up, expected, atol=5e-4)


def cuda_resize(image: Field, x: float, y: float) -> float:
    """resize_linear of cudawarping, for one pixel that reads at (x, y)."""
    left, top = int(np.floor(x)), int(np.floor(y))
    right, bottom = min(left + 1, image.shape[1] - 1), min(top + 1, image.shape[0] - 1)
    return float(
        image[top, left] * ((left + 1 - x) * (top + 1 - y))
        + image[top, right] * ((x - left) * (top + 1 - y))
        + image[bottom, left] * ((left + 1 - x) * (y - top))
        + image[bottom, right] * ((x - left) * (y - top))
    )


@pytest.mark.parametrize("size", RESIZED)
@pytest.mark.parametrize("step", [0.8, 0.5, 0.95])
def test_resize_is_opencvs_cuda_kernel(size: tuple[int, int], step: float) -> None:
    image = np.random.default_rng(10).uniform(0, 255, size).astype(np.float32)
    reading = reference._READINGS["opencv_cuda"]
    smaller = (max(1, round(size[0] * step)), max(1, round(size[1] * step)))
    larger = (size[0] + 3, size[1] + 8)
    up_ratios = (size[0] / larger[0], size[1] / larger[1])
    for target, ratios in ((smaller, (1 / step, 1 / step)), (larger, up_ratios)):
        if target == size:
            continue
        result = reference._resize(image[None], target, ratios, reading)[0]
        expected = [
            [cuda_resize(image, column * ratios[1], row * ratios[0]) for column in range(target[1])]
            for row in range(target[0])
        ]
        np.testing.assert_allclose(result, expected, atol=5e-4)


@READINGS
def test_resize_to_the_same_size_is_a_copy(sampling: str) -> None:
    """As cv::resize and cv::cuda::resize do, though the ratio asks for other positions."""
    image = np.random.default_rng(11).uniform(0, 255, (1, 16, 17)).astype(np.float32)
    reading = reference._READINGS[sampling]  # type: ignore[index]
    result = reference._resize(image, (16, 17), (1 / 0.98, 1 / 0.98), reading)
    assert (result == image).all()
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("size", WARPED)
def test_median_is_opencvs(size: tuple[int, int], side: int) -> None:
    u = np.random.default_rng(12).normal(0, 3, (2, *size)).astype(np.float32)
    expected = np.stack([cv2.medianBlur(component, side) for component in u])
    assert (reference._median(u, side) == expected).all()
