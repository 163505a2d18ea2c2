"""Identity: a frozen BatchNorm folded into its convolution gives what the two give, gradients too.

Oracle: torch's conv3d and batch_norm.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from networks import randn
from twostream.models.layers import ConvBN, SpatialConv, TemporalConv, relu, still


def unit(conv: SpatialConv | TemporalConv) -> ConvBN:
    torch.manual_seed(0)
    made = ConvBN(conv)
    channels = conv.out_channels
    made.conv.weight.data.normal_(std=0.3)
    made.bn.running_mean = randn(channels)
    made.bn.running_var = torch.rand(channels) + 0.5
    made.bn.weight.data.copy_(randn(channels))
    made.bn.bias.data.copy_(randn(channels))
    return made


def plain(made: ConvBN, x: Tensor) -> Tensor:
    conv, bn = made.conv, made.bn
    y = F.conv3d(x, conv.weight, None, conv.stride, conv.padding, groups=conv.groups)
    return F.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)


CONVOLUTIONS = {
    "1x3x3": lambda: SpatialConv(6, 8, 3),
    "1x3x3, stride 2, 2 groups": lambda: SpatialConv(6, 8, 3, stride=2, groups=2),
    "3x1x1": lambda: TemporalConv(6, 8),
    "3x1x1, stride 2": lambda: TemporalConv(6, 8, stride=2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("act", [still, relu])
@pytest.mark.parametrize("with_sum", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_frozen_or_not_it_is_convolution_batchnorm_sum_activation(
    name: str, act: type, with_sum: bool, frames: int
) -> None:
    made = unit(CONVOLUTIONS[name]()).eval()
    x = randn(2, 6, frames, 5, 7).requires_grad_()
    expected = plain(made, x)
    plus = randn(*expected.shape).requires_grad_() if with_sum else None
    expected = act(expected + plus) if plus is not None else act(expected)
    wanted = [x, made.conv.weight, *([plus] if plus is not None else [])]
    weights = randn(*expected.shape)
    gradients = torch.autograd.grad((expected * weights).sum(), wanted)
    for freeze in (False, True):
        if freeze:
            made.bn.freeze()
        y = made(x, act, plus)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
        found = torch.autograd.grad((y * weights).sum(), wanted)
        torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("freeze", [False, True])
def test_half_around(freeze: bool) -> None:
    made = unit(TemporalConv(8, 8)).eval()
    x = randn(2, 8, 3, 4, 5).requires_grad_()
    expected = (0.5 * x + 0.5 * plain(made, x)).relu()
    if freeze:
        made.bn.freeze()
    y = made.around(x, relu)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    wanted = [x, made.conv.weight]
    torch.testing.assert_close(
        torch.autograd.grad(y.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        rtol=1e-4,
        atol=1e-4,
    )


def test_frozen_it_keeps_nothing_but_its_input_and_its_result() -> None:
    """What autograd saves: that is why it is folded."""
    made = unit(SpatialConv(6, 8, 3)).train()
    made.bn.freeze()
    x = randn(2, 6, 3, 9, 9).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = made(x, relu)
    large = {place for place, size in saved.items() if size >= y.nbytes // 2}
    assert large == {x.untyped_storage().data_ptr(), y.untyped_storage().data_ptr()}
