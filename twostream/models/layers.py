"""What all pseudo-3D networks are made of: S and T, their BatchNorms, and how T stands to S.

Qiu, Yao, Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
ICCV 2017 (doi:10.1109/ICCV.2017.590), section 3.1.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAUSSIAN_DEVIATION = 0.001  # of temporal kernels, named by the paper's author

Act = Callable[[Tensor], Tensor]
Start = Callable[[Tensor], Tensor]
Unit = Any  # a ConvBN, or what stands for one


def relu(x: Tensor) -> Tensor:
    """f, in place: for what has just been computed."""
    return F.relu(x, inplace=True)


def still(x: Tensor) -> Tensor:
    """No activation."""
    return x


def conv2d(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    groups: int,
    act: Act,
    plus: Tensor | None,
) -> Tensor:
    """act(conv x + plus), (N, I, H, W) -> (N, O, H', W')."""
    y = F.conv2d(x, kernel, bias, stride, padding, groups=groups)
    if plus is not None:
        y += plus
    return act(y)


class FlatConv(nn.Conv3d, ABC):
    """A convolution in space or in time alone, run as a 2D one: (N, I, T, H, W) -> (N, O, ...).

    Conv3d is slower on every device, and gives wrong weight gradients for kernels of 3 x 1 x 1,
    T = 2 and bfloat16 on some CPUs. In the layout channels_last_3d the foldings are views.

    Attributes:
        conv2d: What computes; an inference form may have its own.
    """

    conv2d = staticmethod(conv2d)

    def forward(self, x: Tensor, act: Act = still, plus: Tensor | None = None) -> Tensor:
        """act(conv x + plus)."""
        return self.run(x, self.weight, self.bias, act, plus)

    def run(
        self,
        x: Tensor,
        kernel: Tensor,
        bias: Tensor | None,
        act: Act = still,
        plus: Tensor | None = None,
    ) -> Tensor:
        """The same with another kernel, of the shape of ``weight``, and bias (O,)."""
        if plus is not None:
            plus = self.folded_2d(plus)
        y = self.conv2d(
            self.folded_2d(x),
            self.kernel_2d(kernel),
            bias,
            self.strides_2d(),
            self.paddings_2d(),
            self.groups,
            act,
            plus,
        )
        return self.unfolded(y, x)

    @abstractmethod
    def folded_2d(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> what the 2D convolution takes."""

    @abstractmethod
    def unfolded(self, y: Tensor, x: Tensor) -> Tensor:
        """What the 2D convolution gives for ``x`` -> (N, C, T, H', W')."""

    @abstractmethod
    def kernel_2d(self, kernel: Tensor) -> Tensor:
        """A kernel of three dimensions as one of two."""

    @abstractmethod
    def strides_2d(self) -> tuple[int, ...]:
        """Of the 2D convolution."""

    @abstractmethod
    def paddings_2d(self) -> tuple[int, ...]:
        """Of the 2D convolution."""


