"""What all pseudo-3D networks are made of: S and T, their BatchNorms, and how T stands to S.

Qiu, Yao, Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
ICCV 2017 (doi:10.1109/ICCV.2017.590), section 3.1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAUSSIAN_DEVIATION = 0.001  # of temporal kernels, named by the paper's author

Map = Callable[[Tensor], Tensor]


class SpatialConv(nn.Conv3d):
    """1 x k x k convolution S, weight (O, I, 1, k, k), run as a 2D one on every frame.

    Starts as in He et al. 2015 (doi:10.1109/ICCV.2015.123), equation 14: by the fan-out, which
    keeps the scale of the gradients; BatchNorm sees to that of the activations.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        kernel, strides, padding = (1, size, size), (1, stride, stride), (0, size // 2, size // 2)
        super().__init__(
            in_channels, out_channels, kernel, strides, padding, groups=groups, bias=False
        )

    def reset_parameters(self) -> None:
        fan_out = self.out_channels // self.groups * self.kernel_size[1] * self.kernel_size[2]
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2).flatten(0, 1)
        kernel = self.weight.squeeze(2)
        y = F.conv2d(
            frames, kernel, stride=self.stride[1:], padding=self.padding[1:], groups=self.groups
        )
        return y.reshape(x.shape[0], x.shape[2], *y.shape[1:]).transpose(1, 2)


class TemporalConv(nn.Conv3d):
    """3 x 1 x 1 convolution T, weight (O, I, 3, 1, 1), run as a 2D one over (T, H * W).

    Conv3d itself gives wrong weight gradients for T = 2 under bfloat16 on some CPUs.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        strides = (1, stride, stride)
        super().__init__(
            in_channels, out_channels, (3, 1, 1), strides, padding=(1, 0, 0), bias=False
        )

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=GAUSSIAN_DEVIATION)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1, 1):
            x = x[..., :: self.stride[1], :: self.stride[2]]
        y = F.conv2d(x.flatten(3), self.weight.squeeze(4), padding=(1, 0))
        return y.reshape(x.shape[0], -1, *x.shape[2:])


class BatchNorm(nn.BatchNorm3d):
    """BatchNorm that can be frozen for good: its statistics, its scale and its shift."""

    frozen = False

    def freeze(self) -> None:
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "BatchNorm":
        return super().train(mode and not self.frozen)

    def start_neutral(self) -> None:
        """Make it the identity, as long as its statistics are not updated."""
        self.reset_parameters()
        nn.init.constant_(self.weight, math.sqrt(1 + self.eps))


class ConvBN(nn.Module):
    """A convolution without bias, then its BatchNorm."""

    def __init__(self, conv: SpatialConv | TemporalConv) -> None:
        super().__init__()
        self.conv = conv
        self.bn = BatchNorm(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


def still(x: Tensor) -> Tensor:
    """No activation."""
    return x


def alone(S: Map, _: Map, u: Tensor, act: Map) -> Tensor:
    """2D: y = f(S u)."""
    return act(S(u))


def after(S: Map, T: Map, u: Tensor, act: Map) -> Tensor:
    """P3D-A, T after S: s = f(S u), y = f(T s)."""
    return act(T(act(S(u))))


def beside(S: Map, T: Map, u: Tensor, act: Map) -> Tensor:
    """P3D-B, T beside S: s = f(S u), y = f(s + T u)."""
    return act(act(S(u)) + T(u))


def around(S: Map, T: Map, u: Tensor, act: Map) -> Tensor:
    """P3D-C, T after S and around it: s = f(S u), y = f(0.5 s + 0.5 T s)."""
    s = act(S(u))
    return act(0.5 * s + 0.5 * T(s))


@dataclass(frozen=True)
class Kind:
    """How a temporal convolution T stands to a spatial one S; each with its BatchNorm.

    Attributes:
        letter: As the paper calls it.
        join: What both give together for u, with the activation f.
        from_u: Whether T takes u, and not what S gives.
        start_inert: Fills T's kernel so that y = f(S u), where its BatchNorm is neutral.
    """

    letter: str
    join: Callable[[Map, Map, Tensor, Map], Tensor]
    from_u: bool
    start_inert: Map


FLAT = Kind("", alone, from_u=False, start_inert=still)
KINDS = {
    "A": Kind("A", after, from_u=False, start_inert=nn.init.dirac_),
    "B": Kind("B", beside, from_u=True, start_inert=nn.init.zeros_),
    "C": Kind("C", around, from_u=False, start_inert=nn.init.dirac_),
}


def temporal_for(kind: Kind, spatial: SpatialConv) -> nn.Module:
    """The temporal convolution that stands to ``spatial`` as the kind says; none in 2D."""
    if kind == FLAT:
        return nn.Identity()
    channels = spatial.out_channels
    if kind.from_u:
        return ConvBN(TemporalConv(spatial.in_channels, channels, spatial.stride[1]))
    return ConvBN(TemporalConv(channels, channels))


def halve_time(x: Tensor) -> Tensor:
    """Max over pairs of time steps; an odd last one stays."""
    return F.max_pool3d(x, (2, 1, 1), ceil_mode=True)


def caffe_pool1(x: Tensor) -> Tensor:
    """P3D's: max over 2 x 3 x 3 from the first pixel on, stride 2, sizes rounded up."""
    return F.max_pool3d(x, (2, 3, 3), stride=2, ceil_mode=True)


def torchvision_pool1(x: Tensor) -> Tensor:
    """The same in time; in space padded by 1, sizes rounded down."""
    return halve_time(F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))


class Block(nn.Module):
    """A piece of a network around one kind of pseudo-3D convolution, or a 2D one."""

    out_channels: int

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def temporals(self) -> list[ConvBN]:
        """Its temporal convolutions, in order; none in 2D."""
        units = [module for module in self.modules() if isinstance(module, ConvBN)]
        return [unit for unit in units if isinstance(unit.conv, TemporalConv)]


def space_and_time_mean(x: Tensor) -> Tensor:
    """pool5: (N, C, T, H, W) -> (N, C)."""
    return torch.mean(x, dim=(2, 3, 4))
