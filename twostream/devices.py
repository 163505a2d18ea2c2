"""The device that computes, and the precision that it computes in."""

from contextlib import AbstractContextManager

import torch

from flow.errors import InputError
from twostream.models.inference import Precision, has_bfloat16


def choose_device(device: str = "auto") -> torch.device:
    """The device of that name; "auto" is the GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(
            f"Device {device!r} cannot be used ({reason}); give auto or cpu."
        ) from None
    return chosen


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context that computes in ``precision`` on ``device``; weights and sums stay fp32."""
    bf16 = precision == "bf16" or (precision == "auto" and has_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
