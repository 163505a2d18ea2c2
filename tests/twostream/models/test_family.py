"""Every member of the family.

Known answers: the table in docs/models.md, recomputed; blocks of each member by hand. Properties,
of a narrow network of each member's blocks: any length and size, gradients to every parameter, what
freezing keeps, what the state knows. Identity: the inert start is the network without its temporal
convolutions.
"""

import copy
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.errors import InputError
from networks import randn, randomise, relative_error
from twostream.models import MODELS, P3D, start_temporal
from twostream.models.input import IMAGENET_RGB
from twostream.models.layers import FLAT, KINDS, BatchNorm, ConvBN, SpatialConv, TemporalConv
from twostream.models.network import Form
from twostream.models.p3d import Bottleneck, P3DResNet
from twostream.models.p3d_basic import BasicBlock, p3d_resnet18, p3d_resnet34
from twostream.models.p3d_densenet import DenseLayer, P3DDenseNet
from twostream.models.p3d_se import SEBottleneck, SqueezeExcitation

TABLE = Path(__file__).resolve().parents[3] / "docs" / "models.md"
# Two float32 evaluations of the nets below differ by up to 2e-7.
TOLERANCE = 2e-6

DEPTHS = (1, 2, 1, 1)
RESNEXT = partial(Bottleneck, groups=4, inner=2)
NARROW: dict[str, Callable[..., P3D]] = {
    "bottleneck": partial(P3DResNet, DEPTHS, Bottleneck, width=8),
    "stride in the 3x3": partial(
        P3DResNet, DEPTHS, Bottleneck, width=8, stem="torchvision", stride_in_1x1=False
    ),
    "basic": partial(P3DResNet, DEPTHS, BasicBlock, width=8, stride_in_1x1=None),
    "resnext": partial(P3DResNet, DEPTHS, RESNEXT, width=8, stride_in_1x1=False),
    "se": partial(P3DResNet, DEPTHS, SEBottleneck, width=8),
    "densenet": partial(P3DDenseNet, DEPTHS, growth=8),
}


# The table


def rows() -> dict[str, list[str]]:
    """The cells of the table of sizes, by the model in the first."""
    found = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if match := re.fullmatch(r"`(p3d\w+)`", cells[0]):
            found[match[1]] = cells[1:]
    return found


def measured(name: str) -> list[str]:
    """What the table should say of a model, but for the 2D network that it is on."""
    with torch.device("meta"):
        rgb, flow = MODELS[name](400, 3).eval(), MODELS[name](400, 2).eval()
        clip = torch.empty(1, 3, 16, 160, 160)
    products: dict[str, int] = {}
    sizes: list[str] = []
    for module_name, module in rgb.named_modules():

        def count(layer: nn.Module, _: Any, y: Tensor, name: str = module_name) -> None:
            assert isinstance(layer, nn.Conv3d | nn.Linear)
            products[name] = y.numel() * layer.weight[0].numel()

        def note(_: nn.Module, __: Any, y: Tensor) -> None:
            sizes.append(" x ".join(map(str, y.shape[1:])))

        if isinstance(module, nn.Conv3d | nn.Linear):
            module.register_forward_hook(count)
        if re.fullmatch(r"(res|dense)\d", module_name):
            module.register_forward_hook(note)
    with torch.no_grad():
        features = rgb.features(clip)
        rgb.fc(features)
    # The flow network differs in conv1 alone.
    different = {k for k, v in rgb.named_parameters() if v.shape != flow.get_parameter(k).shape}
    assert different == {"conv1.conv.weight"}
    macs = sum(products.values())
    flow_macs = macs - products["conv1.conv"] // 3
    parameters = [sum(p.numel() for p in model.parameters()) for model in (rgb, flow)]
    return [
        f"{parameters[0]:,} / {parameters[1]:,}",
        f"{macs / 1e9:.2f} / {flow_macs / 1e9:.2f}",
        *sizes,
        str(features.shape[1]),
    ]


def test_the_table_has_every_model() -> None:
    assert list(rows()) == list(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_says_what_the_models_are(name: str) -> None:
    assert rows()[name][1:] == measured(name)


# Every member


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (5, 47, 33), (33, 32, 64)])
@pytest.mark.parametrize("in_channels", [2, 3])
@pytest.mark.parametrize("name", NARROW)
def test_any_length_and_size_gives_a_row_a_clip(
    name: str, in_channels: int, frames: int, height: int, width: int
) -> None:
    model = NARROW[name]("ABC", 5, in_channels).eval()
    randomise(model)
    clip = randn(2, in_channels, frames, height, width)
    with torch.no_grad():
        logits, features = model(clip), model.features(clip)
        assert relative_error(model(clip[1:]), logits[1:]) < TOLERANCE
    assert logits.shape == (2, 5)
    assert features.shape == (2, model.fc.in_features)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NARROW)
