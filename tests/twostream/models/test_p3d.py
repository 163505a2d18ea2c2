"""P3D networks.

Known answers: the published parameter counts, multiply-adds and output sizes; single blocks and
pools worked out by hand. Oracle: the whole net and each block written out once more with
``conv3d`` and ``batch_norm`` over the state. Properties: lengths and sizes. The faults of the
widespread PyTorch port have their tests here and in test_p3d_training.
"""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from flow.errors import InputError
from networks import randn, randomise, relative_error
from twostream.models import (
    MODELS,
    P3D,
    p3d63,
    p3d131,
    p3d199,
    p3d_small,
    start_temporal,
)
from twostream.models.layers import FLAT, KINDS, ConvBN, SpatialConv
from twostream.models.p3d import Bottleneck, P3DResNet

# Two float32 evaluations of the nets below differ by up to 6e-7, a wrong block by 0.1 and more.
TOLERANCE = 5e-6


# The network once more, from its published description: names of the state, plain functions.


def reference_unit(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = state[f"{name}.conv.weight"]
    padding = [size // 2 for size in kernel.shape[2:]]
    y = F.conv3d(x, kernel, stride=(1, stride, stride), padding=padding)
    mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
    return F.batch_norm(
        y, mean, variance, state[f"{name}.bn.weight"], state[f"{name}.bn.bias"], eps=1e-5
    )


def reference_block(
    state: dict[str, Tensor], name: str, kind: str, x: Tensor, stride: int
) -> Tensor:
    u = reference_unit(state, f"{name}reduce", x, stride).relu()
    s = reference_unit(state, f"{name}spatial", u).relu()
    if kind == "A":
        y = reference_unit(state, f"{name}temporal", s).relu()
    elif kind == "B":
        y = (s + reference_unit(state, f"{name}temporal", u)).relu()
    elif kind == "C":
        y = (0.5 * s + 0.5 * reference_unit(state, f"{name}temporal", s)).relu()
    else:
        y = s
    has_shortcut = f"{name}shortcut.conv.weight" in state
    shortcut = reference_unit(state, f"{name}shortcut", x, stride) if has_shortcut else x
    return (reference_unit(state, f"{name}restore", y) + shortcut).relu()


def reference_features(
    state: dict[str, Tensor], depths: tuple[int, ...], kinds: str, clip: Tensor
) -> Tensor:
    x = reference_unit(state, "conv1", clip, 2).relu()
    x = F.max_pool3d(x, (2, 3, 3), stride=(2, 2, 2), ceil_mode=True)
    kind = iter(kinds)
    for stage in (2, 3, 4):
        for block in range(depths[stage - 2]):
            stride = 2 if block == 0 and stage > 2 else 1
            x = reference_block(state, f"res{stage}.{block}.", next(kind), x, stride)
        x = F.max_pool3d(x, (2, 1, 1), stride=(2, 1, 1), ceil_mode=True)
    steps = []
    for step in x.unbind(2):
        y = step.unsqueeze(2)
        for block in range(depths[3]):
            y = reference_block(state, f"res5.{block}.", "2D", y, 2 if block == 0 else 1)
        steps.append(y.mean(dim=(2, 3, 4)))
    return torch.stack(steps).mean(0)


def port_block(state: dict[str, Tensor], kind: str, x: Tensor) -> Tensor:
    """B and C as the widespread port has them: a ReLU on T, weights 1 and 1, none after."""
    u = reference_unit(state, "reduce", x).relu()
    s = reference_unit(state, "spatial", u).relu()
    y = s + reference_unit(state, "temporal", u if kind == "B" else s).relu()
    return (reference_unit(state, "restore", y) + x).relu()


# Sizes


@pytest.mark.parametrize(
    ("build", "in_channels", "parameters", "gmac"),
    [
        (p3d63, 3, 25_745_232, 8.44),
        (p3d63, 2, 25_742_096, 8.12),
        (p3d131, 3, 48_088_400, 12.90),
        (p3d131, 2, 48_085_264, 12.58),
        (p3d199, 3, 66_492_240, 18.40),
        (p3d199, 2, 66_489_104, 18.08),
    ],
)
def test_parameters_and_multiply_adds_are_the_published(
    build: Callable[..., P3D], in_channels: int, parameters: int, gmac: float
) -> None:
    with torch.device("meta"):
        model = build(400, in_channels).eval()
        clip = torch.empty(1, in_channels, 16, 160, 160)
    assert sum(p.numel() for p in model.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        model(clip)
    assert round(counter.get_total_flops() / 2e9, 2) == gmac  # a multiply-add is two operations


def test_output_sizes_are_the_published() -> None:
    with torch.device("meta"):
        model = p3d199().eval()
        clip = torch.empty(1, 3, 16, 160, 160)
    before: dict[str, tuple[int, ...]] = {}
    after: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_children():

        def record(_: nn.Module, x: tuple[Tensor], y: Tensor, name: str = name) -> None:
            before[name], after[name] = tuple(x[0].shape[1:]), tuple(y.shape[1:])

        module.register_forward_hook(record)
    assert model(clip).shape == (1, 400)
    assert after["conv1"] == (64, 16, 80, 80)
    assert before["res2"] == (64, 8, 40, 40)
    assert after["res2"] == (256, 8, 40, 40)
    assert before["res3"] == (256, 4, 40, 40)
    assert after["res3"] == (512, 4, 20, 20)
    assert before["res4"] == (512, 2, 20, 20)
    assert after["res4"] == (1024, 2, 10, 10)
    assert before["res5"] == (1024, 1, 10, 10)
    assert after["res5"] == (2048, 1, 5, 5)
    assert before["dropout"] == (2048,)


@pytest.mark.parametrize(
    ("build", "counts"),
    [(p3d63, (5, 4, 4)), (p3d131, (10, 10, 10)), (p3d199, (16, 16, 15))],
)
def test_kinds_cycle_through_the_stages(
    build: Callable[..., P3D], counts: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        kinds = build().kinds()
    assert (kinds.count("A"), kinds.count("B"), kinds.count("C")) == counts
    assert kinds == ("ABC" * len(kinds))[: len(kinds)]


def test_a_cycle_does_not_start_over_at_a_stage() -> None:
    model = P3DResNet((2, 1, 2, 1), Bottleneck, "AC", 5, 3, width=8)
    stages = model.res2, model.res3, model.res4
    assert [block.kind.letter for stage in stages for block in stage] == list("ACACA")
    assert [block.kind for block in model.res5] == [FLAT]


@pytest.mark.parametrize("kind", "ABC")
def test_a_net_of_a_single_kind(kind: str) -> None:
    with torch.device("meta"):
        assert p3d63(blocks=(kind,)).kinds() == 13 * kind


@pytest.mark.parametrize("name", MODELS)
def test_named_models_take_the_same_arguments(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name](num_classes=7, in_channels=2, blocks=("C", "A"), dropout=0.25)
    assert model.kinds()[:3] == "CAC"
    assert (model.fc.out_features, model.dropout.p) == (7, 0.25)
    assert model.conv1.conv.weight.shape[1:] == (2, 1, 7, 7)


# Arithmetic


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("kind", "ABC")
@pytest.mark.parametrize(("channels", "stride"), [(32, 1), (24, 2)])
def test_block_equals_the_reference(kind: str, channels: int, stride: int, length: int) -> None:
    block = Bottleneck(channels, 8, stride, KINDS[kind]).eval()
    randomise(block)
    x = randn(2, channels, length, 9, 7)
    with torch.no_grad():
        expected = reference_block(block.state_dict(), "", kind, x, stride)
        assert relative_error(block(x), expected) < TOLERANCE


@pytest.mark.parametrize("blocks", ["ABC", "A", "B", "C"])
@pytest.mark.parametrize("shape", [(2, 3, 16, 64, 64), (1, 3, 37, 45, 67), (1, 2, 1, 32, 32)])
def test_whole_net_equals_the_reference(blocks: str, shape: tuple[int, ...]) -> None:
    depths = (2, 1, 2, 2)
    model = P3DResNet(depths, Bottleneck, blocks, 5, shape[1], width=8).eval()
    randomise(model)
    clip = randn(*shape)
    with torch.no_grad():
        expected = reference_features(model.state_dict(), depths, (blocks * 5)[:5], clip)
        assert relative_error(model.features(clip), expected) < TOLERANCE
        logits = expected @ model.fc.weight.T + model.fc.bias
        assert relative_error(model(clip), logits) < TOLERANCE


@pytest.mark.parametrize("kind", "BC")
def test_block_is_not_the_port_s(kind: str) -> None:
    """Fault 1: otherwise the comparison with the reference could not see it."""
    block = Bottleneck(32, 8, 1, KINDS[kind]).eval()
    randomise(block)
    x = randn(2, 32, 4, 9, 7)
    with torch.no_grad():
        assert relative_error(block(x), port_block(block.state_dict(), kind, x)) > 0.05


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


@pytest.mark.parametrize(
    ("kind", "s", "t", "expected"),
    [
        ("A", 1.0, -0.5, 0.0),
        ("A", 1.0, 0.5, 0.5),
        ("B", 1.0, -0.5, 0.5),  # the port: 1
        ("B", 1.0, -3.0, 0.0),
        ("B", -1.0, 0.5, 0.5),  # S has its own ReLU
        ("C", 1.0, -0.5, 0.25),  # the port: 1
        ("C", 1.0, 0.5, 0.75),  # the port: 1.5
        ("C", 1.0, -3.0, 0.0),
    ],
)
def test_middle_of_a_block_by_hand(kind: str, s: float, t: float, expected: float) -> None:
    block = Bottleneck(8, 2, 1, KINDS[kind])
    block.spatial, block.temporal = unit(Constant(s)), unit(Constant(t))
    y = block.middle(torch.ones(1, 2, 3, 4, 4))
    torch.testing.assert_close(y, torch.full_like(y, expected), rtol=0, atol=0)


def test_temporal_branch_of_b_starts_at_u_and_of_c_at_s() -> None:
    for kind, source in (("A", "s"), ("B", "u"), ("C", "s")):
        block = Bottleneck(8, 2, 1, KINDS[kind])
        seen: list[Tensor] = []
        block.temporal.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
        u = randn(1, 2, 3, 4, 4).relu()
        block.middle(u)
        expected = u if source == "u" else block.spatial(u).relu()
        torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("side", [32, 33, 35, 160])
def test_windows_of_pool1_start_at_the_first_pixel(side: int) -> None:
    """Fault 2: padding 0 and sizes rounded up, where the port pads by 1 and rounds down."""
    model = P3DResNet((1, 1, 1, 1), Bottleneck, "A", 2, 3, width=4).eval()
    before, after = {}, {}
    model.conv1.register_forward_hook(lambda _, x, y: before.update(y=y))
    model.res2.register_forward_pre_hook(lambda _, x: after.update(x=x[0]))
    with torch.no_grad():
        model(randn(1, 3, 5, side, side))
    y, pooled = before["y"], after["x"]
    size = math.ceil((y.shape[-1] - 3) / 2) + 1
    assert pooled.shape[2:] == (3, size, size)
    for t, i, j in [(0, 0, 0), (1, 2, 3), (2, size - 1, size - 1)]:
        window = y[:, :, 2 * t : 2 * t + 2, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        assert torch.equal(pooled[:, :, t, i, j], window.amax(dim=(2, 3, 4)))


def test_long_clips_run_res5_on_each_time_step() -> None:
    """Fault 3: the port mixes channels with time as soon as two steps are left."""
    model = P3DResNet((1, 1, 1, 1), Bottleneck, "ABC", 2, 3, width=8).eval()
    randomise(model)
    seen: list[Tensor] = []
    model.res5.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    with torch.no_grad():
        features = model.features(randn(2, 3, 33, 48, 48))
        steps = [model.res5(seen[0][:, :, t : t + 1]).mean(dim=(2, 3, 4)) for t in range(3)]
    assert seen[0].shape[2] == 3
    assert relative_error(steps[0], steps[1]) > 0.05
    assert relative_error(features, torch.stack(steps).mean(0)) < TOLERANCE


@pytest.mark.parametrize("frames", [1, 2, 7, 16, 32, 64])
@pytest.mark.parametrize("side", [(32, 32), (112, 112), (160, 160), (224, 224), (113, 97), (3, 3)])
def test_any_length_and_size_gives_a_row_a_clip(frames: int, side: tuple[int, int]) -> None:
    """Fault 4: the port gives 9 rows a clip at 224 and fails at 112."""
    torch.manual_seed(0)
    model = P3DResNet((1, 1, 1, 1), Bottleneck, "ABC", 5, 2, width=2).eval()
    with torch.no_grad():
        clip = randn(2, 2, frames, *side)
        logits, features = model(clip), model.features(clip)
        alone = model(clip[1:])
    assert logits.shape == (2, 5)
    assert features.shape == (2, 64)
    assert logits.isfinite().all()
    assert relative_error(alone, logits[1:]) < TOLERANCE


def test_the_order_of_frames_matters() -> None:
    model = P3DResNet((1, 1, 1, 1), Bottleneck, "ABC", 5, 3, width=8).eval()
    randomise(model)
    clip = randn(1, 3, 16, 48, 48)
    with torch.no_grad():
        assert relative_error(model.features(clip.flip(2)), model.features(clip)) > 0.05


# The identity start


@pytest.mark.parametrize("kind", "ABC")
def test_identity_start_makes_a_block_2d(kind: str) -> None:
    model = P3DResNet((1, 1, 1, 1), Bottleneck, (kind,), 5, 3, width=8).eval()
    randomise(model)
    start_temporal(model, "identity")
    state, x = model.state_dict(), randn(2, 8, 4, 9, 9)
    with torch.no_grad():
        expected = reference_block(state, "res2.0.", "2D", x, 1)
        assert relative_error(model.res2(x), expected) < TOLERANCE


# What is refused


@pytest.mark.parametrize(
    "shape", [(3, 16, 32, 32), (1, 2, 16, 32, 32), (1, 3, 0, 32, 32), (1, 3, 4, 2, 32)]
)
def test_a_clip_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"give \(N, 3, T, H, W\)"):
        p3d_small(2, 3)(torch.zeros(shape))


@pytest.mark.parametrize("blocks", [(), ("A", "D"), ("a",)])
def test_unknown_blocks_are_refused(blocks: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="give a cycle of A, B and C"):
        p3d_small(2, 3, blocks=blocks)


def test_an_unknown_temporal_start_is_refused() -> None:
    with pytest.raises(InputError, match="give identity or gaussian"):
        start_temporal(p3d_small(2, 3), "zero")  # type: ignore[arg-type]


def test_a_state_of_other_kinds_of_blocks_is_refused() -> None:
    """Their names and shapes are the same; what they compute is not."""
    model = p3d_small(2, 3)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="its blocks are BBB, the model's ABC"):
        model.load_state_dict(p3d_small(2, 3, blocks=("B",)).state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
