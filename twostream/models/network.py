"""What every pseudo-3D network can do, whatever it is built of.

Convention: a clip is float (N, C, T, H, W) with C = 3 (RGB) or 2 (flow, x then y).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from flow.errors import InputError
from twostream.models.input import P3D_FLOW, P3D_RGB, InputConvention
from twostream.models.layers import (
    FLAT,
    KINDS,
    BatchNorm,
    Block,
    ConvBN,
    Kind,
    SpatialConv,
    caffe_pool1,
    relu,
    space_and_time_mean,
    torchvision_pool1,
)
from twostream.models.recompute import recomputed

TemporalStart = Literal["identity", "gaussian"]
Stem = Literal["caffe", "torchvision"]
POOLS = {"caffe": caffe_pool1, "torchvision": torchvision_pool1}
# What a network takes that was made from nothing, and what older checkpoints were trained with.
INPUTS = {3: P3D_RGB, 2: P3D_FLOW}


@dataclass(frozen=True)
class Form:
    """What a network computes beside its tensors: they would fit another one as well.

    Attributes:
        kinds: The kinds of its pseudo-3D blocks, in order: ``"ABCABCABCABCA"``.
        stem: Where the windows of pool1 lie: from the first pixel on, sizes rounded up ("caffe"),
            or padded by 1, sizes rounded down ("torchvision").
        stride_in_1x1: Whether the stride of a stage stands in its first 1 x 1 convolution, as in
            the first ResNets, or in the 3 x 3 one, as in torchvision's; None where a network has
            no such choice.
        input: What it takes.

    Raises:
        InputError: A stem that is unknown.
    """

    kinds: str
    stem: Stem
    stride_in_1x1: bool | None
    input: InputConvention

    def __post_init__(self) -> None:
        _check_stem(self.stem)
        if self.stride_in_1x1 not in (True, False, None):
            raise InputError(f"stride_in_1x1 is {self.stride_in_1x1!r}; give True or False.")

    def to_tensor(self) -> Tensor:
        """As JSON in a uint8 tensor (bytes,), which every format of weights can hold."""
        text = json.dumps(asdict(self))
        return torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")

    @classmethod
    def from_tensor(cls, state: Tensor, in_channels: int) -> "Form":
        """What ``to_tensor`` gave; of checkpoints that hold the kinds alone, P3D's own form.

        Raises:
            InputError: Anything else.
        """
        try:
            text = bytes(state.to(torch.uint8).tolist()).decode("ascii")
            if not text.startswith("{"):
                return cls(text, "caffe", True, INPUTS[in_channels])
            values = json.loads(text)
            return cls(**{**values, "input": InputConvention.from_dict(values["input"])})
        except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as problem:
            raise InputError(
                f"The weights do not tell their form ({type(problem).__name__}); "
                "give weights that were saved whole."
            ) from problem


class P3D(nn.Module, ABC):
    """A pseudo-3D network: (N, in_channels, T, H, W) -> logits (N, num_classes).

    A subclass sets ``conv1``, ``dropout`` and ``fc``, and gives ``front`` and ``back``.

    Args:
        in_channels: 3 for RGB, 2 for flow.
        stem: See `Form`.

    Attributes:
        in_channels: 3 or 2.
        input: What it takes; the weights that are loaded bring theirs.
        stem: See `Form`.
        stride_in_1x1: See `Form`.
        smallest: Height and width in pixels that frames need.
        checkpoint_activations: Keep of each block only its input for the gradients, and compute
            the rest again: a third more work, a fraction of the memory.
    """

    conv1: ConvBN
    dropout: nn.Dropout
    fc: nn.Linear
    smallest = 3
    checkpoint_activations = False

    def __init__(self, in_channels: int, stem: Stem) -> None:
        super().__init__()
        if in_channels not in INPUTS:
            raise InputError(f"There are {in_channels} input channels; give 3 (RGB) or 2 (flow).")
        _check_stem(stem)
        self.in_channels = in_channels
        self.input = INPUTS[in_channels]
        self.stem = stem
        self.stride_in_1x1: bool | None = None

    def forward(self, clip: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.features(clip)))
        return logits

    def features(self, clip: Tensor) -> Tensor:
        """pool5: a clip (N, in_channels, T, H, W) -> (N, features)."""
        return self.late(self.early(clip))

    def early(self, clip: Tensor) -> Tensor:
        """A clip (N, in_channels, T, H, W) -> what goes into ``back``, (N, C, T / 8, h, w)."""
        self._check(clip)
        # In this layout the convolutions' foldings into 2D are views, not copies.
        x = clip.contiguous(memory_format=torch.channels_last_3d)
        return self.front(POOLS[self.stem](self.conv1(x, relu)))

    def late(self, x: Tensor) -> Tensor:
        """What ``early`` gives -> pool5, (N, features)."""
        return space_and_time_mean(self.back(x))

    @abstractmethod
    def front(self, x: Tensor) -> Tensor:
        """From pool1 through two stages, in which activations are large and kernels small."""

    @abstractmethod
    def back(self, x: Tensor) -> Tensor:
        """The other two stages, in which kernels are large, to what is averaged."""

    def through(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        """The blocks of a stage, one after the other."""
        if not (self.checkpoint_activations and torch.is_grad_enabled()):
            y: Tensor = stage(x)
            return y
        for block in stage:
            x = recomputed(block, x)
        return x

    def freeze_batchnorm(self, except_first: bool = True) -> None:
        """Fix the statistics, scale and shift of every BatchNorm, for good.

        Args:
            except_first: Leave out that of conv1, as in the partial BN of Wang et al. (ECCV 2016,
                section 3.2), which P3D's author follows.
        """
        for module in self.modules():
            if isinstance(module, BatchNorm) and not (except_first and module is self.conv1.bn):
                module.freeze()

    def pseudo3d_blocks(self) -> list[Block]:
        """The blocks with temporal convolutions, in order."""
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        return [block for block in blocks if block.kind != FLAT]

    def kinds(self) -> str:
        """The kinds of the pseudo-3D blocks, in order: ``"ABCABCABCABCA"``."""
        return "".join(block.kind.letter for block in self.pseudo3d_blocks())

    def form(self) -> Form:
        """What the tensors of the state do not tell."""
        return Form(self.kinds(), self.stem, self.stride_in_1x1, self.input)

    def misfit(self, form: Form) -> str | None:
        """Why the model cannot compute as ``form`` says; None where it can."""
        if form.kinds != self.kinds():
            return f"its blocks are {form.kinds}, the model's {self.kinds()}"
        if len(form.input.mean) != self.in_channels:
            return f"it takes {form.input.channels}, the model {self.in_channels} input channels"
        if (form.stride_in_1x1 is None) != (self.stride_in_1x1 is None):
            return "its stages and the model's do not begin with the same convolution"
        return None

    def take_form(self, form: Form) -> None:
        """Compute as ``form`` says.

        Raises:
            InputError: It is that of a network of other blocks or input channels; nothing changes.
        """
        if reason := self.misfit(form):
            raise InputError(
                f"The state does not fit the model: {reason}; build the model that it belongs to."
            )
        if form.stride_in_1x1 is not None:
            self.place_stride(form.stride_in_1x1)
        self.stem = form.stem
        self.input = form.input

    def place_stride(self, in_1x1: bool) -> None:
        """Put the stride of the stages into their first 1 x 1 convolution, or the 3 x 3 one.

        Raises:
            InputError: The network has no such choice.
        """
        raise InputError("The model's stages do not begin with a 1 x 1; leave their stride alone.")

    def get_extra_state(self) -> Tensor:
        return self.form().to_tensor()

    def set_extra_state(self, state: Any) -> None:
        self.take_form(Form.from_tensor(state, self.in_channels))

    def _check(self, clip: Tensor) -> None:
        fits = clip.ndim == 5 and clip.shape[1] == self.in_channels
        if not fits or clip.shape[2] < 1 or min(clip.shape[3:]) < self.smallest:
            raise InputError(
                f"The clip has shape {tuple(clip.shape)}; give (N, {self.in_channels}, T, H, W) "
                f"with 1 frame or more of {self.smallest} x {self.smallest} pixels or more."
            )


def _check_stem(stem: str) -> None:
    if stem not in POOLS:
        raise InputError(f"Stem {stem!r} is unknown; give one of {', '.join(POOLS)}.")


def stem_conv(in_channels: int, width: int) -> ConvBN:
    """conv1: 1 x 7 x 7, stride 2 in space."""
    return ConvBN(SpatialConv(in_channels, width, 7, stride=2))


def last_layer(features: int, num_classes: int) -> nn.Linear:
    """fc: weights from a Gaussian of deviation 0.01, no bias at first."""
    fc = nn.Linear(features, num_classes)
    nn.init.normal_(fc.weight, std=0.01)
    nn.init.zeros_(fc.bias)
    return fc


def kinds_of(blocks: Sequence[str]) -> list[Kind]:
    """The kinds of a cycle of letters."""
    if not blocks or set(blocks) - set(KINDS):
        raise InputError(f"Blocks {blocks!r} are unknown; give a cycle of A, B and C.")
    return [KINDS[letter] for letter in blocks]


def start_temporal(model: P3D, start: TemporalStart = "identity") -> None:
    """Start the temporal convolutions anew, each with a neutral BatchNorm.

    Args:
        model: Changed in place; whatever its temporal convolutions have learned is lost.
        start: ``"identity"``: the network equals its 2D net as long as nothing moves (identity in
            A and C, zero in B; for C unlike the author's later code, which has no factor 0.5).
            ``"gaussian"``: deviation 0.001, as the author trains.
    """
    if start not in get_args(TemporalStart):
        raise InputError(f"Temporal start {start!r} is unknown; give identity or gaussian.")
    for block in model.pseudo3d_blocks():
        for temporal in block.temporals():
            temporal.bn.start_neutral()
            if start == "identity":
                block.kind.start_inert(temporal.conv.weight)
            else:
                temporal.conv.reset_parameters()
