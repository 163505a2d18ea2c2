"""States of small networks under the names that published files have, of random values."""

import torch
from torch import Tensor

State = dict[str, Tensor]


class RandomState:
    """Makes states of random values under the names of others."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def kernel(self, name: str, *shape: int) -> None:
        fan_in = torch.Size(shape[1:]).numel()
        noise = torch.randn(*shape, generator=self.generator)
        self.state[f"{name}.weight"] = noise * (2 / fan_in) ** 0.5

    def norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = self.uniform(0.5, 1.5, channels)
        self.state[f"{name}.bias"] = self.uniform(-0.5, 0.5, channels)
        self.state[f"{name}.running_mean"] = self.uniform(-0.5, 0.5, channels)
        self.state[f"{name}.running_var"] = self.uniform(0.5, 2, channels)

    def head(self, features: int, classes: int) -> None:
        self.state["fc.weight"] = self.uniform(-1, 1, classes, features)
        self.state["fc.bias"] = self.uniform(-1, 1, classes)


def resnet_state(
    depths: tuple[int, ...] = (1, 1, 1, 1), width: int = 16, classes: int = 5, seed: int = 0
) -> State:
    """A bottleneck ResNet under torchvision's names."""
    make = RandomState(seed)
    make.kernel("conv1", width, 3, 7, 7)
    make.norm("bn1", width)
    channels = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            shapes = (inner, channels, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)
            for number, shape in enumerate(shapes, start=1):
                make.kernel(f"{name}.conv{number}", *shape)
                make.norm(f"{name}.bn{number}", shape[0])
            if block == 0:
                make.kernel(f"{name}.downsample.0", 4 * inner, channels, 1, 1)
                make.norm(f"{name}.downsample.1", 4 * inner)
            channels = 4 * inner
    make.head(channels, classes)
    return make.state


def published_state(
    depths: tuple[int, ...] = (1, 1, 1, 1), width: int = 16, in_channels: int = 3, classes: int = 5
) -> State:
    """A P3D under the names of the published checkpoints, as of 2017: without batch counts."""
    make = RandomState()
    make.kernel("conv1_custom", width, in_channels, 1, 7, 7)
    make.norm("bn1", width)
    channels = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        one = (1, 1, 1) if stage < 3 else (1, 1)  # the last stage has 2D kernels
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            kernels: dict[str, tuple[int, ...]] = {"conv1": (inner, channels, *one)}
            if stage < 3:
                kernels |= {"conv2": (inner, inner, 1, 3, 3), "conv3": (inner, inner, 3, 1, 1)}
            else:
                kernels |= {"conv_normal": (inner, inner, 3, 3)}
            kernels |= {"conv4": (4 * inner, inner, *one)}
            for conv, shape in kernels.items():
                make.kernel(f"{name}.{conv}", *shape)
                make.norm(f"{name}.{conv.replace('conv', 'bn')}", shape[0])
            if block == 0:
                make.kernel(f"{name}.downsample.0", 4 * inner, channels, *one)
                make.norm(f"{name}.downsample.1", 4 * inner)
            channels = 4 * inner
    make.head(channels, classes)
    return make.state


def states_equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
