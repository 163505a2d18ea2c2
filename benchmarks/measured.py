"""What every benchmark writes beside its figures, and how it prints them."""

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.processors import usable_processors

# Clouds give processors of several generations one name; these tell them apart.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("twostream-flow", "numpy", "torch", "opencv-contrib-python")


def machine() -> dict[str, Any]:
    """Where figures come from."""
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        **processor(),
        "usable_processors": usable_processors(),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
    }


def processor() -> dict[str, Any]:
    """What it is called, and what tells it from others of that name where Linux knows."""
    known = dict.fromkeys(("model name", "cpu family", "flags"), "")
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            field, _, value = line.partition(":")
            if field.strip() in known:
                known[field.strip()] = value.strip()
    return {
        "processor": known["model name"] or platform.processor() or platform.machine(),
        "processor_family": known["cpu family"],
        "instructions": [each for each in INSTRUCTIONS if each in known["flags"].split()],
    }


def milliseconds(seconds: NDArray[np.float64]) -> str:
    """Median and range."""
    return spread(1e3 * seconds) + " ms"


def spread(values: NDArray[np.float64]) -> str:
    """Median and range."""
    return f"{np.median(values):.1f} ({values.min():.1f} to {values.max():.1f})"


def peak_of(form: str, peaks: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    """GFLOP/s of a matrix product, round by round, in the precision that a network's form has.

    Args:
        form: As `p3d_speed.py` names it.
        peaks: By "float32" and "bfloat16".
    """
    return np.array(peaks["bfloat16" if "bf16" in form else "float32"])
