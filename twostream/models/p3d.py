"""Pseudo-3D residual networks: 2D ResNets with a temporal convolution in every bottleneck.

Qiu, Yao, Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
ICCV 2017 (doi:10.1109/ICCV.2017.590, arXiv:1711.10305). Where the paper leaves a detail open, the
network definitions that its author published for Caffe decide
(github.com/ZhaofanQiu/pseudo-3d-residual-networks).

Convention: a clip is float (N, C, T, H, W) with C = 3 (RGB) or 2 (flow, x then y).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, repeat
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.errors import InputError

EXPANSION = 4  # output channels of a bottleneck over its width
GAUSSIAN_DEVIATION = 0.001  # of temporal kernels, named by the paper's author

TemporalStart = Literal["identity", "gaussian"]


class SpatialConv(nn.Conv3d):
    """1 x k x k convolution S, weight (O, I, 1, k, k), run as a 2D one on every frame.

    Starts as in He et al. 2015 (doi:10.1109/ICCV.2015.123), equation 14: by the fan-out, which
    keeps the scale of the gradients; BatchNorm sees to that of the activations.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int = 1, stride: int = 1) -> None:
        kernel, strides, padding = (1, size, size), (1, stride, stride), (0, size // 2, size // 2)
        super().__init__(in_channels, out_channels, kernel, strides, padding, bias=False)

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2).flatten(0, 1)
        kernel = self.weight.squeeze(2)
        y = F.conv2d(frames, kernel, stride=self.stride[1:], padding=self.padding[1:])
        return y.reshape(x.shape[0], x.shape[2], *y.shape[1:]).transpose(1, 2)


