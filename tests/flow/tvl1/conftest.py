"""The CUDA kernel's source, built as code for the processor."""

import ctypes
import os
import subprocess

import pytest

from flow.tvl1.cuda_kernel import KERNELS


@pytest.fixture(scope="session")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """tvl1_emulate(Problem*, blocks, backwards) and tvl1_slot_floats(pixels, pyramid, width)."""
    library = tmp_path_factory.mktemp("emulation") / "emulation.so"
    compiler = os.environ.get("CXX", "c++")
    source = KERNELS / "cuda_on_cpu.cpp"
    # No product is fused with a sum, so that two ways to the same number give the same bits.
    options = ["-std=gnu++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
    subprocess.run([compiler, *options, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.tvl1_emulate.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    loaded.tvl1_emulate.restype = None
    loaded.tvl1_slot_floats.argtypes = [ctypes.c_longlong, ctypes.c_longlong, ctypes.c_int]
    loaded.tvl1_slot_floats.restype = ctypes.c_longlong
    return loaded
