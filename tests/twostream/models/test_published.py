"""Published weights: what is known of them, and the arithmetic that they were trained in.

Known answers: the records fit the models and the files' names. Oracle: the author's network
written out in plain ``torch.nn`` under the names of the published PyTorch files, at the lengths
and sizes that people use.
"""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.errors import InputError
from networks import randomise, relative_error
from twostream.models import MODELS, load_weights
from twostream.models.p3d import Bottleneck, P3DResNet
from twostream.models.published import (
    CADENE,
    CAFFE,
    FILES_2D,
    P3D_FILES,
    TORCHVISION,
    Published2D,
    published_2d,
    published_p3d,
)

# Two float32 evaluations differ by up to 2e-7, a wrong block or window by 0.05 and more.
TOLERANCE = 2e-6


# Records


@pytest.mark.parametrize("record", FILES_2D, ids=lambda record: record.name)
def test_a_record_fits_its_model_and_its_file_s_name(record: Published2D) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}", record.sha256)
    with torch.device("meta"):
        model = MODELS[record.model](1000, 3)
    depth = {"p3d63": "50", "p3d131": "101", "p3d199": "152"}.get(record.model)
    family = "resnet" + depth if depth else record.model.removeprefix("p3d_")
    assert record.name.replace("_", "").startswith(family)
    assert len(record.lineage.input.mean) == model.in_channels
    assert published_2d(record.sha256 + 56 * "0") is record


def test_hashes_are_told_apart() -> None:
    assert max(Counter(record.sha256 for record in FILES_2D).values()) == 1
    assert published_2d(64 * "0") is None


def test_lineages() -> None:
    """The stride and the pooling as their definitions have them."""
    assert (CAFFE.stride_in_1x1, CAFFE.stem, CAFFE.input.channels) == (True, "caffe", "BGR")
    assert (TORCHVISION.stride_in_1x1, TORCHVISION.stem) == (False, "torchvision")
    assert (CADENE.stride_in_1x1, CADENE.stem, CADENE.input.channels) == (True, "caffe", "RGB")
    white = [(255 - m) * s for m, s in zip(*_mean_and_scale(), strict=True)]
    assert white == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def _mean_and_scale() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return TORCHVISION.input.mean, TORCHVISION.input.scale


def test_published_p3ds_are_found_by_their_inputs_and_classes() -> None:
    found = {(len(f.input.mean), f.classes): f for f in P3D_FILES}
    assert list(found) == [(3, 487), (3, 400), (2, 400)]
    for (channels, classes), record in found.items():
        assert published_p3d(channels, classes) is record
    assert published_p3d(3, 101) is None
    assert published_p3d(3, None) is None
    assert found[3, 400].input.mean == (104, 117, 123)
    assert found[2, 400].input.mean == (128, 128)
    assert found[2, 400].input.encoding == "dense_flow"


# The author's network


class OriginalBlock(nn.Module):
    """Of layer1 to layer3, pseudo-3D; all modules in the shapes of the files of 2017."""

    def __init__(self, kind: str, channels: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.kind = kind
        step = (1, stride, stride)
        self.conv1 = nn.Conv3d(channels, width, 1, step, bias=False)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), 1, (0, 1, 1), bias=False)
        self.conv3 = nn.Conv3d(width, width, (3, 1, 1), 1, (1, 0, 0), bias=False)
        self.conv4 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm3d(width) for _ in range(3))
        self.bn4 = nn.BatchNorm3d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if first:
            projection = nn.Conv3d(channels, 4 * width, 1, step, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        u = self.bn1(self.conv1(x)).relu()
        s = self.bn2(self.conv2(u)).relu()
        if self.kind == "A":
            y = self.bn3(self.conv3(s)).relu()
        elif self.kind == "B":
            y = (s + self.bn3(self.conv3(u))).relu()
        else:
            y = (0.5 * s + 0.5 * self.bn3(self.conv3(s))).relu()
        return (self.bn4(self.conv4(y)) + self.downsample(x)).relu()


class OriginalFlatBlock(nn.Module):
    """Of layer4, 2D."""

    def __init__(self, channels: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, stride, bias=False)
        self.conv_normal = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.conv4 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn1, self.bn_normal = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bn4 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if first:
            projection = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn_normal(self.conv_normal(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn4(self.conv4(y)) + self.downsample(x)).relu()


class Original(nn.Module):
    """The author's P3D: stages of pseudo-3D blocks, each halved in time, then 2D blocks."""

    def __init__(self, depths: tuple[int, ...], width: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv1_custom = nn.Conv3d(
            in_channels, width, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        channels, count = width, 0
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for i in range(depth):
                inner, stride = width * 2**stage, 2 if stage > 0 and i == 0 else 1
                if stage < 3:
                    kind = "ABC"[count % 3]
                    blocks.append(OriginalBlock(kind, channels, inner, stride, i == 0))
                    count += 1
                else:
                    blocks.append(OriginalFlatBlock(channels, inner, stride, i == 0))
                channels = 4 * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1_custom(x)).relu()
        x = F.max_pool3d(x, (2, 3, 3), stride=(2, 2, 2), padding=0, ceil_mode=True)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = F.max_pool3d(stage(x), (2, 1, 1), stride=(2, 1, 1))
        steps = [self.layer4(step).mean(dim=(2, 3)) for step in x.unbind(2)]
        y: Tensor = self.fc(torch.stack(steps).mean(0))
        return y


@pytest.mark.parametrize("side", [112, 160, 224])
@pytest.mark.parametrize(("frames", "in_channels"), [(16, 3), (16, 2), (32, 3), (32, 2)])
def test_published_weights_run_in_the_author_s_arithmetic(
    tmp_path: Path, frames: int, in_channels: int, side: int
) -> None:
    depths, width = (2, 2, 1, 1), 6
    original = Original(depths, width, in_channels, 7).eval()
    randomise(original)
    torch.save({"state_dict": original.state_dict(), "arch": "P3D"}, tmp_path / "p3d.pth.tar")
    model = P3DResNet(
        depths, Bottleneck, "ABC", 7, in_channels, width=width, stem="torchvision"
    ).eval()
    model.place_stride(False)
    report = load_weights(model, tmp_path / "p3d.pth.tar")
    assert (report.unused, report.missing) == ((), ())
    clip = torch.randn(
        1, in_channels, frames, side, side, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        assert relative_error(model(clip), original(clip)) < TOLERANCE


def test_published_weights_belong_to_mixed_kinds(tmp_path: Path) -> None:
    torch.save(Original((1, 1, 1, 1), 8, 3, 5).state_dict(), tmp_path / "p3d.pth")
    model = P3DResNet((1, 1, 1, 1), Bottleneck, "CAB", 5, 3, width=8)
    with pytest.raises(InputError, match="its blocks are ABC, the model's CAB"):
        load_weights(model, tmp_path / "p3d.pth")
