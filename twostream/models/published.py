"""Published weights: what is known of each file that its tensors do not tell.

A 2D ResNet's names and shapes are the same wherever the stride of a stage stands and however pool1
is padded; what it computes is not. Its lineage tells: the SHA-256 of a published file, of which
torchvision and timm put the first eight digits into the file's name.
"""

from dataclasses import dataclass
from typing import Literal

from twostream.models.input import (
    CAFFE_RGB,
    IMAGENET_RGB,
    P3D_PUBLISHED_FLOW,
    P3D_RGB,
    InputConvention,
)
from twostream.models.network import Stem

LineageName = Literal["caffe", "torchvision", "cadene"]


@dataclass(frozen=True)
class Lineage:
    """What 2D networks of one origin have in common.

    Attributes:
        name: As `load_weights` takes it.
        stem: See `twostream.models.network.Form`.
        stride_in_1x1: See there; it matters to bottlenecks alone.
        input: What they take.
    """

    name: LineageName
    stem: Stem
    stride_in_1x1: bool
    input: InputConvention

    def __str__(self) -> str:
        stride = "the first 1x1" if self.stride_in_1x1 else "the 3x3"
        pool = "from the first pixel on" if self.stem == "caffe" else "padded"
        return f"{self.name}'s lineage (stride on {stride}, pool1 {pool})"


# The first ResNets, He et al. 2016 (github.com/KaimingHe/deep-residual-networks).
CAFFE = Lineage("caffe", "caffe", True, CAFFE_RGB)
TORCHVISION = Lineage("torchvision", "torchvision", False, IMAGENET_RGB)
# SE-ResNets of github.com/Cadene/pretrained-models.pytorch, which timm calls legacy.
CADENE = Lineage("cadene", "caffe", True, IMAGENET_RGB)
LINEAGES: dict[LineageName, Lineage] = {
    lineage.name: lineage for lineage in (CAFFE, TORCHVISION, CADENE)
}


@dataclass(frozen=True)
class Published2D:
    """A published file of a 2D network's weights.

    Attributes:
        name: Of the file, without suffix; ends in the first digits of its SHA-256.
        model: The name in ``MODELS`` of the network that it inflates to.
        lineage: Where it comes from.
        home: Where it is published.
    """

    name: str
    model: str
    lineage: Lineage
    home: str

    @property
    def sha256(self) -> str:
        """The first hexadecimal digits of the file's SHA-256."""
        return self.name.rpartition("-")[2]


@dataclass(frozen=True)
class PublishedP3D:
    """A published P3D: the author's .caffemodel, and the PyTorch file that was made from it.

    Attributes:
        name: What it was trained on.
        classes: Outputs.
        input: What it takes.
        accuracy: As its author states it.
        home: Where it is published.
    """

    name: str
    classes: int
    input: InputConvention
    accuracy: str
    home: str = "github.com/ZhaofanQiu/pseudo-3d-residual-networks"


P3D_FILES = (
    PublishedP3D("Sports-1M", 487, P3D_RGB, "clip@1 47.9, video@1 66.4, video@5 87.4"),
    PublishedP3D("Kinetics-400", 400, P3D_RGB, "top-1 72.1 on the validation list"),
    PublishedP3D("Kinetics-400 flow", 400, P3D_PUBLISHED_FLOW, "top-1 61.2 on the validation list"),
)

_TORCHVISION_HOME = "download.pytorch.org/models"
_TIMM_HOME = "github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"
_CADENE_HOME = "github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene"
FILES_2D = (
    *(
        Published2D(name, model, TORCHVISION, _TORCHVISION_HOME)
        for name, model in (
            ("resnet18-5c106cde", "p3d_resnet18"),
            ("resnet18-f37072fd", "p3d_resnet18"),
            ("resnet34-333f7ec4", "p3d_resnet34"),
            ("resnet34-b627a593", "p3d_resnet34"),
            ("resnet50-19c8e357", "p3d63"),
            ("resnet50-0676ba61", "p3d63"),
            ("resnet50-11ad3fa6", "p3d63"),
            ("resnet101-5d3b4d8f", "p3d131"),
            ("resnet101-63fe2227", "p3d131"),
            ("resnet101-cd907fc2", "p3d131"),
            ("resnet152-b121ed2d", "p3d199"),
            ("resnet152-394f9c45", "p3d199"),
            ("resnet152-f82ba261", "p3d199"),
            ("resnext50_32x4d-7cdf4587", "p3d_resnext50"),
            ("resnext50_32x4d-1a0047aa", "p3d_resnext50"),
            ("resnext101_32x8d-8ba56ff5", "p3d_resnext101"),
            ("resnext101_32x8d-110c445d", "p3d_resnext101"),
            ("densenet121-a639ec97", "p3d_densenet121"),
            ("densenet169-b2777c0a", "p3d_densenet169"),
        )
    ),
    Published2D("seresnet50_ra_224-8efdb4bb", "p3d_seresnet50", TORCHVISION, _TIMM_HOME),
    Published2D("se_resnet50-ce0d4300", "p3d_seresnet50", CADENE, _CADENE_HOME),
    Published2D("se_resnet101-7e38fcc6", "p3d_seresnet101", CADENE, _CADENE_HOME),
    Published2D("se_resnet152-d17c99b7", "p3d_seresnet152", CADENE, _CADENE_HOME),
)


def published_2d(sha256: str) -> Published2D | None:
    """The published 2D network whose file has this SHA-256, in hexadecimal; None: not known."""
    return next((file for file in FILES_2D if sha256.startswith(file.sha256)), None)


def published_p3d(in_channels: int, classes: int | None) -> PublishedP3D | None:
    """The published P3D of so many inputs and classes; None: somebody else's."""
    fits = (f for f in P3D_FILES if (len(f.input.mean), f.classes) == (in_channels, classes))
    return next(fits, None)
