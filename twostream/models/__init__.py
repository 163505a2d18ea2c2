"""P3D networks and the weights that they load."""

from twostream.models.p3d import (
    MODELS,
    P3D,
    p3d63,
    p3d131,
    p3d199,
    p3d_small,
    parameter_groups,
    start_temporal,
)
from twostream.models.weights import LoadReport, load_weights

__all__ = [
    "MODELS",
    "P3D",
    "LoadReport",
    "load_weights",
    "p3d63",
    "p3d131",
    "p3d199",
    "p3d_small",
    "parameter_groups",
    "start_temporal",
]
