"""Pseudo-3D ResNeXts: the P3D ResNet with S in groups.

Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017
(doi:10.1109/CVPR.2017.634), in the two sizes that torchvision has weights of. P3D's author planned
it and left it out; T is not in groups, as in his later code
(github.com/ZhaofanQiu/Optimization-Planning-for-3D-ConvNets). Stem and stride are torchvision's.
"""

from collections.abc import Sequence
from functools import partial

from twostream.models.network import Stem
from twostream.models.p3d import Bottleneck, P3DResNet


def p3d_resnext50(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "torchvision",
    stride_in_1x1: bool = False,
) -> P3DResNet:
    """On ResNeXt-50 (32x4d): in res2 32 groups of 4 channels, which is twice the width 64."""
    return P3DResNet(
        (3, 4, 6, 3),
        partial(Bottleneck, groups=32, inner=2),
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )


def p3d_resnext101(
    num_classes: int = 400,
    in_channels: int = 3,
    *,
    blocks: Sequence[str] = ("A", "B", "C"),
    dropout: float = 0.5,
    stem: Stem = "torchvision",
    stride_in_1x1: bool = False,
) -> P3DResNet:
    """On ResNeXt-101 (32x8d): in res2 32 groups of 8 channels, which is four times the width 64."""
    return P3DResNet(
        (3, 4, 23, 3),
        partial(Bottleneck, groups=32, inner=4),
        blocks,
        num_classes,
        in_channels,
        dropout=dropout,
        stem=stem,
        stride_in_1x1=stride_in_1x1,
    )
