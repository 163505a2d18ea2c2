"""TV-L1 optical flow in NumPy, one equation a line: the definition of right for every solver.

Sources:
    [Z] Zach, Pock, Bischof: A duality based approach for realtime TV-L1 optical flow, 2007,
        doi 10.1007/978-3-540-74936-3_22.
    [W] Wedel, Pock, Zach, Bischof, Cremers: An improved algorithm for TV-L1 optical flow, 2009,
        doi 10.1007/978-3-642-03061-1_2.
    [S] Sanchez, Meinhardt-Llopis, Facciolo: TV-L1 optical flow estimation, IPOL 2013,
        doi 10.5201/ipol.2013.26.
    [K] Keys: Cubic convolution interpolation for digital image processing, 1981,
        doi 10.1109/TASSP.1981.1163711.
    [O] OpenCV's contributed modules, tvl1flow.cpp of optflow (CPU) and of cudaoptflow (CUDA).

The energy of [Z], its data term and its total variation decoupled by v, is

    E(u, v) = sum |grad u1| + |grad u2| + |u - v|^2 / (2 theta) + lambda |rho(v)|

and it is minimised by turns, in the notation of [S] and the numbering of the lines below:

    (1) rho(u) = I1(x + u0) + grad I1(x + u0) . (u - u0) - I0(x), the residual linearised at u0
    (2) v = u + TH(u), the minimum over v: the thresholding step
        TH(u) = clamp(-rho(u) / |grad I1|^2, -lambda theta, lambda theta) grad I1
    (3) u = v + theta div p, the minimum over u
    (4) p = (p + tau / theta grad u) / (1 + tau / theta |grad u|), Chambolle's fixed point
    (5) stop when the mean of |u - u before|^2 is at most epsilon^2

Where [O], and this file with it, departs from [S]: the images are neither normalised nor blurred,
not even for the pyramid, and are resized bilinearly; the median filter of [W] is applied to u
before each outer round of iterations, while (1) stays linearised at the unfiltered u0; in (2)
|grad I1|^2 counts as the float32 epsilon at least. Where this file departs from [O]'s CUDA solver:
(5) is tested after every iteration, while that solver skips most tests to spare transfers.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from flow.tvl1 import Sampling, TVL1Params

Field = NDArray[np.float32]
Outside = Literal["constant", "edge"]

FLOAT_EPSILON = float(np.finfo(np.float32).eps)
SMALLEST_SIDE = 16


class _Reading(NamedTuple):
    """How an image is read between its pixels."""

    cubic: float  # the free parameter a of [K]
    outside: Outside  # zero, or the nearest pixel
    centre: float  # where a pixel's centre lies in it, for a resize


_READINGS: dict[Sampling, _Reading] = {
    "opencv": _Reading(cubic=-0.75, outside="constant", centre=0.5),
    "opencv_cuda": _Reading(cubic=-0.5, outside="edge", centre=0.0),
}


def solve(
    previous: Field, following: Field, params: TVL1Params, initial: Field | None = None
) -> Field:
    """Flow of each pair of images.

    Args:
        previous: float32 (N, H, W), grey values from 0 to 255; I0 in the equations.
        following: The same; I1 in the equations.
        params: The scheme and its parameters.
        initial: Flow to start from, float32 (N, H, W, 2), pixels; zero where not given.

    Returns:
        float32 (N, H, W, 2), pixels: channel 0 to the right, channel 1 downwards.
    """
    start = np.zeros((*previous.shape, 2), np.float32) if initial is None else initial
    flows = [
        _solve_pair(I0, I1, np.moveaxis(u, -1, 0), params)
        for I0, I1, u in zip(previous, following, start, strict=True)
    ]
    return np.ascontiguousarray(np.moveaxis(np.stack(flows), 1, -1))


def pyramid_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """Height and width of each level, the image's own first."""
    sizes = [(height, width)]
    while len(sizes) < params.scales:
        # Python rounds halves to even, as [O] does.
        height, width = round(height * params.scale_step), round(width * params.scale_step)
        if min(height, width) < SMALLEST_SIDE:
            break
        sizes.append((height, width))
    return sizes


def _solve_pair(I0: Field, I1: Field, u: Field, params: TVL1Params) -> Field:
    """From coarse to fine; u is (2, H, W), here and below."""
    reading, step = _READINGS[params.sampling], params.scale_step
    height, width = I0.shape
    pyramid = [np.stack([I0, I1, *u])]
    for size in pyramid_sizes(height, width, params)[1:]:
        # [O] reads at the inverse of the step, not at the ratio of the rounded sizes.
        level = _resize(pyramid[-1], size, (1 / step, 1 / step), reading)
        level[2:] *= step
        pyramid.append(level)
    u = _solve_level(pyramid[-1], params)
    for level in reversed(pyramid[:-1]):
        _, height, width = level.shape
        ratios = (u.shape[1] / height, u.shape[2] / width)
        level[2:] = _resize(u, (height, width), ratios, reading) * np.float32(1 / step)
        u = _solve_level(level, params)
    return u


def _solve_level(level: Field, params: TVL1Params) -> Field:
    """Flow at one level (I0, I1, u1, u2) of the pyramid, starting from its u."""
    I0, I1, u = level[0], level[1], level[2:]
    I1_and_gradient = np.stack([I1, *_central_differences(I1)])
    p = np.zeros((2, 2, *I0.shape), np.float32)  # once a level: p lives on through the warps
    for _ in range(params.warps):
        warped = _warp(I1_and_gradient, u, _READINGS[params.sampling])
        u, p = _iterate(warped[0] - I0, warped[1:], u, p, params)
    return u


