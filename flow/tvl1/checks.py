"""What every compiled solver asks of its callers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError


def check_pairs(
    previous: NDArray[Any], following: NDArray[Any], initial: NDArray[np.float32] | None
) -> None:
    """Raise InputError unless these are pairs (N, H, W) of uint8 or of float32, and their flow."""
    if previous.ndim != 3 or previous.shape != following.shape:
        raise InputError(
            f"The images have shapes {previous.shape} and {following.shape}; "
            "give two of one shape (N, H, W)."
        )
    if 0 in previous.shape[1:]:
        raise InputError(f"The images have shape {previous.shape}, without pixels; give some.")
    if previous.dtype != following.dtype or previous.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"The images are {previous.dtype} and {following.dtype}; "
            "give both as uint8 or both as float32."
        )
    if initial is not None and (
        initial.shape != (*previous.shape, 2) or initial.dtype != np.float32
    ):
        raise InputError(
            f"The initial flow is {initial.dtype} {initial.shape}; "
            f"give float32 {(*previous.shape, 2)}."
        )


def as_c_int(count: int) -> int:
    """What a C int holds: nobody waits for more."""
    return min(int(count), 2**31 - 1)
