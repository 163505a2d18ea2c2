"""Networks in tests: values that matter in every layer, and how far two answers are apart."""

import torch
from torch import Tensor, nn


def relative_error(value: Tensor, expected: Tensor) -> float:
    """The norm of the difference over that of what is expected."""
    value, expected = value.detach().double(), expected.detach().double()
    return float((value - expected).norm() / expected.norm())


def randn(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers, of their own seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every parameter and statistic a value that matters, BatchNorms' among them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if value.ndim > 2:
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(noise * (2 / value[0].numel()) ** 0.5)
            elif value.is_floating_point():
                low = -0.5 if name.endswith(("bias", "running_mean")) else 0.5
                value.copy_(torch.rand(value.shape, generator=generator) + low)
