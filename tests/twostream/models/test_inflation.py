"""2D weights of every lineage, inflated.

Oracle: for each, a 2D network of plain ``torch.nn`` under the exact names of torchvision, timm or
Cadene, with their strides and poolings, whose logits on a frame the inflated network must give on
a still clip of that frame. Identity: the mirror test, that another lineage gives other logits.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from flow.errors import InputError
from networks import randomise, relative_error
from twostream.models import P3D, load_weights, published
from twostream.models.input import CAFFE_RGB, IMAGENET_RGB, InputConvention
from twostream.models.network import Form
from twostream.models.p3d import Bottleneck, P3DResNet
from twostream.models.p3d_basic import BasicBlock
from twostream.models.p3d_densenet import P3DDenseNet
from twostream.models.p3d_se import SEBottleneck

# Two float32 evaluations of these nets differ by up to 2e-7, another lineage by 0.05 and more.
TOLERANCE = 2e-6
CLASSES = 5


# The 2D networks


class Gate(nn.Module):
    """SEModule of timm and of Cadene: 1 x 1 convolutions with biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Residual2D(nn.Module):
    """A block of torchvision's, of timm's with ``se``, of Cadene's with ``se_module``."""

    def __init__(
        self,
        channels: int,
        planes: int,
        stride: int,
        *,
        basic: bool = False,
        inner: int = 1,
        groups: int = 1,
        gate: str | None = None,
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        self.basic, self.gate_name = basic, gate
        self.out = planes if basic else 4 * planes
        conv = partial(nn.Conv2d, bias=False)
        if basic:
            self.conv1 = conv(channels, planes, 3, stride, 1)
            self.conv2 = conv(planes, planes, 3, 1, 1)
        else:
            width = inner * planes
            first, second = (stride, 1) if stride_in_1x1 else (1, stride)
            self.conv1 = conv(channels, width, 1, first)
            self.conv2 = conv(width, width, 3, second, 1, groups=groups)
            self.conv3 = conv(width, self.out, 1)
            self.bn3 = nn.BatchNorm2d(self.out)
        self.bn1 = nn.BatchNorm2d(self.conv1.out_channels)
        self.bn2 = nn.BatchNorm2d(self.conv2.out_channels)
        if gate is not None:
            self.add_module(gate, Gate(self.out))
        self.downsample: nn.Module = nn.Identity()
        if channels != self.out or stride != 1:
            projection = conv(channels, self.out, 1, stride)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(self.out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if not self.basic:
            y = self.bn3(self.conv3(y.relu()))
        if self.gate_name is not None:
            y = getattr(self, self.gate_name)(y)
        return (y + self.downsample(x)).relu()


class ResNet2D(nn.Module):
    """torchvision's and timm's names; with ``cadene`` those of the first SE-ResNets."""

    def __init__(
        self,
        depths: tuple[int, ...],
        width: int,
        block: Callable[[int, int, int], Residual2D],
        *,
        caffe_pool: bool = False,
        cadene: bool = False,
    ) -> None:
        super().__init__()
        self.caffe_pool, self.cadene = caffe_pool, cadene
        conv1, bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        if cadene:
            self.layer0 = nn.Sequential(OrderedDict(conv1=conv1, bn1=bn1, relu1=nn.ReLU()))
        else:
            self.conv1, self.bn1 = conv1, bn1
        channels = width
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride))
                channels = blocks[-1].out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.add_module("last_linear" if cadene else "fc", nn.Linear(channels, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer0(x) if self.cadene else self.bn1(self.conv1(x)).relu()
        if self.caffe_pool:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        else:
            x = F.max_pool2d(x, 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        head = self.last_linear if self.cadene else self.fc
        y: Tensor = head(x.mean((2, 3)))
        return y


class DenseLayer2D(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(4 * growth)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return torch.cat([x, y], 1)


class DenseNet2D(nn.Module):
    """torchvision's and timm's names of today."""

    def __init__(self, depths: tuple[int, ...], growth: int) -> None:
        super().__init__()
        channels = 2 * growth
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, channels, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        for stage, depth in enumerate(depths, start=1):
            block: OrderedDict[str, nn.Module] = OrderedDict()
            for i in range(depth):
                block[f"denselayer{i + 1}"] = DenseLayer2D(channels, growth)
                channels += growth
            layers[f"denseblock{stage}"] = nn.Sequential(block)
            if stage < len(depths):
                transition = OrderedDict(
                    norm=nn.BatchNorm2d(channels),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                    pool=nn.AvgPool2d(2, 2),
                )
                layers[f"transition{stage}"] = nn.Sequential(transition)
                channels //= 2
        layers["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.features(x).relu().mean((2, 3)))
        return y


DEPTHS = (2, 1, 2, 2)


def resnet(width: int = 8, **options: bool) -> ResNet2D:
    return ResNet2D(DEPTHS, width, partial(Residual2D), **options)


# A 2D network, and what it inflates to.
PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[..., P3D]]] = {
    "basic": (
        lambda: ResNet2D(DEPTHS, 8, partial(Residual2D, basic=True)),
        lambda kinds, channels=3: P3DResNet(
            DEPTHS, BasicBlock, kinds, CLASSES, channels, width=8, stride_in_1x1=None
        ),
    ),
    "bottleneck": (
        resnet,
        lambda kinds, channels=3: P3DResNet(DEPTHS, Bottleneck, kinds, CLASSES, channels, width=8),
    ),
    "resnext": (
        lambda: ResNet2D(DEPTHS, 8, partial(Residual2D, inner=2, groups=4)),
        lambda kinds, channels=3: P3DResNet(
            DEPTHS, partial(Bottleneck, inner=2, groups=4), kinds, CLASSES, channels, width=8
        ),
    ),
    "se of timm": (
        lambda: ResNet2D(DEPTHS, 8, partial(Residual2D, gate="se")),
        lambda kinds, channels=3: P3DResNet(
            DEPTHS, SEBottleneck, kinds, CLASSES, channels, width=8
        ),
    ),
    "se of cadene": (
        lambda: ResNet2D(
            DEPTHS,
            8,
            partial(Residual2D, gate="se_module", stride_in_1x1=True),
            caffe_pool=True,
            cadene=True,
        ),
        lambda kinds, channels=3: P3DResNet(
            DEPTHS,
            SEBottleneck,
            kinds,
            CLASSES,
            channels,
            width=8,
            stem="torchvision",
            stride_in_1x1=False,
        ),
    ),
    "densenet": (
        lambda: DenseNet2D(DEPTHS, 8),
        lambda kinds, channels=3: P3DDenseNet(
            DEPTHS, kinds, CLASSES, channels, growth=8, stem="caffe"
        ),
    ),
}


def saved(flat: nn.Module, path: Path) -> Path:
    randomise(flat)
    torch.save(flat.state_dict(), path)
    return path


def frames(seed: int = 1) -> Tensor:
    # An odd size: otherwise the paddings of pool1 would differ less.
    return torch.randn(2, 3, 51, 34, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kinds", ["ABC", "A", "B", "C"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_still_clip_gives_what_the_2d_network_gives(
    tmp_path: Path, name: str, kinds: str
) -> None:
    flat, build = PAIRS[name][0]().eval(), PAIRS[name][1]
    path = saved(flat, tmp_path / "2d.pth")
    model = build(kinds).eval()
    report = load_weights(model, path)
    frame = frames()
    with torch.no_grad():
        expected = flat(frame)
        for length in (1, 5):
            clip = frame.unsqueeze(2).expand(-1, -1, length, -1, -1)
            assert relative_error(model(clip), expected) < TOLERANCE
    assert report.unused == ()
    assert report.inflated
    assert not report.head_replaced
    assert all(".temporal" in entry for entry in report.missing)
    assert report.input == model.input == IMAGENET_RGB


@pytest.mark.parametrize("name", PAIRS)
def test_frozen_and_checkpointed_it_still_equals_the_2d_network(tmp_path: Path, name: str) -> None:
    """Our own checkpoint of it knows the stride, the pooling and the input."""
    flat, build = PAIRS[name][0]().eval(), PAIRS[name][1]
    model = build("ABC")
    load_weights(model, saved(flat, tmp_path / "2d.pth"))
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    fresh, plain = build("ABC").eval(), build("ABC").eval()
    report = load_weights(fresh, tmp_path / "own.safetensors")
    plain.load_state_dict(model.state_dict())
    frame = frames()
    with torch.no_grad():
        expected = flat(frame)
        for copy in (fresh, plain):
            assert relative_error(copy(frame.unsqueeze(2)), expected) < TOLERANCE
    assert report.source == "checkpoint"
    assert report.input == fresh.input == plain.input == IMAGENET_RGB
    assert fresh.form() == plain.form() == model.form()


@pytest.mark.parametrize("name", PAIRS)
def test_the_flow_stem_averages_and_so_does_its_scale(tmp_path: Path, name: str) -> None:
    flat, build = PAIRS[name][0]().eval(), PAIRS[name][1]
    path = saved(flat, tmp_path / "2d.pth")
    model = build("ABC", 2).eval()
    report = load_weights(model, path)
    grey = frames()[:, :1]
    with torch.no_grad():
        # Grey as RGB and as x and y: the same sum in the stem, but for 3 against 2 channels.
        expected = flat(2 / 3 * grey.expand(-1, 3, -1, -1))
        clip = grey.unsqueeze(2).expand(-1, 2, 4, -1, -1)
        assert relative_error(model(clip), expected) < TOLERANCE
    scale = sum(IMAGENET_RGB.scale) / 3
    assert report.input == model.input
    assert report.input == InputConvention(
        "flow", (128, 128), (scale, scale), (224, 224), "symmetric"
    )


def test_torchvision_s_own_densenet_files_have_dots_in_their_names(tmp_path: Path) -> None:
    flat, build = PAIRS["densenet"][0]().eval(), PAIRS["densenet"][1]
    randomise(flat)
    dotted = {}
    for name, value in flat.state_dict().items():
        if "denselayer" in name:
            for layer in ("norm1", "norm2", "conv1", "conv2"):
                name = name.replace(layer, f"{layer[:4]}.{layer[4]}")
        dotted[name] = value
    torch.save(dotted, tmp_path / "densenet.pth")
    model = build("ABC").eval()
    report = load_weights(model, tmp_path / "densenet.pth")
    assert report.unused == ()
    frame = frames()
    with torch.no_grad():
        assert relative_error(model(frame.unsqueeze(2)), flat(frame)) < TOLERANCE


# Which lineage it is


def caffe_resnet() -> ResNet2D:
    """Under torchvision's names, but with the first ResNets' strides and pooling."""
    block = partial(Residual2D, stride_in_1x1=True)
    return ResNet2D(DEPTHS, 8, block, caffe_pool=True)


METADATA = {"stride": "conv1 of the first block of each stage", "input": "BGR 0-255 minus [1,2,3]"}


@pytest.mark.parametrize("told", ["argument", "metadata", "both"])
def test_a_converted_caffe_resnet_has_torchvision_s_names(tmp_path: Path, told: str) -> None:
    flat, build = caffe_resnet().eval(), PAIRS["bottleneck"][1]
    randomise(flat)
    path = tmp_path / "caffe.safetensors"
    save_file(flat.state_dict(), path, None if told == "argument" else METADATA)
    model = build("ABC").eval()
    model.place_stride(False)
    report = load_weights(model, path, lineage=None if told == "metadata" else "caffe")
    frame = frames()
    with torch.no_grad():
        assert relative_error(model(frame.unsqueeze(2)), flat(frame)) < TOLERANCE
        load_weights(model, path, lineage="torchvision")
        assert relative_error(model(frame.unsqueeze(2)), flat(frame)) > 0.1
    mean = CAFFE_RGB.mean if told == "argument" else (1, 2, 3)
    assert report.input == InputConvention("BGR", mean, (1, 1, 1), (224, 224))
    how = "by the file's metadata" if told == "metadata" else "as was said"
    assert (
        f"caffe's lineage (stride on the first 1x1, pool1 from the first pixel on), {how}"
        in str(report)
    )


def test_without_a_sign_torchvision_s_lineage_is_assumed_and_said(tmp_path: Path) -> None:
    model = PAIRS["bottleneck"][1]("ABC")
    report = load_weights(model, saved(resnet(), tmp_path / "2d.pth"))
    assert "torchvision's lineage (stride on the 3x3, pool1 padded) is assumed" in str(report)
    assert "give lineage='caffe' where that is wrong" in str(report)
    assert (model.stride_in_1x1, model.stem) == (False, "torchvision")


def test_a_published_file_is_known_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(caffe_resnet(), tmp_path / "renamed.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = published.Published2D(f"net-{digest[:8]}", "p3d63", published.CAFFE, "example.org")
    monkeypatch.setattr(published, "FILES_2D", (*published.FILES_2D, record))
    model = PAIRS["bottleneck"][1]("ABC")
    model.place_stride(False)
    report = load_weights(model, path)
    assert f"by the hash of net-{digest[:8]} from example.org" in str(report)
    assert (model.stride_in_1x1, model.stem, report.input) == (True, "caffe", CAFFE_RGB)


def test_a_lineage_is_said_of_2d_weights_alone(tmp_path: Path) -> None:
    model = PAIRS["bottleneck"][1]("ABC")
    torch.save({"model": model.state_dict()}, tmp_path / "own.pt")
    with pytest.raises(InputError, match="is no 2D network, and tells its lineage"):
        load_weights(model, tmp_path / "own.pt", lineage="caffe")
    path = saved(resnet(), tmp_path / "2d.pth")
    with pytest.raises(InputError, match="give one of caffe, torchvision, cadene"):
        load_weights(model, path, lineage="keras")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "into"),
    [(of, into) for of in PAIRS for into in PAIRS if of.split()[0] != into.split()[0]],
)
def test_weights_of_another_member_are_refused(tmp_path: Path, of: str, into: str) -> None:
    path = saved(PAIRS[of][0](), tmp_path / "2d.pth")
    model = PAIRS[into][1]("ABC")
    form = model.form()
    with pytest.raises(InputError, match=r"2d\.pth does not fit the model: "):
        load_weights(model, path)
    assert model.form() == form


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Form("ABCAB", "caffe", True, IMAGENET_RGB).to_tensor(), "do not begin with the same"),
        (torch.tensor(list(b"{}"), dtype=torch.uint8), "do not tell their form"),
    ],
)
def test_a_checkpoint_whose_form_cannot_be_is_refused(
    tmp_path: Path, state: Tensor, reason: str
) -> None:
    """Before anything of it is loaded."""
    build = PAIRS["basic"][1]
    torch.save({"model": build("ABC").state_dict() | {"_extra_state": state}}, tmp_path / "own.pt")
    model = build("ABC")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=rf"own\.pt .*{reason}"):
        load_weights(model, tmp_path / "own.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("said", ["", "BGR 0-255 minus [1.2.3,1,1]", "RGB 0-1", "BGR 0-255 minus"])
def test_metadata_that_says_nothing_known_leaves_the_lineage_s_input(
    tmp_path: Path, said: str
) -> None:
    flat = resnet()
    randomise(flat)
    save_file(flat.state_dict(), tmp_path / "2d.safetensors", {"stride": "conv2", "input": said})
    report = load_weights(PAIRS["bottleneck"][1]("ABC"), tmp_path / "2d.safetensors")
    assert report.input == IMAGENET_RGB
    assert "torchvision's lineage (stride on the 3x3, pool1 padded), by the file's metadata" in str(
        report
    )
