"""Loading of weights.

Oracles: a 2D ResNet of the first (Caffe) kind and a P3D under the published names, both written
out once more with plain functions. Round trip: our own checkpoints. Known answer: a class that
ImageNet knows, on a real frame. What does not fit is refused, and leaves the model as it was.
"""

import copy
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from flow.errors import InputError
from twostream.models import P3D, load_weights, p3d63, p3d199, p3d_small
from twostream.models.input import CAFFE_RGB, P3D_FLOW
from twostream.models.p3d import Bottleneck, P3DResNet

State = dict[str, Tensor]

# Two float32 evaluations of these nets differ by up to 7e-7.
TOLERANCE = 5e-6


def relative_error(value: Tensor, expected: Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


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


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states_equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


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
    cv2 = pytest.importorskip("cv2")
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


# Our own checkpoints


def own_state(seed: int, classes: int = 5, in_channels: int = 3, **options: object) -> State:
    """A state in which every value, the BatchNorms' too, is that of this seed."""
    generator = torch.Generator().manual_seed(seed)
    state = p3d_small(classes, in_channels, **options).state_dict()
    return {
        name: torch.rand(value.shape, generator=generator) + 0.5
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


@pytest.mark.parametrize("form", ["checkpoint", "parallel", "bare", "safetensors"])
def test_own_checkpoint_round_trip(tmp_path: Path, form: str) -> None:
    state = own_state(seed=1)
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "checkpoint.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "bare":
        torch.save(state, path)
    else:
        prefix = "module." if form == "parallel" else ""
        named = {prefix + name: value for name, value in state.items()}
        torch.save({"model": named, "step": 7, "optimizer": {"state": {}}, "run": "{}"}, path)
    model = p3d_small(5, 3)
    report = load_weights(model, str(path))
    assert states_equal(model.state_dict(), state)
    assert (report.source, report.used, report.unused) == ("checkpoint", len(state), ())
    assert (report.missing, report.notes, report.head_replaced) == ((), (), False)
    assert not report.inflated


def test_frozen_model_loads_and_stays_frozen(tmp_path: Path) -> None:
    state = own_state(seed=1)
    torch.save({"model": state}, tmp_path / "checkpoint.pt")
    model = p3d_small(5, 3)
    model.freeze_batchnorm()
    load_weights(model, tmp_path / "checkpoint.pt")
    assert states_equal(model.state_dict(), state)
    assert not model.train().res2[0].reduce.bn.training


def test_rgb_checkpoint_into_a_flow_model_of_other_classes(tmp_path: Path) -> None:
    state = own_state(seed=1)
    torch.save({"model": state}, tmp_path / "checkpoint.pt")
    model = p3d_small(3, 2)
    head = model.fc.bias.detach().clone()
    report = load_weights(model, tmp_path / "checkpoint.pt")
    assert report.head_replaced
    assert report.unused == report.missing == ("fc.weight", "fc.bias")
    assert len(report.notes) == 2
    assert report.input == model.input == P3D_FLOW
    loaded = model.state_dict()
    for name, value in state.items():
        if name == "_extra_state":
            continue
        if name == "conv1.conv.weight":
            average = value.mean(dim=1, keepdim=True).expand(-1, 2, -1, -1, -1)
            torch.testing.assert_close(loaded[name], average)
        elif not name.startswith("fc."):
            assert torch.equal(loaded[name], value), name
    assert torch.equal(model.fc.bias, head)


def test_what_is_not_of_the_network_is_reported(tmp_path: Path) -> None:
    state = own_state(seed=1) | {"head2.weight": torch.ones(2), "note": "hello"}
    torch.save({"model": state}, tmp_path / "checkpoint.pt")
    report = load_weights(p3d_small(5, 3), tmp_path / "checkpoint.pt")
    assert report.unused == ("head2.weight", "note")
    assert "not used: head2.weight, note" in str(report)


# What is refused


class Code:
    """What a malicious pickle does when it is read: it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    plain, saved = tmp_path / "plain.pth", tmp_path / "saved.pt"
    plain.write_bytes(pickle.dumps({"state_dict": Code(trace)}))
    torch.save({"model": own_state(seed=1), "extra": Code(trace)}, saved)
    for path in (plain, saved):
        with pytest.raises(InputError, match=f"{path.name} cannot be read as weights"):
            load_weights(p3d_small(5, 3), path)
    assert not trace.exists()
    pickle.loads(plain.read_bytes())
    assert trace.exists()  # it would have


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04" + bytes(100)])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} cannot be read as weights"):
        load_weights(p3d_small(5, 3), tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    save = save_file if name.endswith("safetensors") else torch.save
    path = tmp_path / name
    save(own_state(seed=1), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{name} cannot be read as weights"):
        load_weights(p3d_small(5, 3), path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(InputError, match="is no file; give a file of weights"):
            load_weights(p3d_small(5, 3), path)


def changed(name: str, value: object) -> State:
    state: dict[str, object] = dict(own_state(seed=1))
    if value is None:
        del state[name]
    else:
        state[name] = value
    return state  # type: ignore[return-value]


KERNEL = "res5.0.spatial.conv.weight"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: torch.ones(3), "holds no tensors under names"),
        (lambda: [torch.ones(3)], "holds no tensors under names"),
        (lambda: {"model": "p3d63"}, "neither as a P3D nor as a 2D ResNet"),
        (lambda: {"features.0.weight": torch.ones(64, 3, 3, 3)}, "neither as a P3D"),
        (lambda: {"conv1.conv.weight": "text"}, "neither as a P3D"),
        (
            lambda: dict.fromkeys(("res2a_branch2a.0", "res2a_branch2b_t.0", "a.b"), torch.ones(1)),
            "its stages have 1 blocks",
        ),
        (
            lambda: {"conv1.conv.weight": torch.ones(16, 3, 1, 7, 7)},
            "its stages have no blocks, the model's 1, 1, 1, 1",
        ),
        (
            lambda: resnet_state((1, 1, 2, 1)),
            "its stages have 1, 1, 2, 1 blocks, the model's 1, 1, 1, 1",
        ),
        (lambda: resnet_state(width=8), r"conv1\.conv\.weight is \(8, 3, 1, 7, 7\), the model's"),
        (
            lambda: {"state_dict": published_state((2, 1, 1, 1))},
            "its stages have 2, 1, 1, 1 blocks",
        ),
        (lambda: own_state(seed=1, in_channels=2), r"conv1\.conv\.weight is \(16, 2, 1, 7, 7\)"),
        (lambda: own_state(seed=1, blocks=("B",)), "its blocks are BBB, the model's ABC"),
        (lambda: changed(KERNEL, None), f"it lacks {KERNEL}"),
        (lambda: changed("res5.0.extra.weight", torch.ones(1)), "has res5.0.extra.weight, which"),
        (lambda: changed(KERNEL, torch.full((128, 128, 1, 3, 3), torch.nan)), "NaN or infinity"),
        (lambda: changed(KERNEL, torch.ones(128, 128, 1, 3, 3, dtype=torch.int8)), "torch.int8"),
    ],
)
def test_weights_of_another_network_change_nothing(
    tmp_path: Path, content: Callable[[], object], reason: str
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content(), path)
    model = p3d_small(5, 3)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=reason) as caught:
        load_weights(model, path)
    assert str(path) in str(caught.value)
    assert states_equal(model.state_dict(), before)


def test_a_resnet_of_basic_blocks_is_refused(tmp_path: Path) -> None:
    state = resnet_state()
    for name in [name for name in state if "conv3" in name or "bn3" in name]:
        del state[name]
    torch.save(state, tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match="does not fit the model"):
        load_weights(p3d_small(5, 3), tmp_path / "resnet18.pth")
