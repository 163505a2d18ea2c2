"""Loading of weights.

Oracles: a 2D ResNet of the first (Caffe) kind and a P3D under the published names, both written
out once more with plain functions. Known answer: a class that ImageNet knows, on a real frame.
Our own checkpoints, and what does not fit, stand in test_weights_own.
"""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from flow.errors import InputError
from network_states import State, published_state, resnet_state
from networks import randn, relative_error
from twostream.models import P3D, load_weights, p3d63, p3d199, p3d_small
from twostream.models.input import CAFFE_RGB
from twostream.models.p3d import Bottleneck, P3DResNet

# Two float32 evaluations of these nets differ by up to 7e-7.
TOLERANCE = 5e-6


def unit(state: State, conv: str, bn: str, x: Tensor, stride: int = 1) -> Tensor:
    """Convolution of 2 or 3 dimensions, and BatchNorm."""
    kernel = state[f"{conv}.weight"].float()
    padding = [size // 2 for size in kernel.shape[2:]]
    if kernel.ndim == 5:
        y = F.conv3d(x, kernel, stride=(1, stride, stride), padding=padding)
    else:
        y = F.conv2d(x, kernel, stride=stride, padding=padding)
    mean, variance = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
    return F.batch_norm(y, mean, variance, state[f"{bn}.weight"], state[f"{bn}.bias"], eps=1e-5)


def resnet_logits(state: State, x: Tensor, depths: tuple[int, ...] = (1, 1, 1, 1)) -> Tensor:
    """2D ResNet as in Caffe: stride in the first 1x1, max-pool without padding, rounded up."""
    x = F.max_pool2d(unit(state, "conv1", "bn1", x, 2).relu(), 3, stride=2, ceil_mode=True)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name, stride = f"layer{stage + 1}.{block}", 2 if block == 0 and stage > 0 else 1
            y = unit(state, f"{name}.conv1", f"{name}.bn1", x, stride).relu()
            y = unit(state, f"{name}.conv2", f"{name}.bn2", y).relu()
            y = unit(state, f"{name}.conv3", f"{name}.bn3", y)
            if block == 0:
                x = unit(state, f"{name}.downsample.0", f"{name}.downsample.1", x, stride)
            x = (x + y).relu()
    return F.linear(x.mean(dim=(2, 3)), state["fc.weight"].float(), state["fc.bias"])


def published_logits(state: State, x: Tensor, depths: tuple[int, ...], kinds: str) -> Tensor:
    """P3D in the arithmetic of the author's Caffe files, over the published names."""
    x = unit(state, "conv1_custom", "bn1", x, 2).relu()
    x = F.max_pool3d(x, (2, 3, 3), stride=2, ceil_mode=True)
    kind = iter(kinds)
    for stage in range(4):
        if stage == 3:
            clips, steps = x.shape[0], x.shape[2]
            x = x.transpose(1, 2).flatten(0, 1)
        for block in range(depths[stage]):
            name, stride = f"layer{stage + 1}.{block}", 2 if block == 0 and stage > 0 else 1
            u = unit(state, f"{name}.conv1", f"{name}.bn1", x, stride).relu()
            if stage == 3:
                y = unit(state, f"{name}.conv_normal", f"{name}.bn_normal", u).relu()
            else:
                s = unit(state, f"{name}.conv2", f"{name}.bn2", u).relu()
                this = next(kind)
                t = unit(state, f"{name}.conv3", f"{name}.bn3", u if this == "B" else s)
                y = {"A": t, "B": s + t, "C": 0.5 * s + 0.5 * t}[this].relu()
            y = unit(state, f"{name}.conv4", f"{name}.bn4", y)
            if block == 0:
                x = unit(state, f"{name}.downsample.0", f"{name}.downsample.1", x, stride)
            x = (x + y).relu()
        if stage < 3:
            x = F.max_pool3d(x, (2, 1, 1), ceil_mode=True)
    features = x.mean(dim=(2, 3)).unflatten(0, (clips, steps)).mean(dim=1)
    return F.linear(features, state["fc.weight"], state["fc.bias"])


# 2D ResNets


@pytest.mark.parametrize("blocks", ["ABC", "A", "B", "C"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_inflated_net_equals_its_2d_net_on_a_still_clip(
    tmp_path: Path, blocks: str, suffix: str
) -> None:
    state = resnet_state()
    path = tmp_path / f"resnet{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    model = p3d_small(5, 3, blocks=blocks).eval()
    report = load_weights(model, path, lineage="caffe")
    frame = randn(2, 3, 65, 50)
    with torch.no_grad():
        expected = resnet_logits(state, frame)
        for length in (1, 7, 20):
            clip = frame.unsqueeze(2).expand(-1, -1, length, -1, -1)
            assert relative_error(model(clip), expected) < TOLERANCE
    assert (report.source, report.used, report.unused) == ("resnet", len(state), ())
    assert report.inflated
    assert not report.head_replaced
    assert len(report.missing) == 3 * 5
    assert all(".temporal." in name for name in report.missing)


def test_inflation_forgets_what_temporal_layers_had_learned(tmp_path: Path) -> None:
    torch.save(resnet_state(), tmp_path / "resnet.pth")
    fresh, trained = p3d_small(5, 3).eval(), p3d_small(5, 3).eval()
    for block in trained.pseudo3d_blocks():
        block.temporal.bn.running_mean.fill_(3)
        torch.nn.init.ones_(block.temporal.conv.weight)
    for model in (fresh, trained):
        load_weights(model, tmp_path / "resnet.pth")
    clip = randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(fresh(clip), trained(clip))


def test_flow_stem_is_the_average_over_the_rgb_channels(tmp_path: Path) -> None:
    state = resnet_state()
    torch.save(state, tmp_path / "resnet.pth")
    model = p3d_small(5, 2)
    report = load_weights(model, tmp_path / "resnet.pth")
    stem = model.conv1.conv.weight.detach()
    red, green, blue = state["conv1.weight"].unbind(1)
    for channel in (0, 1):
        torch.testing.assert_close(stem[:, channel, 0], (red + green + blue) / 3)
    assert "the stem is the average over 3 input channels, copied to 2" in str(report)


def test_real_resnet50_on_a_real_frame(shared: Path) -> None:
    """Inflated P3D-63 and the 2D net agree, and see a balance beam (ImageNet's class 416)."""
    path = shared / "weights" / "resnet50_imagenet_caffe.safetensors"
    video = shared / "data/ucf101/videos/BalanceBeam/v_BalanceBeam_g08_c03.avi"
    read, frame = cv2.VideoCapture(str(video)).read()
    assert read
    bgr = torch.from_numpy(cv2.resize(frame, (224, 224))).permute(2, 0, 1).float()
    image = (bgr - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)).unsqueeze(0)

    model = p3d63(1000).eval()
    report = load_weights(model, path)
    assert (report.used, report.unused) == (267, ())
    assert (report.input, model.stride_in_1x1, model.stem) == (CAFFE_RGB, True, "caffe")
    assert "caffe's lineage" in str(report)
    assert "by the file's metadata" in str(report)
    with torch.no_grad():
        expected = resnet_logits(load_file(path), image, (3, 4, 6, 3))
        logits = model(image.unsqueeze(2).expand(-1, -1, 5, -1, -1))
    assert relative_error(logits, expected) < TOLERANCE
    assert logits.argmax() == 416
    assert model.conv1.conv.weight.dtype == torch.float32


def test_real_resnet50_into_a_flow_net_of_other_classes(shared: Path) -> None:
    path = shared / "weights" / "resnet50_imagenet_caffe.safetensors"
    model = p3d63(101, 2)
    head = model.fc.weight.detach().clone()
    report = load_weights(model, path)
    assert report.head_replaced
    assert sorted(report.unused) == ["fc.bias", "fc.weight"]
    assert torch.equal(model.fc.weight, head)
    assert "keeps its own last layer of 101 classes; the file has one of 1000" in str(report)
    expected = load_file(path)["conv1.weight"].float().mean(dim=1)
    torch.testing.assert_close(model.conv1.conv.weight[:, 1, 0].detach(), expected)
    with pytest.raises(InputError, match="3, 4, 6, 3 blocks"):
        load_weights(p3d199(1000), path)


# Published checkpoints


@pytest.mark.parametrize("legacy", [False, True])
def test_published_weights_run_in_the_right_arithmetic(tmp_path: Path, legacy: bool) -> None:
    depths = (2, 1, 2, 2)
    state = published_state(depths, width=8)
    path = tmp_path / "p3d_rgb.checkpoint.pth.tar"
    checkpoint = {
        "epoch": 3,
        "arch": "P3D",
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "best_prec1": 71.2,
    }
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    model = P3DResNet(depths, Bottleneck, "ABC", 5, 3, width=8).eval()
    report = load_weights(model, path)
    assert (report.source, report.used) == ("published", len(state))
    assert (report.unused, report.missing, report.notes) == ((), (), ())
    clip = randn(2, 3, 32, 49, 64)
    with torch.no_grad():
        expected = published_logits(state, clip, depths, "ABCAB")
        assert relative_error(model(clip), expected) < TOLERANCE


@pytest.mark.parametrize(
    ("build", "in_channels", "keys"),
    [(p3d63, 3, "port_p3d63_rgb_keys.json"), (p3d199, 2, "port_p3d199_flow_keys.json")],
)
def test_every_published_name_is_used_and_none_is_missing(
    shared: Path, tmp_path: Path, build: Callable[..., P3D], in_channels: int, keys: str
) -> None:
    shapes = json.loads((shared / "facts" / keys).read_text())
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.rand(shape, generator=generator).half() for name, shape in shapes.items()}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": state}, path)
    model = build(400, in_channels)
    report = load_weights(model, path)
    assert (report.used, report.unused, report.missing) == (len(shapes), (), ())
    pairs = {
        "conv1_custom.weight": model.conv1.conv.weight,
        "layer1.0.downsample.1.running_var": model.res2[0].shortcut.bn.running_var,
        "layer1.1.conv1.weight": model.res2[1].reduce.conv.weight,
        "layer2.3.bn2.bias": model.res3[3].spatial.bn.bias,
        "layer2.0.conv3.weight": model.res3[0].temporal.conv.weight,
        "layer3.5.conv4.weight": model.res4[5].restore.conv.weight,
        "layer4.2.bn_normal.running_mean": model.res5[2].spatial.bn.running_mean,
        "fc.weight": model.fc.weight,
    }
    for name, value in pairs.items():
        assert torch.equal(value, state[name].float()), name
    assert torch.equal(
        model.res5[1].spatial.conv.weight[:, :, 0], state["layer4.1.conv_normal.weight"].float()
    )


def test_published_weights_belong_to_the_cycle_abc(tmp_path: Path) -> None:
    torch.save({"state_dict": published_state()}, tmp_path / "p3d.pth.tar")
    with pytest.raises(InputError, match="its blocks are ABC, the model's AAA"):
        load_weights(p3d_small(5, 3, blocks=("A",)), tmp_path / "p3d.pth.tar")
