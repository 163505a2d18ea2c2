"""A small stored demo data set, extracted once for all tests here."""

from pathlib import Path

import pytest

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
