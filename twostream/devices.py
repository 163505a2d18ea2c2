"""The device that computes, and the precision that it computes in."""

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from flow.errors import InputError
from twostream.experiments import Precision

# What Linux calls bfloat16 arithmetic of x86 and of ARM processors.
CPU_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


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


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic of its own, rather than an emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    description = Path("/proc/cpuinfo")
    words = description.read_text().split() if description.is_file() else []
    return device.type == "cpu" and not CPU_BF16.isdisjoint(words)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context that computes in ``precision`` on ``device``; weights and sums stay fp32."""
    bf16 = precision == "bf16" or (precision == "auto" and computes_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
