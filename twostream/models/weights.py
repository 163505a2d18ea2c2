"""Weights from files into a P3D: our checkpoints, the published P3D, inflated 2D ResNets."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from flow.errors import InputError
from twostream.models.p3d import P3D, start_temporal

Source = Literal["checkpoint", "published", "resnet"]
State = dict[str, Tensor]

TITLES: dict[Source, str] = {
    "checkpoint": "P3D checkpoint",
    "published": "published P3D",
    "resnet": "2D ResNet, inflated",
}
# A name that tells the source, in the order in which they are looked for.
SIGNS: dict[str, Source] = {
    "conv1.conv.weight": "checkpoint",
    "conv1_custom.weight": "published",
    "layer1.0.conv1.weight": "resnet",
}
# The others' names of what stands outside the blocks, and in a block, and ours.
OUTSIDE = {"conv1_custom": "conv1.conv", "conv1": "conv1.conv", "bn1": "conv1.bn", "fc": "fc"}
RESNET_BLOCK = {
    "conv1": "reduce.conv",
    "bn1": "reduce.bn",
    "conv2": "spatial.conv",
    "bn2": "spatial.bn",
    "conv3": "restore.conv",
    "bn3": "restore.bn",
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.bn",
}
PUBLISHED_BLOCK = RESNET_BLOCK | {
    "conv_normal": "spatial.conv",
    "bn_normal": "spatial.bn",
    "conv3": "temporal.conv",
    "bn3": "temporal.bn",
    "conv4": "restore.conv",
    "bn4": "restore.bn",
}
OURS = re.compile(r"(conv1|res\d\.\d+|fc)\..+|_extra_state")
HEAD = ("fc.weight", "fc.bias")


@dataclass(frozen=True)
class LoadReport:
    """What a file gave to a model.

    Attributes:
        path: The file.
        source: What it was recognised as.
        used: How many of its entries went into the model.
        unused: Its other entries, by their names in the file.
        missing: Parameters and statistics of the model that it did not give.
        notes: What was adapted, in words.
    """

    path: Path
    source: Source
    used: int
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def head_replaced(self) -> bool:
        """Whether the last layer is the model's own instead of the file's."""
        return not set(HEAD).isdisjoint(self.missing)

    @property
    def inflated(self) -> bool:
        """Whether the file is of a 2D network."""
        return self.source == "resnet"

    def __str__(self) -> str:
        lines = [f"{self.path}: {TITLES[self.source]}, {self.used} entries used", *self.notes]
        if self.unused:
            lines.append(f"not used: {_shortened(self.unused)}")
        if self.missing:
            lines.append(f"not in the file: {_shortened(self.missing)}")
        return "\n  ".join(lines)


def load_weights(model: P3D, path: Path | str) -> LoadReport:
    """Load a file's weights into ``model``: all that belong there, or none.

    The file is recognised by the names in it, and no code in it is run:

    - Our checkpoints: ``torch.save`` of ``{"model": model.state_dict(), ...}``, or safetensors.
    - The published P3D-63 and P3D-199 (github.com/qijiezhao/pseudo-3d-pytorch), converted from the
      author's Caffe weights; here they run in the arithmetic that they were trained in. Their
      input is BGR, 0 to 255, minus (104, 117, 123), or flow, 0 to 255, minus 128.
    - 2D ResNets under torchvision's names, inflated: k x k becomes 1 x k x k, and the temporal
      kernels start so that a still clip gives what the 2D network gives for its frame. P3D has the
      stride of a stage on its first 1 x 1 convolution, as the first ResNets in Caffe; the weights
      that torchvision distributes were trained with it on the 3 x 3 one.

    The stem of an RGB file goes into a model of other input channels as the average over its
    channels, copied to each (Wang et al., ECCV 2016, section 3.2, cross-modality start). Where the
    number of classes differs, the model keeps its own last layer.

    Returns:
        What was used, what was adapted, and what is missing.

    Raises:
        InputError: No file, no weights in it, or those of another network; the model is unchanged.
    """
    path = Path(path)
    entries = _read(path)
    source = _recognise(entries, path)
    names = _our_names(entries, source)
    given = {ours: _as_ours(entries[theirs]) for ours, theirs in names.items()}
    own: State = model.state_dict()
    notes = ["a still clip gives what the 2D network gives"] if source == "resnet" else []
    notes += _keep_own_head(given, own) + _average_stem(given, model.in_channels)
    missing = tuple(name for name in own if name not in given and not _is_bookkeeping(name))
    if reason := _misfit(given, own, missing, source):
        raise InputError(
            f"{path} does not fit the model: {reason}; "
            "build the model that it belongs to, or give other weights."
        )
    model.load_state_dict(own | given)
    if source == "resnet":
        start_temporal(model, "identity")
    used = {names[ours] for ours in given}
    unused = tuple(name for name in entries if name not in used)
    return LoadReport(path, source, len(used), unused, missing, tuple(notes))


def _read(path: Path) -> dict[str, Any]:
    """The entries of the state in a file, without the prefix that DataParallel adds."""
    if not path.is_file():
        raise InputError(f"{path} is no file; give a file of weights.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # whatever is wrong in a file, in as many types
        raise InputError(
            f"{path} cannot be read as weights ({type(problem).__name__}); give a whole "
            ".safetensors file, or one by torch.save with nothing but tensors and plain values."
        ) from problem
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no tensors under names; give a file of weights.")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _recognise(entries: dict[str, Any], path: Path) -> Source:
    for sign, source in SIGNS.items():
        if isinstance(entries.get(sign), Tensor):
            return source
    raise InputError(
        f"{path} names its tensors neither as a P3D nor as a 2D ResNet; "
        "give weights of one of these."
    )


def _our_names(entries: dict[str, Any], source: Source) -> dict[str, str]:
    """Our names of what the file holds for a P3D, each with the file's."""
    names = {}
    for name, value in entries.items():
        ours = _our_name(name, source)
        if ours is not None and isinstance(value, Tensor) and value.layout == torch.strided:
            names[ours] = name
    return names


