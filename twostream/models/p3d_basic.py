"""Light pseudo-3D ResNets, of basic blocks: on ResNet-18 and ResNet-34, and narrower still.

The author's later code (github.com/ZhaofanQiu/Optimization-Planning-for-3D-ConvNets) gives each
3 x 3 of a basic block its own T, both of the block's kind. That is kept. What it has otherwise
than the published P3D is as there: T has its own BatchNorm, B's second T takes what its S takes,
C weighs both sides by a half, and the last stage is 2D.
"""

from collections.abc import Sequence

from torch import Tensor

from flow.errors import InputError
from twostream.models.layers import Block, ConvBN, Kind, SpatialConv, relu, still, temporal_for
from twostream.models.network import Stem
from twostream.models.p3d import P3DResNet, shortcut_for


class BasicBlock(Block):
    """Two S with a T each, and a shortcut around them: (N, C, T, H, W) -> (N, width, T, ...).

    u = S and T of x, ending in a ReLU; y = S and T of u, without one, as in 2D before the sum;
    ReLU(y + shortcut(x)).

    Args:
        in_channels: Of x.
        width: Output channels.
        stride: In space, of the first S (and of B's T beside it).
        kind: How each T stands to its S; FLAT for a 2D block, on every frame.
    """

    def __init__(self, in_channels: int, width: int, stride: int, kind: Kind) -> None:
        super().__init__(kind)
        self.out_channels = width
        first = SpatialConv(in_channels, width, 3, stride=stride)
        second = SpatialConv(width, width, 3)
        self.spatial1, self.temporal1 = ConvBN(first), temporal_for(kind, first)
        self.spatial2, self.temporal2 = ConvBN(second), temporal_for(kind, second)
        self.shortcut = shortcut_for(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        u = self.kind.join(self.spatial1, self.temporal1, x, relu)
        y = self.kind.join(self.spatial2, self.temporal2, u, still)
        return relu(y + self.shortcut(x))


def p3d_resnet18(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "torchvision",
    width_factor: float = 1.0,
) -> P3DResNet:
    """On ResNet-18; ``width_factor`` scales the channels of every layer (64 in conv1)."""
    return P3DResNet(
        (2, 2, 2, 2),
        BasicBlock,
        blocks,
        num_classes,
        in_channels,
        width=_scaled(64, width_factor),
        dropout=dropout,
        stem=stem,
        stride_in_1x1=None,
    )


def p3d_resnet34(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "torchvision",
    width_factor: float = 1.0,
) -> P3DResNet:
    """On ResNet-34; ``width_factor`` scales the channels of every layer (64 in conv1)."""
    return P3DResNet(
        (3, 4, 6, 3),
        BasicBlock,
        blocks,
        num_classes,
        in_channels,
        width=_scaled(64, width_factor),
        dropout=dropout,
        stem=stem,
        stride_in_1x1=None,
    )


def _scaled(width: int, factor: float) -> int:
    if not 1 / width <= factor <= 16:
        raise InputError(f"The width factor is {factor}; give a number from {1 / width} to 16.")
    return round(width * factor)
