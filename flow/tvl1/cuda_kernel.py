"""The CUDA kernel, compiled at run time by NVRTC for the GPU at hand and kept on disk."""

import hashlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch

from flow.errors import InputError
from flow.files import write_atomically

KERNELS = Path(__file__).parent / "kernels"
THREADS = 256  # of a block: kernels/cuda_machine.h
OPTIONS = {
    "std": "c++17",
    "ftz": True,
    "prec_div": False,
    "prec_sqrt": False,
    "device_as_default_execution_space": True,
}


def why_unavailable() -> str | None:
    """What keeps this machine from solving on a GPU, in a sentence; None where nothing does."""
    if not torch.cuda.is_available():
        built = "" if torch.version.cuda else " (the installed PyTorch is built without CUDA)"
        return f"PyTorch finds no CUDA GPU here{built}."
    try:
        import cuda.core  # noqa: F401
    except ImportError:
        return "The package cuda-core is missing; install it with: pip install '.[cuda]'."
    return None


def launch(problem: int, blocks: int, device: torch.device) -> None:
    """Start the kernel on the current stream of ``device``.

    Args:
        problem: Address of a ``Problem`` on the device, which must stay until the kernel ends.
        blocks: How many, each with a slot of the workspace.
        device: A CUDA device.
    """
    from cuda.core import Device, LaunchConfig, Stream
    from cuda.core import launch as launch_kernel

    Device(device.index).set_current()
    stream = Stream.from_handle(torch.cuda.current_stream(device).cuda_stream)
    config = LaunchConfig(grid=blocks, block=THREADS)
    launch_kernel(stream, config, _kernel(device.index), problem)


def resident_blocks(device: torch.device) -> int:
    """How many blocks of the kernel the device runs at a time."""
    per_processor = _kernel(device.index).occupancy.max_active_blocks_per_multiprocessor(THREADS, 0)
    return int(per_processor) * torch.cuda.get_device_properties(device).multi_processor_count


@cache
def _kernel(index: int) -> Any:
    from cuda.core import Device, ObjectCode

    device = Device(index)
    device.set_current()
    major, minor = device.compute_capability
    return ObjectCode.from_cubin(cubin(f"sm_{major}{minor}")).get_kernel("solve_pairs")


def cubin(arch: str) -> bytes:
    """Machine code for an architecture ("sm_90"), from disk where it was compiled before."""
    source = (KERNELS / "tvl1.cu").read_text()
    headers = sorted(KERNELS.glob("*.h"))
    key = hashlib.sha256(repr((arch, _compiler(), OPTIONS, source)).encode())
    for header in headers:
        key.update(header.name.encode() + header.read_bytes())
    kept = _cache_folder() / f"tvl1-{arch}-{key.hexdigest()[:32]}.cubin"
    try:
        return kept.read_bytes()
    except OSError:
        code = compile_kernel(source, arch)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, code)
    except OSError as error:  # a home that cannot be written costs a second a process, no more
        print(f"{kept} cannot be written ({error.strerror}).", file=sys.stderr)
    return code


def compile_kernel(source: str, arch: str) -> bytes:
    """Compile with NVRTC; needs no GPU and no driver."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(arch=arch, include_path=str(KERNELS), **OPTIONS)
    try:
        return bytes(Program(source, "c++", options).compile("cubin").code)
    except Exception as error:
        log = " ".join(str(error).replace("\0", " ").split())
        raise InputError(
            f"The CUDA kernel cannot be compiled for {arch} ({log}); "
            "newer cuda-core and nvidia-cuda-nvrtc may know this GPU, or give the solver 'cpu'."
        ) from error


def _compiler() -> tuple[int, int]:
    from cuda.bindings import nvrtc

    _, major, minor = nvrtc.nvrtcVersion()
    return major, minor


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "twostream-flow"
