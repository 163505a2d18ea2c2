"""Pseudo-3D residual networks: 2D ResNets with a temporal convolution in every bottleneck.

Qiu, Yao, Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
ICCV 2017 (doi:10.1109/ICCV.2017.590, arXiv:1711.10305). Where the paper leaves a detail open, the
network definitions that its author published for Caffe decide
(github.com/ZhaofanQiu/pseudo-3d-residual-networks).

Convention: a clip is float (N, C, T, H, W) with C = 3 (RGB) or 2 (flow, x then y).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, repeat

from torch import Tensor, nn

from twostream.models.layers import (
    FLAT,
    Block,
    ConvBN,
    Kind,
    SpatialConv,
    halve_time,
    relu,
    temporal_for,
)
from twostream.models.network import P3D, Stem, kinds_of, last_layer, stem_conv

EXPANSION = 4  # output channels of a bottleneck over its width


class Bottleneck(Block):
    """1 x 1, S and T, 1 x 1, and a shortcut around them: (N, C, T, H, W) -> (N, 4 width, T, ...).

    u = ReLU(reduce x); y = S and T of u, as the kind says; ReLU(restore y + shortcut x);
    every convolution with its BatchNorm. T keeps all channels together where S is in groups, as in
    the author's later code (github.com/ZhaofanQiu/Optimization-Planning-for-3D-ConvNets).

    Args:
        in_channels: Of x.
        width: A quarter of the output channels.
        stride: In space, of the block.
        kind: How T stands to S; FLAT for a 2D block, on every frame.
        groups: Of S.
        inner: Channels of u over ``width``.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        kind: Kind,
        *,
        groups: int = 1,
        inner: int = 1,
    ) -> None:
        super().__init__(kind)
        self.stride = stride
        self.out_channels = EXPANSION * width
        channels = inner * width
        self.reduce = ConvBN(SpatialConv(in_channels, channels, stride=stride))
        spatial = SpatialConv(channels, channels, 3, groups=groups)
        self.spatial = ConvBN(spatial)
        self.restore = ConvBN(SpatialConv(channels, self.out_channels))
        self.shortcut = shortcut_for(in_channels, self.out_channels, stride)
        self.temporal = temporal_for(kind, spatial)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.restore(self.middle(self.reduce(x, relu)), relu, plus=self.shortcut(x))
        return y

    def middle(self, u: Tensor) -> Tensor:
        """S and T."""
        return self.kind.join(self.spatial, self.temporal, u, relu)

    def place_stride(self, in_1x1: bool) -> None:
        """Put the stride into ``reduce`` (He et al., CVPR 2016), or beside it into S."""
        first, second = (self.stride, 1) if in_1x1 else (1, self.stride)
        self.reduce.conv.stride = (1, first, first)
        self.spatial.conv.stride = (1, second, second)
        if self.kind.from_u:
            for temporal in self.temporals():
                temporal.conv.stride = (1, second, second)


class P3DResNet(P3D):
    """A pseudo-3D ResNet: (N, in_channels, T, H, W) -> logits (N, num_classes).

    Takes clips of 1 frame and more, and frames of 3 x 3 pixels and more. Every pooling in time
    rounds its output size up, so that a single step stays one. After 16 frames or fewer one is
    left before res5; of longer clips res5 sees each remaining one by itself, and pool5 averages
    them.

    Args:
        depths: Blocks of res2, res3, res4 and res5.
        block: Makes a block of input channels, width, stride and kind.
        blocks: Kinds of the pseudo-3D blocks, repeated through res2 to res4 without starting over
            at a stage.
        num_classes: Outputs.
        in_channels: 3 for RGB, 2 for flow.
        width: Channels of conv1; the blocks of res2 to res5 are 1, 2, 4 and 8 times as wide.
        dropout: Share of the pooled features that training drops before the last layer.
        stem: See `Form`.
        stride_in_1x1: See `Form`; None where the blocks begin with a 3 x 3.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        block: Callable[[int, int, int, Kind], Block],
        blocks: Sequence[str],
        num_classes: int,
        in_channels: int,
        *,
        width: int = 64,
        dropout: float = 0.5,
        stem: Stem = "caffe",
        stride_in_1x1: bool | None = True,
    ) -> None:
        super().__init__(in_channels, stem)
        kinds = cycle(kinds_of(blocks))
        self.conv1 = stem_conv(in_channels, width)
        self.res2 = _stage(block, kinds, depths[0], width, width, stride=1)
        self.res3 = _stage(block, kinds, depths[1], _channels(self.res2), 2 * width, stride=2)
        self.res4 = _stage(block, kinds, depths[2], _channels(self.res3), 4 * width, stride=2)
        flat = repeat(FLAT)
        self.res5 = _stage(block, flat, depths[3], _channels(self.res4), 8 * width, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.fc = last_layer(_channels(self.res5), num_classes)
        if stride_in_1x1 is not None:
            self.place_stride(stride_in_1x1)

    def front(self, x: Tensor) -> Tensor:
        x = halve_time(self.through(self.res2, x))
        return halve_time(self.through(self.res3, x))

    def back(self, x: Tensor) -> Tensor:
        x = halve_time(self.through(self.res4, x))
        return self.through(self.res5, x)

    def place_stride(self, in_1x1: bool) -> None:
        bottlenecks = [module for module in self.modules() if isinstance(module, Bottleneck)]
        if not bottlenecks:
            super().place_stride(in_1x1)
        for bottleneck in bottlenecks:
            bottleneck.place_stride(in_1x1)
        self.stride_in_1x1 = in_1x1


def shortcut_for(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """What a residual is added to: x itself, or its projection where the sizes differ."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return ConvBN(SpatialConv(in_channels, out_channels, stride=stride))


def p3d63(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "caffe",
    stride_in_1x1: bool = True,
) -> P3DResNet:
    """P3D-63, on ResNet-50: 25.7 M parameters, 8.4 G multiply-adds for 16 x 160 x 160."""
    return P3DResNet(
        (3, 4, 6, 3),
        Bottleneck,
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )


def p3d131(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "caffe",
    stride_in_1x1: bool = True,
) -> P3DResNet:
    """P3D-131, on ResNet-101: 48.1 M parameters, 12.9 G multiply-adds for 16 x 160 x 160."""
    return P3DResNet(
        (3, 4, 23, 3),
        Bottleneck,
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )


def p3d199(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "caffe",
    stride_in_1x1: bool = True,
) -> P3DResNet:
    """P3D-199, on ResNet-152: 66.5 M parameters, 18.4 G multiply-adds for 16 x 160 x 160."""
    return P3DResNet(
        (3, 8, 36, 3),
        Bottleneck,
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )


def p3d_small(
    num_classes: int,
    in_channels: int,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.2,
) -> P3DResNet:
    """One block a stage, width 16: trains from scratch on a CPU within minutes; for trials."""
    return P3DResNet(
        (1, 1, 1, 1), Bottleneck, blocks, num_classes, in_channels, width=16, dropout=dropout
    )


def _stage(
    block: Callable[[int, int, int, Kind], Block],
    kinds: Iterator[Kind],
    depth: int,
    in_channels: int,
    width: int,
    stride: int,
) -> nn.Sequential:
    first = block(in_channels, width, stride, next(kinds))
    rest = [block(first.out_channels, width, 1, next(kinds)) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


def _channels(stage: nn.Sequential) -> int:
    last = stage[-1]
    assert isinstance(last, Block)
    return last.out_channels
