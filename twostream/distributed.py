"""Training by several processes that torchrun starts, on one machine or many.

    torchrun --standalone --nproc-per-node 4 -m -- twostream train paper ...

(Without "--", torchrun takes --run for one of its own options.)
Every process has a copy of the network and a share of each step's clips; gradients are summed over
all (DistributedDataParallel), so that the processes together make the step that one would make
alone. BatchNorms that learn take their statistics over all processes on GPUs (SyncBatchNorm);
on CPUs, where PyTorch has no such thing, over each process by itself: there only frozen ones make
the step independent of the number of processes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from flow.errors import InputError
from twostream.devices import choose_device
from twostream.models import P3D
from twostream.models.layers import BatchNorm

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """Which of how many processes this is.

    Attributes:
        device: Where this process computes.
        rank: Its number, from 0.
        size: How many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """Print what there is to say, once."""
        if text and self.main:
            print(text, flush=True)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's items: every ``size``-th."""
        return items[self.rank :: self.size]

    def total(self, values: Tensor) -> Tensor:
        """The sum of each process's ``values``, on its device; in all of them alike."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def spread(self, model: P3D) -> nn.Module:
        """The network as all processes train it together."""
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            synchronise_batchnorm(model)
        return DistributedDataParallel(
            model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )


def alone(device: str = "auto") -> World:
    """The one process, on the device of that name."""
    return World(choose_device(device))


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun has started, once all are there; without torchrun: this one.

    Args:
        device: "auto", "cpu" or "cuda"; each process of a machine takes a GPU of its own.

    Raises:
        InputError: More processes than GPUs, or a GPU by number.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield alone(device)
        return
    own = _own_device(device, int(os.environ["LOCAL_RANK"]))
    if own.type == "cuda":
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield World(own, distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def _own_device(device: str, local_rank: int) -> torch.device:
    chosen = choose_device(device)
    if chosen.type != "cuda":
        return chosen
    if chosen.index is not None:
        raise InputError(f"Device {device!r} is one for all processes; give cuda, or one process.")
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"There are more processes than the {torch.cuda.device_count()} GPUs here; "
            "give torchrun a smaller --nproc-per-node."
        )
    return torch.device("cuda", local_rank)


def synchronise_batchnorm(model: nn.Module) -> None:
    """Let the BatchNorms that are not frozen take their statistics over all processes."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, BatchNorm) and not child.frozen:
                convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
                setattr(parent, name, convert(child))


def summing(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Around a part of a step: the gradients are summed over the processes after its last part."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()
