"""Pseudo-3D networks and the weights that they load."""

from collections.abc import Callable

from twostream.models.input import InputConvention
from twostream.models.network import P3D, Form, start_temporal
from twostream.models.p3d import p3d63, p3d131, p3d199, p3d_small
from twostream.models.p3d_basic import p3d_resnet18, p3d_resnet34
from twostream.models.p3d_densenet import p3d_densenet121, p3d_densenet169
from twostream.models.p3d_resnext import p3d_resnext50, p3d_resnext101
from twostream.models.p3d_se import p3d_seresnet50, p3d_seresnet101, p3d_seresnet152
from twostream.models.weights import LoadReport, load_weights

MODELS: dict[str, Callable[..., P3D]] = {
    "p3d63": p3d63,
    "p3d131": p3d131,
    "p3d199": p3d199,
    "p3d_resnet18": p3d_resnet18,
    "p3d_resnet34": p3d_resnet34,
    "p3d_resnext50": p3d_resnext50,
    "p3d_resnext101": p3d_resnext101,
    "p3d_seresnet50": p3d_seresnet50,
    "p3d_seresnet101": p3d_seresnet101,
    "p3d_seresnet152": p3d_seresnet152,
    "p3d_densenet121": p3d_densenet121,
    "p3d_densenet169": p3d_densenet169,
    "p3d_small": p3d_small,
}

__all__ = [
    "MODELS",
    "P3D",
    "Form",
    "InputConvention",
    "LoadReport",
    "load_weights",
    "p3d63",
    "p3d131",
    "p3d199",
    "p3d_densenet121",
    "p3d_densenet169",
    "p3d_resnet18",
    "p3d_resnet34",
    "p3d_resnext50",
    "p3d_resnext101",
    "p3d_seresnet50",
    "p3d_seresnet101",
    "p3d_seresnet152",
    "p3d_small",
    "start_temporal",
]
