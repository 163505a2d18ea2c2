"""Fixtures that all tests share."""

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


# Where several processes test (pytest-xdist), each computes with one thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in the background, Python ignores Ctrl-C and passes that on to what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real videos and weights beside the checkout; the test is skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real videos and weights in {folder}, which is not there")
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos/, truth/, annotations.csv and store/: 12 classes, 3 groups, 1 tested."""
    from flow.__main__ import main
    from twostream import demo

    folder = tmp_path_factory.mktemp("demo")
    demo.make(folder, groups=3, test_groups=1)
    command = ["extract", str(folder / "videos"), str(folder / "store"), "--bound", "3"]
    assert main(command) == 0
    return folder
