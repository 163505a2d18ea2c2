"""Pseudo-3D SE-ResNets: the P3D ResNet with squeeze-and-excitation in every block.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018 (doi:10.1109/CVPR.2018.00745): each
channel of a block's output is weighed before the sum by a gate that sees all channels' means, here
over time and space. Stem and stride are those of the SENet authors' Caffe networks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twostream.models.layers import Kind, relu
from twostream.models.network import Stem
from twostream.models.p3d import Bottleneck, P3DResNet

REDUCTION = 16  # of the channels in the gate, r in section 3.2


class SqueezeExcitation(nn.Module):
    """x * sigmoid(fc2 ReLU(fc1 mean x)), the mean over time and space: (N, C, T, H, W) the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // REDUCTION, 1)
        self.fc1 = nn.Conv3d(channels, squeezed, 1)
        self.fc2 = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.mean(x, dim=(2, 3, 4), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


class SEBottleneck(Bottleneck):
    """A bottleneck whose residual passes a gate: ReLU(gate(restore y) + shortcut x)."""

    def __init__(self, in_channels: int, width: int, stride: int, kind: Kind) -> None:
        super().__init__(in_channels, width, stride, kind)
        self.gate = SqueezeExcitation(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.gate(self.restore(self.middle(self.reduce(x, relu))))
        return relu(residual + self.shortcut(x))


def p3d_seresnet50(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "caffe",
    stride_in_1x1: bool = True,
) -> P3DResNet:
    """On SE-ResNet-50."""
    return P3DResNet(
        (3, 4, 6, 3),
        SEBottleneck,
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )


def p3d_seresnet101(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "caffe",
    stride_in_1x1: bool = True,
) -> P3DResNet:
    """On SE-ResNet-101."""
    return P3DResNet(
        (3, 4, 23, 3),
        SEBottleneck,
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )


def p3d_seresnet152(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "caffe",
    stride_in_1x1: bool = True,
) -> P3DResNet:
    """On SE-ResNet-152."""
    return P3DResNet(
        (3, 8, 36, 3),
        SEBottleneck,
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )
