"""Pseudo-3D DenseNets: a temporal convolution in every dense layer.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017
(doi:10.1109/CVPR.2017.243), the BC nets that torchvision has weights of. P3D's author planned it
and left it out. As in his ResNets, time is halved after conv1 and after each of the first three
dense blocks, and the last dense block is 2D. A dense layer ends in its 3 x 3, and so in S and T
without an activation; T has its own BatchNorm.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twostream.models.layers import (
    FLAT,
    BatchNorm,
    Block,
    ConvBN,
    Kind,
    SpatialConv,
    halve_time,
    relu,
    still,
    temporal_for,
)
from twostream.models.network import P3D, Stem, kinds_of, last_layer, stem_conv

BOTTLENECK = 4  # channels of the 1 x 1 over the growth rate


class DenseLayer(Block):
    """x and ``growth`` channels more: (N, C, T, H, W) -> (N, C + growth, T, H, W).

    u = ReLU(BN(reduce ReLU(BN x))); y = S and T of u, as the kind says; x and y together.
    """

    def __init__(self, in_channels: int, growth: int, kind: Kind) -> None:
        super().__init__(kind)
        self.out_channels = in_channels + growth
        self.bn1 = BatchNorm(in_channels)
        self.reduce = ConvBN(SpatialConv(in_channels, BOTTLENECK * growth))
        self.spatial = SpatialConv(BOTTLENECK * growth, growth, 3)
        self.temporal = temporal_for(kind, self.spatial)

    def forward(self, x: Tensor) -> Tensor:
        u = self.reduce(relu(self.bn1(x)), relu)
        # No activation: the next layers' own BatchNorms and ReLUs come first.
        return torch.cat([x, self.kind.join(self.spatial, self.temporal, u, still)], dim=1)


class Transition(nn.Module):
    """Half the channels, half the size: 1 x 1 and the mean over 2 x 2 pixels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.bn = BatchNorm(in_channels)
        self.conv = SpatialConv(in_channels, in_channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(self.conv(relu(self.bn(x))), (1, 2, 2))


class P3DDenseNet(P3D):
    """A pseudo-3D DenseNet: (N, in_channels, T, H, W) -> logits (N, num_classes).

    Takes clips of 1 frame and more, and frames of 32 x 32 pixels and more.

    Args:
        depths: Layers of the four dense blocks.
        blocks: Kinds of the pseudo-3D layers, repeated through the first three dense blocks
            without starting over.
        num_classes: Outputs.
        in_channels: 3 for RGB, 2 for flow.
        growth: Channels that a layer adds; conv1 has twice as many.
        dropout: Share of the pooled features that training drops before the last layer.
        stem: See `Form`.
    """

    smallest = 32

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        blocks: Sequence[str],
        num_classes: int,
        in_channels: int,
        *,
        growth: int = 32,
        dropout: float = 0.5,
        stem: Stem = "torchvision",
    ) -> None:
        super().__init__(in_channels, stem)
        kinds = cycle(kinds_of(blocks))
        widths = [2 * growth]
        for depth in depths[:3]:
            widths.append((widths[-1] + depth * growth) // 2)
        self.conv1 = stem_conv(in_channels, widths[0])
        self.dense1 = _dense_block(widths[0], depths[0], growth, kinds)
        self.transition1 = Transition(widths[0] + depths[0] * growth)
        self.dense2 = _dense_block(widths[1], depths[1], growth, kinds)
        self.transition2 = Transition(widths[1] + depths[1] * growth)
        self.dense3 = _dense_block(widths[2], depths[2], growth, kinds)
        self.transition3 = Transition(widths[2] + depths[2] * growth)
        self.dense4 = _dense_block(widths[3], depths[3], growth, repeat(FLAT))
        features = widths[3] + depths[3] * growth
        self.bn5 = BatchNorm(features)
        self.dropout = nn.Dropout(dropout)
        self.fc = last_layer(features, num_classes)

    def front(self, x: Tensor) -> Tensor:
        x = self.transition1(halve_time(self.through(self.dense1, x)))
        y: Tensor = self.transition2(halve_time(self.through(self.dense2, x)))
        return y

    def back(self, x: Tensor) -> Tensor:
        x = self.transition3(halve_time(self.through(self.dense3, x)))
        return relu(self.bn5(self.through(self.dense4, x)))


def p3d_densenet121(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "torchvision",
) -> P3DDenseNet:
    """On DenseNet-121."""
    return P3DDenseNet(
        (6, 12, 24, 16), blocks, num_classes, in_channels, dropout=dropout, stem=stem
    )


def p3d_densenet169(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "torchvision",
) -> P3DDenseNet:
    """On DenseNet-169."""
    return P3DDenseNet(
        (6, 12, 32, 32), blocks, num_classes, in_channels, dropout=dropout, stem=stem
    )


def _dense_block(in_channels: int, depth: int, growth: int, kinds: Iterator[Kind]) -> nn.Sequential:
    layers = [DenseLayer(in_channels + i * growth, growth, next(kinds)) for i in range(depth)]
    return nn.Sequential(*layers)
