"""The poolings over time and pool1, with and without a gradient; oracle: each window's maximum."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from networks import randn
from twostream.models.layers import caffe_pool1, halve_time, torchvision_pool1

Spans = list[slice]


def from_the_first(size: int, length: int) -> Spans:
    """Windows with a step of 2, the last one cut off at the end."""
    starts = range(0, length if size == 2 else max(length - 1, 1), 2)
    return [slice(start, start + size) for start in starts]


def padded_by_one(length: int) -> Spans:
    """Windows of 3 around every second place."""
    return [slice(max(middle - 1, 0), middle + 2) for middle in range(0, length, 2)]


def alone(length: int) -> Spans:
    return [slice(place, place + 1) for place in range(length)]


def by_windows(x: Tensor, times: Spans, rows: Spans, columns: Spans) -> Tensor:
    planes = [[[x[:, :, t, r, c].amax((2, 3, 4)) for c in columns] for r in rows] for t in times]
    flat = [value for plane in planes for row in plane for value in row]
    return torch.stack(flat, 2).unflatten(2, (len(times), len(rows), len(columns)))


def halved(x: Tensor) -> Tensor:
    time, height, width = x.shape[2:]
    return by_windows(x, from_the_first(2, time), alone(height), alone(width))


def caffe(x: Tensor) -> Tensor:
    time, height, width = x.shape[2:]
    space = from_the_first(3, height), from_the_first(3, width)
    return by_windows(x, from_the_first(2, time), *space)


def torchvision(x: Tensor) -> Tensor:
    time, height, width = x.shape[2:]
    return by_windows(x, from_the_first(2, time), padded_by_one(height), padded_by_one(width))


POOLINGS = [(halve_time, halved), (caffe_pool1, caffe), (torchvision_pool1, torchvision)]


@pytest.mark.parametrize(("pooling", "oracle"), POOLINGS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("time", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("size", [(6, 9), (7, 8), (3, 3)], ids=str)
def test_maximum_of_each_window(
    pooling: Callable[[Tensor], Tensor],
    oracle: Callable[[Tensor], Tensor],
    time: int,
    size: tuple[int, int],
) -> None:
    x = randn(2, 3, time, *size)
    expected = oracle(x)
    assert torch.equal(pooling(x), expected)
    wanted = x.clone().requires_grad_()
    pooled = pooling(wanted)
    assert torch.equal(pooled, expected)
    weights = randn(*expected.shape)
    (gradient,) = torch.autograd.grad((pooled * weights).sum(), wanted)
    (by_oracle,) = torch.autograd.grad((oracle(wanted) * weights).sum(), wanted)
    torch.testing.assert_close(gradient, by_oracle)