def test_gradients_reach_every_parameter_that_is_not_frozen(name: str) -> None:
    torch.manual_seed(0)
    model = NARROW[name]("ABC", 3, 2).train()
    randomise(model)
    for frozen in (False, True):
        if frozen:
            model.freeze_batchnorm()
        model.zero_grad()
        loss = F.cross_entropy(model(randn(4, 2, 9, 40, 40)), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        learned = dict(model.named_parameters())
        assert all(value.requires_grad for value in learned.values()) != frozen
        for parameter_name, value in learned.items():
            if value.requires_grad:
                assert value.grad is not None, parameter_name
                assert value.grad.isfinite().all(), parameter_name
                assert value.grad.abs().sum() > 0, parameter_name
            else:
                assert value.grad is None, parameter_name


def batchnorm_values(model: P3D, first: bool) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and (module is model.conv1.bn) == first
        for key, value in module.state_dict().items()
    }


@pytest.mark.parametrize("name", NARROW)
def test_what_is_frozen_stays_over_ten_steps_and_all_else_moves(name: str) -> None:
    torch.manual_seed(0)
    model = NARROW[name]("ABC", 2, 2)
    randomise(model)
    model.freeze_batchnorm()
    frozen, first = batchnorm_values(model, first=False), batchnorm_values(model, first=True)
    learned = {k: v.detach().clone() for k, v in model.named_parameters() if v.requires_grad}
    values = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(values, lr=1e-3, momentum=0.9, weight_decay=0.01)
    for step in range(10):
        model.eval()  # as between two epochs
        model.train()
        loss = F.cross_entropy(model(randn(2, 2, 4, 32, 32, seed=step)), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key, value in batchnorm_values(model, first=False).items():
        assert torch.equal(value, frozen[key]), key
    for key, value in batchnorm_values(model, first=True).items():
        assert not torch.equal(value, first[key]), key
    for key, value in learned.items():
        assert not torch.equal(model.get_parameter(key), value), key


@pytest.mark.parametrize("name", NARROW)
def test_kinds_cycle_and_the_state_knows_them(name: str) -> None:
    model = NARROW[name]("CAB", 2, 3)
    assert model.kinds() == "CABC"
    assert [block.kind.letter for block in model.pseudo3d_blocks()] == list("CABC")
    other = NARROW[name]("ABC", 2, 3)
    if name in ("basic", "densenet"):  # where B's T has other channels, shapes may tell first
        with pytest.raises((InputError, RuntimeError), match=r"blocks|size mismatch"):
            other.load_state_dict(model.state_dict())
    else:
        with pytest.raises(InputError, match="its blocks are CABC, the model's ABCA"):
            other.load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("kinds", ["ABC", "A", "B", "C"])
def test_the_inert_start_is_the_network_without_temporal_convolutions(
    name: str, kinds: str
) -> None:
    model = NARROW[name](kinds, 3, 3).eval()
    randomise(model)
    flat = copy.deepcopy(model)
    for block in flat.pseudo3d_blocks():
        block.kind = FLAT
    clip = randn(1, 3, 9, 40, 40)  # it moves: then a clip is more than its frames, but for pooling
    with torch.no_grad():
        assert relative_error(model(clip), flat(clip)) > 0.01
        start_temporal(model, "identity")
        assert relative_error(model(clip), flat(clip)) < TOLERANCE
        start_temporal(model, "gaussian")
        for module in model.modules():
            if isinstance(module, TemporalConv):
                assert 0 < module.weight.std() < 0.002


@pytest.mark.parametrize("name", NARROW)
def test_a_state_sets_the_stride_the_stem_and_the_input(name: str) -> None:
    """None of them changes a name or a shape; all change what a network computes or should see."""
    trained, fresh = NARROW[name]("ABC", 2, 3).eval(), NARROW[name]("ABC", 2, 3).eval()
    randomise(trained)
    stem = "caffe" if trained.stem == "torchvision" else "torchvision"
    stride = None if trained.stride_in_1x1 is None else not trained.stride_in_1x1
    trained.take_form(Form(trained.kinds(), stem, stride, IMAGENET_RGB))
    fresh.load_state_dict(trained.state_dict())
    assert fresh.form() == trained.form() == Form("ABCA", stem, stride, IMAGENET_RGB)
    clip = randn(1, 3, 4, 51, 34)
    with torch.no_grad():
        assert torch.equal(fresh(clip), trained(clip))


def test_a_state_that_holds_the_kinds_alone_is_p3d_s_own_form() -> None:
    """Checkpoints of earlier versions."""
    old = NARROW["bottleneck"]("ABC", 2, 2).state_dict()
    old["_extra_state"] = torch.tensor(list(b"ABCA"), dtype=torch.uint8)
    model = NARROW["stride in the 3x3"]("ABC", 2, 2)
    model.load_state_dict(old)
    assert model.form() == NARROW["bottleneck"]("ABC", 2, 2).form()


@pytest.mark.parametrize(
    "state",
    [
        torch.tensor([255], dtype=torch.uint8),
        torch.tensor(list(b"{"), dtype=torch.uint8),
        torch.tensor(list(b'{"kinds": "ABCA"}'), dtype=torch.uint8),
        torch.tensor([0.5]),
        torch.tensor(300),
        "ABCA",
    ],
)
def test_a_form_that_is_none_is_refused(state: object) -> None:
    model = NARROW["bottleneck"]("ABC", 2, 3)
    with pytest.raises(InputError, match=r"do not tell their form|its blocks are"):
        model.set_extra_state(state)


@pytest.mark.parametrize(
    ("name", "stride"), [("bottleneck", None), ("basic", True), ("densenet", False)]
)
def test_a_stride_that_a_network_cannot_have_is_refused(name: str, stride: bool | None) -> None:
    model = NARROW[name]("ABC", 2, 3)
    with pytest.raises(InputError, match="do not begin with the same convolution"):
        model.take_form(Form("ABCA", "caffe", stride, IMAGENET_RGB))
    if name != "bottleneck":
        with pytest.raises(InputError, match="do not begin with a 1 x 1"):
            model.place_stride(True)
    flow = NARROW["bottleneck"]("ABC", 2, 2)
    with pytest.raises(InputError, match="it takes RGB, the model 2 input channels"):
        flow.take_form(Form("ABCA", "caffe", True, IMAGENET_RGB))


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(InputError, match=r"give 3 \(RGB\) or 2 \(flow\)"):
        NARROW["basic"]("ABC", 2, 4)
    with pytest.raises(InputError, match="give one of caffe, torchvision"):
        MODELS["p3d_densenet121"](2, 3, stem="keras")
    with pytest.raises(InputError, match="give a cycle of A, B and C"):
        MODELS["p3d_densenet121"](2, 3, blocks="AD")
    with pytest.raises(InputError, match="of 32 x 32 pixels or more"):
        NARROW["densenet"]("ABC", 2, 3)(torch.zeros(1, 3, 1, 31, 40))
    for factor in (0.001, 17.0, math.nan):
        with pytest.raises(InputError, match="give a number from"):
            p3d_resnet18(2, 3, width_factor=factor)


# Single members


@pytest.mark.parametrize("build", [p3d_resnet18, p3d_resnet34])
def test_the_width_factor_scales_every_layer(build: Callable[..., P3DResNet]) -> None:
    with torch.device("meta"):
        whole, half = build(400, 3), build(400, 3, width_factor=0.5)
    assert half.fc.in_features == whole.fc.in_features // 2 == 256
    for name, value in whole.named_parameters():
        outputs = value.shape[0] if name.startswith("fc.") else value.shape[0] // 2
        assert half.get_parameter(name).shape[0] == outputs, name


def unit(conv: nn.Module) -> ConvBN:
    """A convolution that is ``conv``, without a BatchNorm."""
    made = ConvBN(SpatialConv(1, 1))
    made.conv, made.bn = conv, nn.Identity()  # type: ignore[assignment]
    made.bn.frozen = False
    return made


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@pytest.mark.parametrize(
    ("kind", "s2", "expected"),
    [
        # x = 1; S1 = 2 x, T1 = -3 x: u is 0, 0 (2 - 3 < 0) and 0 (1 - 3 < 0) ...
        ("A", 1.0, 1 + 5 * 1.0),  # ... T2 = 5 x after S2 = 1
        ("B", 1.0, 1 + 1.0 + 5 * 0),  # T2 beside S2 sees u
        ("C", 1.0, 1 + 0.5 * 1.0 + 0.5 * 5),
        ("A", -0.1, 1 - 0.5),  # no ReLU between S2 and T2, nor before the sum
        ("B", -0.1, 1 - 0.1),
        ("C", -0.1, 1 - 0.05 - 0.25),
    ],
)
def test_a_basic_block_by_hand(kind: str, s2: float, expected: float) -> None:
    block = BasicBlock(2, 2, 1, KINDS[kind])
    block.spatial1, block.temporal1 = unit(Scaled(2)), unit(Scaled(-3))
    block.spatial2, block.temporal2 = unit(Constant(s2)), unit(Scaled(5))
    y = block(torch.ones(1, 2, 3, 4, 4))
    torch.testing.assert_close(y, torch.full_like(y, expected))


@pytest.mark.parametrize(("kind", "expected"), [("A", -10), ("B", -2 + 5), ("C", -1 - 5)])
def test_a_dense_layer_by_hand(kind: str, expected: float) -> None:
    layer = DenseLayer(2, 2, KINDS[kind])
    layer.reduce = unit(Constant(1))
    layer.spatial, layer.temporal = unit(Scaled(-2)), unit(Scaled(5))
    y = layer(torch.full((1, 2, 3, 4, 4), 7.0))
    assert y[:, :2].unique().tolist() == [7]
    assert y[:, 2:].unique().tolist() == [expected]


def test_a_gate_by_hand() -> None:
    """It sees the mean over time and space, and weighs each channel."""
    gate = SqueezeExcitation(32)
    with torch.no_grad():
        for module in (gate.fc1, gate.fc2):
            module.weight.zero_()
            module.bias.zero_()
        gate.fc1.weight[0, 3] = 1  # the mean of channel 3 ...
        gate.fc2.weight[5, 0] = 2  # ... twice into the gate of channel 5
        x = torch.ones(1, 32, 2, 3, 3)
        x[:, 3, 1] = 3  # its mean over the two frames is 2
        y = gate(x)
    torch.testing.assert_close(y[:, 5], torch.full_like(y[:, 5], 1 / (1 + math.exp(-4))))
    torch.testing.assert_close(y[:, 3], x[:, 3] / 2)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_gate_s_gradients_in_bfloat16(length: int) -> None:
    """Sound ones come within 0.5 % here; Conv3d can go wrong by 100 % (see test_p3d.py)."""
    torch.manual_seed(0)
    gate, x = SqueezeExcitation(256), randn(4, 256, length, 6, 6).requires_grad_()
    gradients = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = gate(x)
        weights = randn(*y.shape).to(y.dtype)
        gradients.append(torch.autograd.grad((y * weights).sum(), (x, *gate.parameters())))
    for value, expected in zip(*gradients, strict=True):
        assert relative_error(value, expected) < 0.02


@pytest.mark.parametrize("kind", "ABC")
@pytest.mark.parametrize("in_1x1", [True, False])
def test_the_stride_s_place_in_a_block(kind: str, in_1x1: bool) -> None:
    """In the 3 x 3, B's T beside it takes every other pixel as well."""
    block = Bottleneck(8, 4, 2, KINDS[kind]).eval()
    randomise(block)
    block.place_stride(in_1x1)
    x = randn(1, 8, 3, 7, 8)
    sizes = []
    block.spatial.register_forward_pre_hook(lambda _, u: sizes.append(u[0].shape[3:]))
    with torch.no_grad():
        y = block(x)
        u = F.relu(block.reduce.bn(F.conv3d(x, block.reduce.conv.weight)))
        if in_1x1:
            u = u[..., ::2, ::2]
        s = F.conv3d(u, block.spatial.conv.weight, padding=(0, 1, 1))
        s = F.relu(block.spatial.bn(s if in_1x1 else s[..., ::2, ::2]))
        below = u if kind == "B" else s
        t = F.conv3d(below, block.temporal.conv.weight, padding=(1, 0, 0))
        t = block.temporal.bn(t[..., ::2, ::2] if kind == "B" and not in_1x1 else t)
        middle = F.relu({"A": t, "B": s + t, "C": 0.5 * s + 0.5 * t}[kind])
        expected = F.relu(block.restore(middle) + block.shortcut(x))
    assert sizes == [(4, 4) if in_1x1 else (7, 8)]
    assert y.shape == (1, 16, 3, 4, 4)
    assert relative_error(y, expected) < TOLERANCE
