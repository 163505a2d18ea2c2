"""A small stored demo data set, extracted once for all tests here, and one thread for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flow.__main__ import main as flow_main
from twostream import demo


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos/, truth/, annotations.csv and store/: 12 classes, 3 groups, 1 tested."""
    folder = tmp_path_factory.mktemp("demo")
    demo.make(folder, groups=3, test_groups=1)
    command = ["extract", str(folder / "videos"), str(folder / "store"), "--bound", "3"]
    assert flow_main(command) == 0
    return folder


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small take longer by several threads, and many times so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
