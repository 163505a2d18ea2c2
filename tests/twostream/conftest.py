"""One thread for all tests here; single precision for those that compare digits."""

from collections.abc import Iterator

import pytest
import torch

from twostream import devices
from twostream.models import inference


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small take longer by several threads, and many times so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision "auto" is single precision, on a processor with bfloat16 instructions too."""
    for module in (inference, devices):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: False)
