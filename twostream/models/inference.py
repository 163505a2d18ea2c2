"""Networks prepared for inference: the same answers, several times as fast.

BatchNorms go into the convolutions, and C's sum into its temporal kernel, so that a network is
convolutions, with the ReLU and the sum that follow each, and poolings. On a CPU each is one call of
oneDNN with a kernel laid out for it, as torch.compile makes them too, but at once.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flow.errors import InputError
from twostream.memory import keep_freed
from twostream.models.layers import Act, Block, ConvBN, FlatConv, after, around, conv2d, relu, still
from twostream.models.network import P3D

Precision = Literal["auto", "fp32", "bf16"]
# PyTorch's own questions to the processor, which not every version has.
BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16")
# On a CPU: one clip's activations of the early stages stay in its cache, and the large kernels of
# the late ones are then fetched once for several clips.
EARLY_CLIPS, LATE_CLIPS = 1, 8


class InferenceModel(nn.Module):
    """A network of which nothing but its answers is wanted; made by `for_inference`.

    Attributes:
        network: The prepared network.
        input: What it takes, as ``P3D.input``.
        dtype: Of what passes through it.
        early_clips: How many pass its early stages together; None: all.
        late_clips: How many pass its late stages together; None: all.
    """

    def __init__(
        self, network: P3D, dtype: torch.dtype, early_clips: int | None, late_clips: int | None
    ) -> None:
        super().__init__()
        self.network = network
        self.input = network.input
        self.dtype = dtype
        self.early_clips = early_clips
        self.late_clips = late_clips
        self._early: Callable[[Tensor], Tensor] = network.early
        self._late: Callable[[Tensor], Tensor] = network.late

    @torch.inference_mode()
    def forward(self, clip: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) -> logits float32 (N, classes)."""
        logits: Tensor = self.network.fc(self.features(clip))
        return logits

    @torch.inference_mode()
    def features(self, clip: Tensor) -> Tensor:
        """pool5: clips (N, C, T, H, W) -> float32 (N, features)."""
        groups = torch.split(clip.to(self.dtype), self.late_clips or max(len(clip), 1))
        return torch.cat([self._late(self._through_early(group)) for group in groups]).float()

    def _through_early(self, clip: Tensor) -> Tensor:
        parts = torch.split(clip, self.early_clips or max(len(clip), 1))
        return torch.cat([self._early(part) for part in parts])


def for_inference(
    model: P3D,
    device: torch.device | str = "cpu",
    *,
    precision: Precision = "auto",
    compile: bool = False,
) -> InferenceModel:
    """A copy of ``model`` that answers as fast as it can.

    In float32 it differs from the model in the last bits alone; in bfloat16 logits differ by about
    half a percent of the largest.

    Args:
        model: Stays as it is.
        device: Where the copy computes.
        precision: "fp32", "bf16", or "auto": bfloat16 where the device has instructions for it.
        compile: Also pass it through torch.compile, which takes a minute or more at the first clip
            of each shape.

    Raises:
        InputError: A precision that is unknown.
    """
    if precision not in PRECISIONS:
        raise InputError(f"Precision {precision!r} is unknown; give one of {PRECISIONS}.")
    device = torch.device(device)
    half = precision == "bf16" or (precision == "auto" and has_bfloat16(device))
    dtype = torch.bfloat16 if half else torch.float32
    network = folded(model).to(device)
    _cast(network, dtype)
    on_cpu = device.type == "cpu"
    if on_cpu:
        keep_freed()
    native = not half or has_bfloat16(device)
    if on_cpu and native and not compile and torch._C._has_mkldnn:
        for conv in _convolutions(network):
            conv.conv2d = OneDNN()
    if not on_cpu:
        made = InferenceModel(network, dtype, early_clips=None, late_clips=None)
    else:
        # Each number of clips would be compiled anew.
        late_clips = EARLY_CLIPS if compile else LATE_CLIPS
        made = InferenceModel(network, dtype, EARLY_CLIPS, late_clips)
    if compile:
        options: Any = {"freezing": True} if on_cpu else None
        made._early = torch.compile(network.early, options=options, dynamic=False)
        made._late = torch.compile(network.late, options=options, dynamic=False)
    return made


def folded(model: P3D) -> P3D:
    """A copy for evaluation whose convolutions have taken in the BatchNorms that follow them."""
    network = copy.deepcopy(model).eval().requires_grad_(False)
    for block in [module for module in network.modules() if isinstance(module, Block)]:
        if block.kind.join is around:
            for temporal in block.temporals():
                _replace(network, temporal, temporal.folded_around())
            block.kind = replace(block.kind, join=after)  # T has s itself in its kernel now
    for unit in [module for module in network.modules() if isinstance(module, ConvBN)]:
        _replace(network, unit, unit.folded())
    return network


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 by instructions of its own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(getattr(torch.cpu, name, bool)() for name in BF16_CHECKS)
    return False


class OneDNN:
    """``twostream.models.layers.conv2d`` as one call of oneDNN, its kernel laid out once.

    What it is to add to is overwritten with the sum.
    """

    def __init__(self) -> None:
        self.shape: torch.Size | None = None
        self.kernel: Tensor | None = None

    def __call__(
        self,
        x: Tensor,
        kernel: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        groups: int,
        act: Act,
        plus: Tensor | None,
    ) -> Tensor:
        if act not in (relu, still):
            return conv2d(x, kernel, bias, stride, padding, groups, act, plus)
        sizes: Any = (padding, stride, (1, 1), groups)
        if x.shape[1:] != self.shape:
            # Which layout is best depends on the input's shape as well, not on how many come.
            lay_out: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self.kernel = lay_out(kernel.to_mkldnn(), *sizes, x.shape)
            self.shape = x.shape[1:]
        y: Tensor
        ops: Any = torch.ops.mkldnn
        if plus is None:
            name = "relu" if act is relu else "none"
            y = ops._convolution_pointwise.default(x, self.kernel, bias, *sizes, name, [], "")
        else:
            # Into the memory of ``plus``, which no layer takes a second time.
            add: Any = ("add", 1.0, "relu" if act is relu else None, [], "")
            y = ops._convolution_pointwise_.binary(plus, x, self.kernel, bias, *sizes, *add)
        return y


def _replace(network: P3D, unit: ConvBN, weights: tuple[Tensor, Tensor]) -> None:
    """Put the unit's convolution, with other weights, in the unit's place."""
    kernel, bias = weights
    unit.conv.weight = nn.Parameter(kernel, requires_grad=False)
    unit.conv.bias = nn.Parameter(bias, requires_grad=False)
    name = next(name for name, module in network.named_modules() if module is unit)
    network.set_submodule(name, unit.conv)


def _cast(network: P3D, dtype: torch.dtype) -> None:
    """To ``dtype`` but for the last layer, kernels in the layout of the clips."""
    network.to(dtype)
    network.fc.float()
    for conv in _convolutions(network):
        conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last_3d)


def _convolutions(network: P3D) -> list[FlatConv]:
    return [module for module in network.modules() if isinstance(module, FlatConv)]