def _our_name(name: str, source: Source) -> str | None:
    if source == "checkpoint":
        return name if OURS.fullmatch(name) else None
    layer, _, value = name.rpartition(".")
    if layer in OUTSIDE:
        return f"{OUTSIDE[layer]}.{value}"
    block = PUBLISHED_BLOCK if source == "published" else RESNET_BLOCK
    match = re.fullmatch(r"layer([1-4])\.(\d+)\.(.+)", layer)
    if match is None or match[3] not in block:
        return None
    return f"res{int(match[1]) + 1}.{match[2]}.{block[match[3]]}.{value}"


def _as_ours(tensor: Tensor) -> Tensor:
    """In single precision; a 2D kernel with a time axis of 1."""
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.unsqueeze(2) if tensor.ndim == 4 else tensor


def _keep_own_head(given: State, own: State) -> list[str]:
    """Drop the file's last layer where it does not fit, and say so."""
    if all(name in given and given[name].shape == own[name].shape for name in HEAD):
        return []
    bias = given.get("fc.bias")
    there = "none" if bias is None else f"one of {bias.numel()} classes"
    for name in HEAD:
        given.pop(name, None)
    classes = own["fc.bias"].numel()
    return [f"the model keeps its own last layer of {classes} classes; the file has {there}"]


def _average_stem(given: State, in_channels: int) -> list[str]:
    """Turn an RGB stem into one of ``in_channels``, and say so."""
    stem = given.get("conv1.conv.weight")
    if stem is None or stem.ndim != 5 or stem.shape[1] != 3 or in_channels == 3:
        return []
    average = stem.mean(dim=1, keepdim=True)
    given["conv1.conv.weight"] = average.expand(-1, in_channels, -1, -1, -1)
    return [f"the stem is the average over 3 input channels, copied to {in_channels}"]


def _misfit(given: State, own: State, missing: Iterable[str], source: Source) -> str | None:
    """Why the weights are not the model's; None where they are."""
    if (theirs := _depths(given)) != (ours := _depths(own)):
        return f"it has {theirs} blocks in res2 to res5, the model has {ours}"
    for name, tensor in given.items():
        if name not in own:
            return f"it has {name}, which the model lacks"
        if tensor.shape != own[name].shape:
            return f"its {name} is {tuple(tensor.shape)}, the model's {tuple(own[name].shape)}"
        if tensor.is_floating_point() != own[name].is_floating_point():
            return f"its {name} is {tensor.dtype}"
        if not tensor.isfinite().all():
            return f"its {name} has NaN or infinity in it"
    for name in missing:
        if name not in HEAD and not (source == "resnet" and ".temporal." in name):
            return f"it lacks {name}"
    if (theirs := _kinds(given, own, source)) != (ours := _kinds(own, own, "checkpoint")):
        return f"its blocks are {theirs}, the model's {ours}"
    return None


def _depths(state: State) -> str:
    """How many blocks the stages have: ``"3, 4, 6, 3"``."""
    blocks = {match[0] for name in state if (match := re.match(r"res\d\.\d+\.", name))}
    return ", ".join(
        str(sum(b.startswith(f"res{stage}.") for b in blocks)) for stage in range(2, 6)
    )


def _kinds(given: State, own: State, source: Source) -> str:
    """The kinds of the pseudo-3D blocks that the weights belong to; a 2D network suits any."""
    if source == "published":
        return "".join(islice(cycle("ABC"), own["_extra_state"].numel()))
    state = given.get("_extra_state", own["_extra_state"])
    return bytes(state.to(torch.uint8).tolist()).decode("latin-1")


def _is_bookkeeping(name: str) -> bool:
    return name == "_extra_state" or name.endswith(".num_batches_tracked")


def _shortened(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
