"""Weights from files into a pseudo-3D network: our checkpoints, published P3D, inflated 2D nets."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from flow.errors import InputError
from twostream.models.caffemodel import read_caffemodel
from twostream.models.input import P3D_PUBLISHED_FLOW, P3D_RGB, InputConvention
from twostream.models.network import P3D, Form, start_temporal
from twostream.models.published import (
    CADENE,
    CAFFE,
    LINEAGES,
    TORCHVISION,
    Lineage,
    LineageName,
    published_2d,
    published_p3d,
)
from twostream.models.weight_names import SIGNS, Source, our_names

State = dict[str, Tensor]

TITLES: dict[Source, str] = {
    "checkpoint": "P3D checkpoint",
    "published": "published P3D",
    "caffe": "published P3D, by Caffe",
    "resnet": "2D ResNet, inflated",
    "densenet": "2D DenseNet, inflated",
}
FLAT_SOURCES: tuple[Source, ...] = ("resnet", "densenet")
HEAD = ("fc.weight", "fc.bias")
FORM = "_extra_state"


@dataclass(frozen=True)
class LoadReport:
    """What a file gave to a model.

    Attributes:
        path: The file.
        source: What it was recognised as.
        used: How many of its entries went into the model.
        unused: Its other entries, by their names in the file.
        missing: Parameters and statistics of the model that it did not give.
        notes: What was adapted or assumed, in words.
        input: What the model takes from now on, as ``model.input``.
    """

    path: Path
    source: Source
    used: int
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    input: InputConvention

    @property
    def head_replaced(self) -> bool:
        """Whether the last layer is the model's own instead of the file's."""
        return not set(HEAD).isdisjoint(self.missing)

    @property
    def inflated(self) -> bool:
        """Whether the file is of a 2D network."""
        return self.source in FLAT_SOURCES

    def __str__(self) -> str:
        lines = [f"{self.path}: {TITLES[self.source]}, {self.used} entries used", *self.notes]
        lines.append(f"input: {self.input}")
        if self.unused:
            lines.append(f"not used: {_shortened(self.unused)}")
        if self.missing:
            lines.append(f"not in the file: {_shortened(self.missing)}")
        return "\n  ".join(lines)


@dataclass(frozen=True)
class _File:
    """What a file holds.

    Attributes:
        path: Where it is.
        entries: Tensors, and whatever else, by their names in it.
        metadata: Texts by name; none in most formats.
        source: What the names tell it to be.
    """

    path: Path
    entries: dict[str, Any]
    metadata: dict[str, str]
    source: Source


def load_weights(model: P3D, path: Path | str, *, lineage: LineageName | None = None) -> LoadReport:
    """Load a file's weights into ``model``: all that belong there, or none.

    The file is recognised by the names in it, and no code in it is run:

    - Our checkpoints: ``torch.save`` of ``{"model": model.state_dict(), ...}``, or safetensors.
    - The published P3D-63 and P3D-199: the author's .caffemodel files (Sports-1M, Kinetics,
      Kinetics flow), and those that github.com/qijiezhao/pseudo-3d-pytorch converted from them.
      They run in the arithmetic that they were trained in.
    - 2D networks under the names of torchvision and timm, inflated: ResNets, ResNeXts, SE-ResNets
      (timm's, and the first ones with ``se_module``) and DenseNets. k x k becomes 1 x k x k, and
      the temporal kernels start so that a still clip gives what the 2D network gives for its frame.

    Where the stride of a stage stands, how pool1 is padded, and what the network takes as input is
    that of the weights, and set on the model. For a 2D network it is told, in this order, by
    ``lineage``; by metadata of a safetensors file (``stride``: "conv1..." or "conv2...",
    ``input``: "BGR 0-255 minus [...]"); by the SHA-256 of a published file; by names that one
    lineage alone uses. Else it is taken to be torchvision's, and the report says so.

    The stem of an RGB file goes into a flow model as the average over its channels, copied to each
    (Wang et al., ECCV 2016, section 3.2, cross-modality start). Where the number of classes
    differs, the model keeps its own last layer.

    Args:
        model: Changed in place.
        path: The file; the suffixes .safetensors and .caffemodel tell these formats.
        lineage: Of 2D weights: "torchvision" (timm's, too), "caffe" (the first ResNets), "cadene"
            (the first SE-ResNets in PyTorch).

    Returns:
        What was used, what was adapted, what is missing, and what the model takes.

    Raises:
        InputError: No file, no weights in it, or those of another network; the model is unchanged.
    """
    file = _read(Path(path))
    names = our_names(_tensors(file.entries), file.source)
    given = {ours: _as_ours(ours, file.entries[name], file.source) for ours, name in names.items()}
    own: State = model.state_dict()
    notes: list[str] = []
    form = _form(file, given, model, lineage, notes)
    notes += _keep_own_head(given, own) + _average_stem(given, model.in_channels)
    missing = tuple(name for name in own if name not in given and not _is_bookkeeping(name))
    if reason := _misfit(given, own, missing, file.source) or model.misfit(form):
        raise InputError(
            f"{file.path} does not fit the model: {reason}; "
            "build the model that it belongs to, or give other weights."
        )
    model.load_state_dict(own | given | {FORM: form.to_tensor()})
    if file.source in FLAT_SOURCES:
        start_temporal(model, "identity")
    used = {names[ours] for ours in (*given, FORM) if ours in names}
    unused = tuple(name for name in file.entries if name not in used)
    return LoadReport(file.path, file.source, len(used), unused, missing, tuple(notes), form.input)


def _read(path: Path) -> _File:
    """The state in a file, without the prefix that DataParallel adds."""
    if not path.is_file():
        raise InputError(f"{path} is no file; give a file of weights.")
    if path.suffix == ".caffemodel":
        layers = read_caffemodel(path)
        blobs = {f"{name}.{i}": blob for name in layers for i, blob in enumerate(layers[name])}
        return _File(path, blobs, {}, _recognise(blobs, path))
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
            with safe_open(path, "pt") as opened:
                metadata = opened.metadata() or {}
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # whatever is wrong in a file, in as many types
        raise InputError(
            f"{path} cannot be read as weights ({type(problem).__name__}); give a whole "
            ".safetensors or .caffemodel file, or one by torch.save with nothing but tensors and "
            "plain values."
        ) from problem
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no tensors under names; give a file of weights.")
    entries = {str(name).removeprefix("module."): value for name, value in content.items()}
    return _File(path, entries, metadata, _recognise(entries, path))


def _recognise(entries: dict[str, Any], path: Path) -> Source:
    found = (source for sign, source in SIGNS.items() if isinstance(entries.get(sign), Tensor))
    source = next(found, None)
    if source is None:
        raise InputError(
            f"{path} names its tensors neither as a P3D nor as a 2D ResNet or DenseNet; "
            "give weights of one of these."
        )
    if source == "caffe" and "res2a_branch2b_t.0" not in entries:
        raise InputError(
            f"{path} holds a 2D network of Caffe's; give it under torchvision's names, and say "
            "lineage='caffe'."
        )
    return source


def _tensors(entries: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in entries.items()
        if isinstance(value, Tensor) and value.layout == torch.strided
    ]


def _as_ours(name: str, tensor: Tensor, source: Source) -> Tensor:
    """In single precision and our shape: a 2D kernel has a time axis of 1."""
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float()
    if source == "caffe" and (".bn." in name or name in HEAD):
        return _without_ones(tensor, axes=2 if name == "fc.weight" else 1)
    return tensor.unsqueeze(2) if tensor.ndim == 4 else tensor


def _without_ones(tensor: Tensor, axes: int) -> Tensor:
    """Without the axes of 1 that Caffe puts around the others, down to ``axes``."""
    while tensor.ndim > axes and 1 in (tensor.shape[0], tensor.shape[-1]):
        tensor = tensor.squeeze(0 if tensor.shape[0] == 1 else -1)
    return tensor


def _form(
    file: _File, given: State, model: P3D, lineage: LineageName | None, notes: list[str]
) -> Form:
    """What the weights compute and take, in a model of these input channels."""
    if lineage is not None and file.source not in FLAT_SOURCES:
        raise InputError(f"{file.path} is no 2D network, and tells its lineage; give none.")
    if file.source in FLAT_SOURCES:
        form = _form_2d(file, model, _lineage(file, lineage, notes))
    elif file.source == "checkpoint":
        form = _form_of_checkpoint(file.path, given, model)
    else:
        form = _form_of_p3d(given, model)
    return replace(form, input=form.input.for_flow()) if model.in_channels == 2 else form


def _form_2d(file: _File, model: P3D, lineage: Lineage) -> Form:
    choice = None if model.stride_in_1x1 is None else lineage.stride_in_1x1
    taken = _input_in(file.metadata) or lineage.input
    return Form(model.kinds(), lineage.stem, choice, taken)


def _form_of_checkpoint(path: Path, given: State, model: P3D) -> Form:
    state = given.pop(FORM, None)
    stem = given.get("conv1.conv.weight")
    if state is None or stem is None or stem.ndim != 5 or stem.shape[1] not in (2, 3):
        return model.form()
    try:
        return Form.from_tensor(state, stem.shape[1])
    except InputError as problem:
        raise InputError(f"{path} cannot be used: {problem}") from problem


def _form_of_p3d(given: State, model: P3D) -> Form:
    """Of a published P3D, or one that somebody has trained on."""
    stem, bias = given.get("conv1.conv.weight"), given.get("fc.bias")
    channels = 3 if stem is None or stem.ndim != 5 else stem.shape[1]
    record = published_p3d(channels, None if bias is None else bias.numel())
    taken = P3D_PUBLISHED_FLOW if channels == 2 else P3D_RGB
    kinds = "".join(islice(cycle("ABC"), len(model.kinds())))
    return Form(kinds, "caffe", True, taken if record is None else record.input)


def _lineage(file: _File, name: LineageName | None, notes: list[str]) -> Lineage:
    """Of a 2D network, and in the notes how it is known."""
    if name is not None:
        if name not in LINEAGES:
            known = ", ".join(LINEAGES)
            raise InputError(f"The lineage {name!r} is unknown; give one of {known}.")
        notes.append(f"{LINEAGES[name]}, as was said")
        return LINEAGES[name]
    stride = file.metadata.get("stride", "")
    if stride.startswith(("conv1", "conv2")):
        told = CAFFE if stride.startswith("conv1") else TORCHVISION
        notes.append(f"{told}, by the file's metadata")
        return told
    with file.path.open("rb") as opened:
        record = published_2d(hashlib.file_digest(opened, "sha256").hexdigest())
    if record is not None:
        notes.append(f"{record.lineage}, by the hash of {record.name} from {record.home}")
        return record.lineage
    if "layer0.conv1.weight" in file.entries:
        notes.append(f"{CADENE}, by its names")
        return CADENE
    other = "" if file.source == "densenet" else "; give lineage='caffe' where that is wrong"
    notes.append(f"{TORCHVISION} is assumed{other}")
    return TORCHVISION


def _input_in(metadata: dict[str, str]) -> InputConvention | None:
    """What a file's metadata says that it takes; None where it says nothing."""
    number = r"\s*(\d+(?:\.\d+)?)\s*"
    pattern = rf"(BGR|RGB) 0-255 minus \[{number},{number},{number}\]"
    match = re.fullmatch(pattern, metadata.get("input", ""))
    if match is None:
        return None
    channels, *mean = match.groups()
    return InputConvention(
        "BGR" if channels == "BGR" else "RGB",
        (float(mean[0]), float(mean[1]), float(mean[2])),
        (1.0, 1.0, 1.0),
        (224, 224),
    )


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
        return f"its stages have {theirs or 'no'} blocks, the model's {ours}"
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
        if name not in HEAD and not (source in FLAT_SOURCES and ".temporal" in name):
            return f"it lacks {name}"
    return None


def _depths(state: State) -> str:
    """How many blocks the stages have: ``"3, 4, 6, 3"``."""
    stages = re.compile(r"(?:res([2-5])|dense([1-4]))\.(\d+)\.")
    counts: dict[str, set[str]] = {}
    for name in state:
        if match := stages.match(name):
            counts.setdefault(match[1] or match[2], set()).add(match[3])
    return ", ".join(str(len(counts[stage])) for stage in sorted(counts))


def _is_bookkeeping(name: str) -> bool:
    return name == FORM or name.endswith(".num_batches_tracked")


def _shortened(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