def _iterate(
    difference: Field, gradient: Field, u: Field, p: Field, params: TVL1Params
) -> tuple[Field, Field]:
    """New u and p after one warp: ``difference`` is I1(x + u0) - I0(x), ``gradient`` grad I1."""
    theta = np.float32(params.theta)
    lambda_theta = np.float32(params.lambda_ * params.theta)
    tau_theta = np.float32(params.tau / params.theta)
    squared_norm = np.maximum(_dot(gradient, gradient), FLOAT_EPSILON)
    rho_at_zero = difference - _dot(gradient, u)
    for _ in range(params.outer_iterations):
        u = _median(u, params.median)
        for _ in range(params.inner_iterations):
            before = u
            rho = rho_at_zero + _dot(gradient, u)  # (1)
            v = u + np.clip(-rho / squared_norm, -lambda_theta, lambda_theta) * gradient  # (2)
            u = v + theta * _divergence(p)  # (3)
            grad_u = _forward_differences(u)
            norm: Field = np.hypot(grad_u[:, :1], grad_u[:, 1:])
            p = (p + tau_theta * grad_u) / (1 + tau_theta * norm)  # (4)
            if np.square(u - before).sum() <= params.epsilon**2 * rho.size:  # (5)
                return u, p
    return u, p


def _dot(a: Field, b: Field) -> Field:
    return np.asarray(a[0] * b[0] + a[1] * b[1])


def _central_differences(image: Field) -> Field:
    """Half the central differences along x and y: (2, H, W), [S]; one-sided at the border."""
    padded = _pad(image[None], 1, "edge")[0]
    along_x = padded[1:-1, 2:] - padded[1:-1, :-2]
    along_y = padded[2:, 1:-1] - padded[:-2, 1:-1]
    return np.stack([along_x, along_y]) * np.float32(0.5)


def _forward_differences(u: Field) -> Field:
    """Differences [component, x or y] of u: (2, 2, H, W), [S]; 0 at the last column and row."""
    gradient = np.zeros((2, *u.shape), np.float32)
    gradient[:, 0, :, :-1] = u[:, :, 1:] - u[:, :, :-1]
    gradient[:, 1, :-1, :] = u[:, 1:, :] - u[:, :-1, :]
    return gradient


def _divergence(p: Field) -> Field:
    """Backward differences of p (2, 2, H, W), summed: minus the adjoint of the forward ones."""
    along_x, along_y = p[:, 0].copy(), p[:, 1].copy()
    along_x[:, :, 1:] -= p[:, 0, :, :-1]
    along_y[:, 1:, :] -= p[:, 1, :-1, :]
    return along_x + along_y


def _median(u: Field, side: int) -> Field:
    """Each component's median in side x side windows; the border is repeated outwards."""
    padded = _pad(u, side // 2, "edge")
    windows = sliding_window_view(padded, (side, side), axis=(1, 2)).reshape(*u.shape, -1)
    middle = side * side // 2
    return np.asarray(np.partition(windows, middle)[..., middle])


def _warp(images: Field, u: Field, reading: _Reading) -> Field:
    """Images (C, H, W) read at x + u by cubic convolution, [K]."""
    _, height, width = images.shape
    x = np.arange(width, dtype=np.float32) + u[0]
    y = np.arange(height, dtype=np.float32)[:, None] + u[1]
    left, top = np.floor(x), np.floor(y)
    weights_x = _cubic_weights(x - left, reading.cubic)
    weights_y = _cubic_weights(y - top, reading.cubic)
    # Positions far outside move in to where their taps, -1 to 2, still lie in the padding alone.
    padded = _pad(images, 4, reading.outside)
    column = np.clip(left, -3, width + 1).astype(np.intp) + 3
    row = np.clip(top, -3, height + 1).astype(np.intp) + 3
    stride = padded.shape[2]
    flat, first = padded.reshape(len(images), -1), row * stride + column
    warped = np.zeros_like(images)
    for i, weight_y in enumerate(weights_y):
        for j, weight_x in enumerate(weights_x):
            warped += weight_y * weight_x * flat.take(first + (i * stride + j), axis=1)
    return warped


def _cubic_weights(t: Field, a: float) -> Field:
    """Weights (4, ...) of the pixels -1, 0, 1 and 2 at position t in 0..1, normalised."""

    def near(s: Field) -> Field:  # at distance s
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Field) -> Field:  # at distance 1 + s
        return a * s * (1 - s) * (1 - s)

    weights = np.stack([far(t), near(t), near(1 - t), far(1 - t)])
    return np.asarray(weights / weights.sum(axis=0))


def _resize(
    field: Field, size: tuple[int, int], ratios: tuple[float, float], reading: _Reading
) -> Field:
    """Bilinear (C, *size) from (C, H, W); ``ratios`` are source pixels a target pixel, y then x."""
    if field.shape[1:] == size:
        return field.copy()
    for axis, (length, ratio) in enumerate(zip(size, ratios, strict=True), start=1):
        last = field.shape[axis] - 1
        position = (np.arange(length) + reading.centre) * ratio - reading.centre
        position = np.clip(position, 0, last)
        low = np.floor(position).astype(np.intp)
        high = np.minimum(low + 1, last)
        weight = (position - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
        field = field.take(low, axis) * (1 - weight) + field.take(high, axis) * weight
    return field


def _pad(images: Field, margin: int, outside: Outside) -> Field:
    return np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode=outside)
