"""The names that others give to the tensors of a pseudo-3D network, and ours."""

import re
from collections.abc import Iterable
from typing import Literal

Source = Literal["checkpoint", "published", "caffe", "resnet", "densenet"]

# A name that tells the source, in the order in which they are looked for.
SIGNS: dict[str, Source] = {
    "conv1.conv.weight": "checkpoint",
    "conv1_custom.weight": "published",
    "res2a_branch2a.0": "caffe",
    "layer1.0.conv1.weight": "resnet",
    "features.denseblock1.denselayer1.conv1.weight": "densenet",
    "features.denseblock1.denselayer1.conv.1.weight": "densenet",  # torchvision's own files
}
OURS = re.compile(r"(conv1|res\d\.\d+|dense\d\.\d+|transition\d|bn5|fc)\..+|_extra_state")

# What stands outside the blocks, and in a block.
OUTSIDE = {
    "conv1_custom": "conv1.conv",
    "conv1": "conv1.conv",
    "bn1": "conv1.bn",
    "fc": "fc",
    "layer0.conv1": "conv1.conv",  # the first SE-ResNets in PyTorch
    "layer0.bn1": "conv1.bn",
    "last_linear": "fc",
}
SHORTCUT = {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}
BASIC_BLOCK = SHORTCUT | {
    "conv1": "spatial1.conv",
    "bn1": "spatial1.bn",
    "conv2": "spatial2.conv",
    "bn2": "spatial2.bn",
}
BOTTLENECK = SHORTCUT | {
    "conv1": "reduce.conv",
    "bn1": "reduce.bn",
    "conv2": "spatial.conv",
    "bn2": "spatial.bn",
    "conv3": "restore.conv",
    "bn3": "restore.bn",
    "se.fc1": "gate.fc1",
    "se.fc2": "gate.fc2",
    "se_module.fc1": "gate.fc1",
    "se_module.fc2": "gate.fc2",
}
PUBLISHED_BLOCK = BOTTLENECK | {
    "conv_normal": "spatial.conv",
    "bn_normal": "spatial.bn",
    "conv3": "temporal.conv",
    "bn3": "temporal.bn",
    "conv4": "restore.conv",
    "bn4": "restore.bn",
}

CAFFE_BRANCHES = {
    "1": "shortcut",
    "2a": "reduce",
    "2b": "spatial",
    "2b_t": "temporal",
    "2c": "restore",
}
CAFFE_BN = ("weight", "bias", "running_mean", "running_var")  # slope, bias and the statistics
CAFFE_BLOCK = re.compile(r"(res|bn)(\d)([a-z])(\d*)_branch(\w+)")

DENSE_OUTSIDE = {
    "features.conv0": "conv1.conv",
    "features.norm0": "conv1.bn",
    "features.norm5": "bn5",
    "classifier": "fc",
}
DENSE_LAYER = {
    "norm1": "bn1",
    "conv1": "reduce.conv",
    "norm2": "reduce.bn",
    "conv2": "spatial",
}


def our_names(names: Iterable[str], source: Source) -> dict[str, str]:
    """Our names of what a source's names stand for, each with the source's."""
    names = list(names)
    if source == "resnet":
        block = BOTTLENECK if "layer1.0.conv3.weight" in names else BASIC_BLOCK
    else:
        block = PUBLISHED_BLOCK
    found = {}
    for name in names:
        layer, _, value = name.rpartition(".")
        if source == "checkpoint":
            ours = name if OURS.fullmatch(name) else None
        elif source == "caffe":
            ours = _of_caffe(layer, int(value)) if value.isdecimal() else None
        elif source == "densenet":
            ours = _of_densenet(layer, value)
        else:
            ours = _of_resnet(layer, value, block)
        if ours is not None:
            found[ours] = name
    return found


def _of_resnet(layer: str, value: str, block: dict[str, str]) -> str | None:
    if layer in OUTSIDE:
        return f"{OUTSIDE[layer]}.{value}"
    match = re.fullmatch(r"layer([1-4])\.(\d+)\.(.+)", layer)
    if match is None or match[3] not in block:
        return None
    return f"res{int(match[1]) + 1}.{match[2]}.{block[match[3]]}.{value}"


def _of_densenet(layer: str, value: str) -> str | None:
    if layer in DENSE_OUTSIDE:
        return f"{DENSE_OUTSIDE[layer]}.{value}"
    if match := re.fullmatch(r"features\.transition([1-3])\.(norm|conv)", layer):
        return f"transition{match[1]}.{'bn' if match[2] == 'norm' else 'conv'}.{value}"
    pattern = r"features\.denseblock([1-4])\.denselayer(\d+)\.(norm|conv)\.?([12])"
    if match := re.fullmatch(pattern, layer):
        return f"dense{match[1]}.{int(match[2]) - 1}.{DENSE_LAYER[match[3] + match[4]]}.{value}"
    return None


def _of_caffe(layer: str, blob: int) -> str | None:
    """By the layer and the number of its blob."""
    if layer == "conv1":
        return "conv1.conv.weight" if blob == 0 else None
    if layer == "bn_conv1":
        return f"conv1.bn.{CAFFE_BN[blob]}" if blob < len(CAFFE_BN) else None
    if layer.startswith("fc"):
        return f"fc.{('weight', 'bias')[blob]}" if blob < 2 else None
    match = CAFFE_BLOCK.fullmatch(layer)
    if match is None or match[5] not in CAFFE_BRANCHES:
        return None
    # Blocks are a, b, c, or in long stages a, b1, b2, b3.
    block = int(match[4]) if match[4] else ord(match[3]) - ord("a")
    unit = f"res{match[2]}.{block}.{CAFFE_BRANCHES[match[5]]}"
    if match[1] == "bn":
        return f"{unit}.bn.{CAFFE_BN[blob]}" if blob < len(CAFFE_BN) else None
    return f"{unit}.conv.weight" if blob == 0 else None