class SpatialConv(FlatConv):
    """1 x k x k convolution S, weight (O, I, 1, k, k): every frame by itself.

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

    def folded_2d(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    def unfolded(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(x.shape[0], x.shape[2], *y.shape[1:]).transpose(1, 2)

    def kernel_2d(self, kernel: Tensor) -> Tensor:
        return kernel.squeeze(2)

    def strides_2d(self) -> tuple[int, ...]:
        return self.stride[1:]

    def paddings_2d(self) -> tuple[int, ...]:
        return self.kernel_size[1] // 2, self.kernel_size[2] // 2


class TemporalConv(FlatConv):
    """3 x 1 x 1 convolution T, weight (O, I, 3, 1, 1): every pixel by itself."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        strides = (1, stride, stride)
        super().__init__(
            in_channels, out_channels, (3, 1, 1), strides, padding=(1, 0, 0), bias=False
        )

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=GAUSSIAN_DEVIATION)

    def run(
        self,
        x: Tensor,
        kernel: Tensor,
        bias: Tensor | None,
        act: Act = still,
        plus: Tensor | None = None,
    ) -> Tensor:
        if self.stride != (1, 1, 1):
            x = x[..., :: self.stride[1], :: self.stride[2]]
            x = x.contiguous(memory_format=torch.channels_last_3d)
        return super().run(x, kernel, bias, act, plus)

    def folded_2d(self, x: Tensor) -> Tensor:
        return x.flatten(3)

    def unfolded(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*y.shape[:3], *x.shape[3:])

    def kernel_2d(self, kernel: Tensor) -> Tensor:
        return kernel.squeeze(4)

    def strides_2d(self) -> tuple[int, ...]:
        return 1, 1

    def paddings_2d(self) -> tuple[int, ...]:
        return 1, 0


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
    """A convolution without bias, then its BatchNorm.

    Where the BatchNorm is frozen, its scale goes into the kernel and its shift into a bias, so
    that nothing but the result is kept for the gradients.
    """

    def __init__(self, conv: SpatialConv | TemporalConv) -> None:
        super().__init__()
        self.conv = conv
        self.bn = BatchNorm(conv.out_channels)

    def forward(self, x: Tensor, act: Act = still, plus: Tensor | None = None) -> Tensor:
        """act(BN(conv x) + plus)."""
        if self.bn.frozen:
            return self.conv.run(x, *self.folded(), act, plus)
        y: Tensor = self.bn(self.conv(x))
        return act(y if plus is None else y + plus)

    def around(self, x: Tensor, act: Act) -> Tensor:
        """act(0.5 x + 0.5 BN(conv x)), for a convolution that keeps the shape."""
        if self.bn.frozen:
            return self.conv.run(x, *self.folded_around(), act)
        return act(0.5 * x + 0.5 * self(x))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias (O,) of the one convolution that gives BN(conv x)."""
        mean, variance = self.bn.running_mean, self.bn.running_var
        assert mean is not None
        assert variance is not None
        scale = self.bn.weight / torch.sqrt(variance + self.bn.eps)
        kernel = self.conv.weight * scale.reshape(-1, 1, 1, 1, 1)
        return kernel, self.bn.bias - scale * mean

    def folded_around(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias of the one that gives 0.5 x + 0.5 BN(conv x)."""
        kernel, bias = self.folded()
        return 0.5 * (kernel + nn.init.dirac_(torch.empty_like(kernel))), 0.5 * bias


def alone(S: Unit, _: Unit, u: Tensor, act: Act) -> Tensor:
    """2D: y = f(S u)."""
    y: Tensor = S(u, act)
    return y


def after(S: Unit, T: Unit, u: Tensor, act: Act) -> Tensor:
    """P3D-A, T after S: s = f(S u), y = f(T s)."""
    y: Tensor = T(S(u, act), act)
    return y


def beside(S: Unit, T: Unit, u: Tensor, act: Act) -> Tensor:
    """P3D-B, T beside S: s = f(S u), y = f(T u + s)."""
    y: Tensor = T(u, act, plus=S(u, act))
    return y


def around(S: Unit, T: Unit, u: Tensor, act: Act) -> Tensor:
    """P3D-C, T after S and around it: s = f(S u), y = f(0.5 s + 0.5 T s)."""
    y: Tensor = T.around(S(u, act), act)
    return y


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
    join: Callable[[Unit, Unit, Tensor, Act], Tensor]
    from_u: bool
    start_inert: Start


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
    """Max over pairs of time steps; an odd last one stays.

    On a CPU the max of two views takes a third of a pooling's time, but its gradient several times
    that of a pooling's gradient.
    """
    if x.requires_grad:
        return F.max_pool3d(x, (2, 1, 1), ceil_mode=True)
    paired = x.shape[2] // 2 * 2
    y = torch.maximum(x[:, :, 0:paired:2], x[:, :, 1:paired:2])
    return y if paired == x.shape[2] else torch.cat([y, x[:, :, paired:]], dim=2)


def caffe_pool1(x: Tensor) -> Tensor:
    """P3D's: max over 2 x 3 x 3 from the first pixel on, stride 2, sizes rounded up."""
    if x.requires_grad:
        return F.max_pool3d(x, (2, 3, 3), stride=2, ceil_mode=True)
    return F.max_pool3d(halve_time(x), (1, 3, 3), stride=(1, 2, 2), ceil_mode=True)


def torchvision_pool1(x: Tensor) -> Tensor:
    """The same in time; in space padded by 1, sizes rounded down."""
    return F.max_pool3d(halve_time(x), (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


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
