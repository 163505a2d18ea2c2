"""Identity: what was prepared for inference answers as the model. Known answer, refusals."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.errors import InputError
from twostream.models import MODELS, P3D
from twostream.models.inference import OneDNN, folded, for_inference, has_bfloat16
from twostream.models.layers import BatchNorm, ConvBN, relu, still

# The noise of float32 is 2e-6 at most over the family and these clips.
TOLERANCE = 1e-5
SMALL: dict[str, dict[str, Any]] = {
    "p3d63": {},
    "p3d_resnet18": {"width_factor": 0.5},
    "p3d_resnext50": {},
    "p3d_seresnet50": {},
    "p3d_densenet121": {},
}


def build(name: str, in_channels: int = 3) -> P3D:
    """With BatchNorms that do something, in another way for each channel."""
    torch.manual_seed(0)
    model = MODELS[name](7, in_channels, **SMALL.get(name, {})).eval()
    for module in model.modules():
        if isinstance(module, BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.1, 0.1),
            ):
                assert tensor is not None
                tensor.uniform_(low, high)
    return model


def clips(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 50


def error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(2, 9, 61, 67), (11, 1, 32, 40)], ids=str)
@torch.no_grad()
def test_it_answers_as_the_model(name: str, shape: tuple[int, int, int, int]) -> None:
    model, clip = build(name), clips(shape[0], 3, *shape[1:])
    fast = for_inference(model, precision="fp32")
    assert error(fast(clip), model(clip)) < TOLERANCE
    assert error(fast.features(clip), model.features(clip)) < TOLERANCE


@pytest.mark.parametrize("name", ["p3d63", "p3d_seresnet50"])
@torch.no_grad()
def test_wherever_the_stride_stands(name: str) -> None:
    model, clip = build(name, in_channels=2), clips(1, 2, 6, 48, 48)
    answers = []
    for in_1x1 in (True, False):
        model.place_stride(in_1x1)
        answers.append(model(clip))
        assert error(for_inference(model, precision="fp32")(clip), answers[-1]) < TOLERANCE
    assert error(*answers) > 0.01


@torch.no_grad()
def test_the_model_stays_as_it_is() -> None:
    model = build("p3d63")
    state = copy.deepcopy(model.state_dict())
    fast = for_inference(model)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert fast.network.form() == model.form()
    assert fast.input == model.input
    assert not any(isinstance(module, (ConvBN, BatchNorm)) for module in fast.modules())


@torch.no_grad()
def test_a_frozen_model_and_one_in_training_mode() -> None:
    model, clip = build("p3d63"), clips(1, 3, 4, 32, 32)
    expected = model(clip)
    model.freeze_batchnorm()
    assert error(for_inference(model.train(), precision="fp32")(clip), expected) < TOLERANCE
    assert model.training


@torch.no_grad()
def test_clips_of_other_shapes_and_counts_in_turn() -> None:
    model = build("p3d_resnet18")
    fast = for_inference(model, precision="fp32")
    for shape in [(1, 3, 8, 40, 40), (4, 3, 8, 40, 40), (1, 3, 5, 33, 47), (1, 3, 8, 40, 40)]:
        clip = clips(*shape)
        assert error(fast(clip), model(clip)) < TOLERANCE
    assert fast(clips(0, 3, 8, 40, 40)).shape == (0, 7)


@torch.no_grad()
def test_bfloat16_is_near() -> None:
    """Its 8 bits of mantissa err by 0.4 % in each of some twenty layers."""
    model, clip = build("p3d_resnet18"), clips(1, 3, 4, 32, 32)
    answer = for_inference(model, precision="bf16")(clip)
    assert answer.dtype == torch.float32
    assert 1e-5 < error(answer, model(clip)) < 0.03


@torch.no_grad()
def test_auto_takes_bfloat16_where_the_processor_has_it() -> None:
    expected = torch.bfloat16 if has_bfloat16(torch.device("cpu")) else torch.float32
    assert for_inference(build("p3d_resnet18")).dtype == expected


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own modules
@torch.no_grad()
def test_compiled_it_answers_the_same() -> None:
    torch.manual_seed(0)
    model, clip = MODELS["p3d_small"](7, 3).eval(), clips(1, 3, 4, 32, 32)
    fast = for_inference(model, precision="fp32", compile=True)
    assert error(fast(clip), model(clip)) < TOLERANCE


@torch.no_grad()
def test_folded_alone_needs_no_onednn() -> None:
    model, clip = build("p3d63"), clips(1, 3, 4, 32, 32)
    assert error(folded(model)(clip), model(clip)) < TOLERANCE


@pytest.mark.parametrize("act", [still, relu, torch.tanh])
@pytest.mark.parametrize("groups", [1, 4])
@torch.no_grad()
def test_one_call_of_onednn_is_convolution_sum_and_activation(act: Any, groups: int) -> None:
    x = clips(2, 8, 9, 11).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(8, 12, 3, 2, 1, groups=groups)
    arguments = conv.bias, (2, 2), (1, 1), groups
    expected = F.conv2d(x, conv.weight, conv.bias, 2, 1, groups=groups)
    plus = clips(*expected.shape).contiguous(memory_format=torch.channels_last)
    alone = OneDNN()(x, conv.weight, *arguments, act, None)
    assert error(alone, act(expected.clone())) < TOLERANCE
    total = expected + plus
    summed = OneDNN()(x, conv.weight, *arguments, act, plus)  # which overwrites it
    assert error(summed, act(total)) < TOLERANCE


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="fp8"):
        for_inference(build("p3d_resnet18"), precision="fp8")  # type: ignore[arg-type]
