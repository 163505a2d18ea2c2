"""The networks in plain PyTorch, as a port has them: what the speed of ours is a ratio to.

    python benchmarks/plain_p3d.py MODEL STAGE BATCH C T H W THREADS

goes through one pass ("inference") or step ("training") for each line that it reads, and answers
each with a line. `OwnProcess` runs this: as a port's user has it, with PyTorch's own settings of
memory and threads, which ours change.
"""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any, Literal

import torch  # before twostream, which tells its threads how to wait
from torch import Tensor, nn
from torch.nn import functional as F

from twostream.models import MODELS, P3D
from twostream.models.layers import BatchNorm, FlatConv
from twostream.models.network import POOLS

CLASSES = 400

Work = Callable[[], object]
Stage = Literal["inference", "training"]


def main() -> None:
    name, stage, batch, *sizes, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    channels, *clip = map(int, sizes)
    model = MODELS[name](CLASSES, channels)
    work = reference(model, torch.randn(int(batch), channels, *clip), training=stage == "training")
    for _ in sys.stdin:
        work()
        print("done", flush=True)


def plain(model: P3D) -> P3D:
    """The same network of nn.Conv3d and nn.BatchNorm3d, on contiguous tensors."""
    made = copy.deepcopy(model)
    for name, conv in list(made.named_modules()):
        if isinstance(conv, FlatConv):
            sizes: Any = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups
            replacement = nn.Conv3d(conv.in_channels, conv.out_channels, *sizes)
            replacement.bias = None
            replacement.weight = conv.weight
            made.set_submodule(name, replacement)

    def features(self: P3D, clip: Tensor) -> Tensor:
        return self.late(self.front(POOLS[self.stem](self.conv1(clip).relu())))

    made.features = MethodType(features, made)  # type: ignore[method-assign]
    return made


def reference(model: P3D, clips: Tensor, *, training: bool) -> Work:
    """A pass or a step of the plain network; every BatchNorm but the first frozen, as in ours."""
    network = plain(model).to(clips.device)
    if not training:
        return passes(network.eval(), clips)
    network.train()
    for module in network.modules():
        if isinstance(module, BatchNorm) and module is not network.conv1.bn:
            module.eval().requires_grad_(False)
    return step(network, clips)


def passes(network: nn.Module, clips: Tensor) -> Work:
    """One pass of the clips."""

    @torch.inference_mode()
    def work() -> object:
        return network(clips)

    return work


def step(network: P3D, clips: Tensor, half: bool = False) -> Work:
    """Loss, gradients, SGD."""
    labels = torch.arange(len(clips), device=clips.device) % CLASSES
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-6, momentum=0.9)

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(network(clips), labels)
        torch.autograd.backward(loss)
        optimizer.step()

    return work


class OwnProcess:
    """The work of `reference` on the CPU, in a process that does nothing else and waits between.

    Args:
        model: A name in ``twostream.models.MODELS``.
        stage: What is done.
        shape: Of the clips, (N, C, T, H, W).
    """

    def __init__(self, model: str, stage: Stage, shape: tuple[int, ...]) -> None:
        words = [__file__, model, stage, *shape, torch.get_num_threads()]
        environment = {**os.environ}
        environment.pop("GOMP_SPINCOUNT", None)  # twostream's
        self.process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=Path(__file__).parent,
        )

    def __call__(self) -> None:
        """One pass or step.

        Raises:
            RuntimeError: The process has died, and has said why.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("go\n")
        stdin.flush()
        if stdout.readline() != "done\n":
            raise RuntimeError(f"The plain network's process ended with {self.process.wait()}.")

    def __enter__(self) -> "OwnProcess":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


if __name__ == "__main__":
    main()
