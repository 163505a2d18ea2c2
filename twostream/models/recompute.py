"""Activation checkpointing: what a block computes inside is computed again for the gradients.

Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174): a
third more work, and of each block only its input is kept.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from twostream.models.layers import BatchNorm


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """block(x), with the same gradients and running statistics as without."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_held(block)

    y: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return y


@contextmanager
def _statistics_held(block: nn.Module) -> Iterator[None]:
    """The second time, the same batch must not move the running statistics again."""
    norms = [module for module in block.modules() if isinstance(module, BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