class TemporalConv(nn.Conv3d):
    """3 x 1 x 1 convolution T, weight (O, I, 3, 1, 1), run as a 2D one over (T, H * W).

    Conv3d itself gives wrong weight gradients for T = 2 under bfloat16 on some CPUs.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=GAUSSIAN_DEVIATION)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.flatten(3), self.weight.squeeze(4), padding=(1, 0))
        return y.reshape(x.shape)


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


class Bottleneck(nn.Module):
    """2D bottleneck, on every frame: the blocks of res5, and what the pseudo-3D ones build on.

    The stride stands in ``reduce``, as in the first ResNets (He et al., CVPR 2016).
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.reduce = ConvBN(SpatialConv(in_channels, width, stride=stride))
        self.spatial = ConvBN(SpatialConv(width, width, 3))
        self.restore = ConvBN(SpatialConv(width, out_channels))
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.shortcut = ConvBN(SpatialConv(in_channels, out_channels, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        u = F.relu(self.reduce(x))
        return F.relu(self.restore(self.middle(u)) + self.shortcut(x))

    def middle(self, u: Tensor) -> Tensor:
        return F.relu(self.spatial(u))


class Pseudo3DBlock(Bottleneck):
    """A bottleneck with a temporal convolution; its subclasses say where that stands."""

    kind: str

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__(in_channels, width, stride)
        self.temporal = ConvBN(TemporalConv(width))

    def start_identity(self) -> None:
        """Set the temporal kernel so that, with a neutral BatchNorm, y = s."""
        nn.init.dirac_(self.temporal.conv.weight)


class BlockA(Pseudo3DBlock):
    """P3D-A, T after S: s = ReLU(S u), y = ReLU(T s); every convolution with its BatchNorm."""

    kind = "A"

    def middle(self, u: Tensor) -> Tensor:
        s = F.relu(self.spatial(u))
        return F.relu(self.temporal(s))


class BlockB(Pseudo3DBlock):
    """P3D-B, T beside S: s = ReLU(S u), y = ReLU(s + T u)."""

    kind = "B"

    def middle(self, u: Tensor) -> Tensor:
        s = F.relu(self.spatial(u))
        return F.relu(s + self.temporal(u))

    def start_identity(self) -> None:
        nn.init.zeros_(self.temporal.conv.weight)


class BlockC(Pseudo3DBlock):
    """P3D-C, T after S and around it: s = ReLU(S u), y = ReLU(0.5 s + 0.5 T s)."""

    kind = "C"

    def middle(self, u: Tensor) -> Tensor:
        s = F.relu(self.spatial(u))
        return F.relu(0.5 * s + 0.5 * self.temporal(s))


BLOCKS: dict[str, type[Pseudo3DBlock]] = {"A": BlockA, "B": BlockB, "C": BlockC}


class P3D(nn.Module):
    """A pseudo-3D ResNet: (N, in_channels, T, H, W) -> logits (N, num_classes).

    Takes clips of 1 frame and more, and frames of 3 x 3 pixels and more. Every pooling rounds its
    output size up, so that a single time step stays one. After 16 frames or fewer one is left
    before res5; of longer clips res5 sees each remaining one by itself, and pool5 averages them.

    Args:
        depths: Blocks of res2, res3, res4 and res5.
        blocks: Classes of the pseudo-3D blocks, repeated through res2 to res4 without starting
            over at a stage.
        num_classes: Outputs.
        in_channels: 3 for RGB, 2 for flow.
        width: Channels of conv1; the bottlenecks of res2 to res5 are 1, 2, 4 and 8 times as wide.
        dropout: Share of the pooled features that training drops before the last layer.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        blocks: Sequence[type[Pseudo3DBlock]],
        num_classes: int,
        in_channels: int,
        *,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        kinds = cycle(blocks)
        self.conv1 = ConvBN(SpatialConv(in_channels, width, 7, stride=2))
        self.res2 = _stage(kinds, depths[0], width, width, stride=1)
        self.res3 = _stage(kinds, depths[1], 4 * width, 2 * width, stride=2)
        self.res4 = _stage(kinds, depths[2], 8 * width, 4 * width, stride=2)
        self.res5 = _stage(repeat(Bottleneck), depths[3], 16 * width, 8 * width, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(32 * width, num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clip: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.features(clip)))
        return logits

    def features(self, clip: Tensor) -> Tensor:
        """pool5: a clip (N, in_channels, T, H, W) -> (N, 32 * width), the 2048 of the paper."""
        self._check(clip)
        # In this layout the convolutions' foldings into 2D are views, not copies.
        x = clip.contiguous(memory_format=torch.channels_last_3d)
        x = F.max_pool3d(F.relu(self.conv1(x)), (2, 3, 3), stride=2, ceil_mode=True)
        x = _halve_time(self.res2(x))
        x = _halve_time(self.res3(x))
        x = _halve_time(self.res4(x))
        return torch.mean(self.res5(x), dim=(2, 3, 4))

    def freeze_batchnorm(self, except_first: bool = True) -> None:
        """Fix the statistics, scale and shift of every BatchNorm, for good.

        Args:
            except_first: Leave out that of conv1, as in the partial BN of Wang et al. (ECCV 2016,
                section 3.2), which P3D's author follows.
        """
        for module in self.modules():
            if isinstance(module, BatchNorm) and not (except_first and module is self.conv1.bn):
                module.freeze()

    def pseudo3d_blocks(self) -> list[Pseudo3DBlock]:
        """The blocks of res2 to res4, in order."""
        return [module for module in self.modules() if isinstance(module, Pseudo3DBlock)]

    def kinds(self) -> str:
        """The kinds of the pseudo-3D blocks, in order: ``"ABCABCABCABCA"``."""
        return "".join(block.kind for block in self.pseudo3d_blocks())

    # Networks of other kinds of blocks have the same names and shapes: their states tell by this.
    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(self.kinds().encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Any) -> None:
        kinds = bytes(state.tolist()).decode()
        if kinds != self.kinds():
            raise InputError(
                f"The weights belong to blocks {kinds}, the model has {self.kinds()}; "
                "build the model with those blocks."
            )

    def _check(self, clip: Tensor) -> None:
        fits = clip.ndim == 5 and clip.shape[1] == self.in_channels
        if not fits or clip.shape[2] < 1 or min(clip.shape[3:]) < 3:
            raise InputError(
                f"The clip has shape {tuple(clip.shape)}; give (N, {self.in_channels}, T, H, W) "
                "with 1 frame or more of 3 x 3 pixels or more."
            )


def p3d63(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
) -> P3D:
    """P3D-63, on ResNet-50: 25.7 M parameters, 8.4 G multiply-adds for 16 x 160 x 160."""
    return P3D((3, 4, 6, 3), _classes(blocks), num_classes, in_channels, dropout=dropout)


def p3d131(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
) -> P3D:
    """P3D-131, on ResNet-101: 48.1 M parameters, 12.9 G multiply-adds for 16 x 160 x 160."""
    return P3D((3, 4, 23, 3), _classes(blocks), num_classes, in_channels, dropout=dropout)


def p3d199(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
) -> P3D:
    """P3D-199, on ResNet-152: 66.5 M parameters, 18.4 G multiply-adds for 16 x 160 x 160."""
    return P3D((3, 8, 36, 3), _classes(blocks), num_classes, in_channels, dropout=dropout)


def p3d_small(
    num_classes: int,
    in_channels: int,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.2,
) -> P3D:
    """One block a stage, width 16: trains from scratch on a CPU within minutes; for trials."""
    return P3D((1, 1, 1, 1), _classes(blocks), num_classes, in_channels, width=16, dropout=dropout)


MODELS: dict[str, Callable[..., P3D]] = {
    "p3d63": p3d63,
    "p3d131": p3d131,
    "p3d199": p3d199,
    "p3d_small": p3d_small,
}


def start_temporal(model: P3D, start: TemporalStart = "identity") -> None:
    """Start the temporal convolutions anew, each with a neutral BatchNorm.

    Args:
        model: Changed in place; whatever its temporal convolutions have learned is lost.
        start: ``"identity"``: the network equals its 2D net as long as nothing moves (identity in
            A and C, zero in B; for C unlike the author's later code, which has no factor 0.5).
            ``"gaussian"``: deviation 0.001, as the author trains.
    """
    if start not in get_args(TemporalStart):
        raise InputError(f"Temporal start {start!r} is unknown; give identity or gaussian.")
    for block in model.pseudo3d_blocks():
        block.temporal.bn.start_neutral()
        if start == "identity":
            block.start_identity()
        else:
            block.temporal.conv.reset_parameters()


def parameter_groups(
    model: P3D,
    lr: float,
    weight_decay: float,
    fc_weight_ratio: float = 10.0,
    fc_bias_ratio: float = 20.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser: all but fc, fc's weights, fc's biases; none that is frozen.

    The ratios of the last layer's learning rates to ``lr`` are those of the author's Caffe files.
    """
    body: list[Tensor] = [p for name, p in model.named_parameters() if name[:3] != "fc."]
    groups: list[tuple[str, float, list[Tensor]]] = [
        ("body", lr, body),
        ("fc.weight", lr * fc_weight_ratio, [model.fc.weight]),
        ("fc.bias", lr * fc_bias_ratio, [model.fc.bias]),
    ]
    return [
        {"name": name, "params": learned, "lr": rate, "weight_decay": weight_decay}
        for name, rate, values in groups
        if (learned := [value for value in values if value.requires_grad])
    ]


def _stage(
    kinds: Iterator[type[Bottleneck]], depth: int, in_channels: int, width: int, stride: int
) -> nn.Sequential:
    first = next(kinds)(in_channels, width, stride)
    rest = [next(kinds)(EXPANSION * width, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


def _halve_time(x: Tensor) -> Tensor:
    """Max over pairs of time steps; an odd last one stays."""
    return F.max_pool3d(x, (2, 1, 1), ceil_mode=True)


def _classes(blocks: Sequence[str]) -> list[type[Pseudo3DBlock]]:
    if not blocks or set(blocks) - set(BLOCKS):
        raise InputError(f"Blocks {blocks!r} are unknown; give a cycle of A, B and C.")
    return [BLOCKS[kind] for kind in blocks]
