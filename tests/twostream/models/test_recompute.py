"""Identity: with activation checkpointing the same loss, gradients and statistics; less is kept."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from twostream.models import MODELS, P3D

MODEL_NAMES = ["p3d63", "p3d_densenet121"]


def step(model: P3D, clip: Tensor) -> tuple[Tensor, int]:
    """A loss with its gradients, and the bytes of activations that were kept for them."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = F.cross_entropy(model(clip), torch.tensor([1, 0]))
        held = sum(kept.values())
    loss.backward()
    return loss.detach(), held


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("freeze", [False, True])
def test_same_step_with_less_memory(name: str, freeze: bool) -> None:
    torch.manual_seed(0)
    plain = MODELS[name](3, 2).train()
    if freeze:
        plain.freeze_batchnorm()
    thrifty = copy.deepcopy(plain)
    thrifty.checkpoint_activations = True
    clip = torch.randn(2, 2, 4, 48, 48)
    loss, kept = step(plain, clip)
    other_loss, other_kept = step(thrifty, clip)
    assert torch.equal(loss, other_loss)
    for (parameter_name, ours), theirs in zip(
        thrifty.named_parameters(), plain.parameters(), strict=True
    ):
        assert (ours.grad is None) == (theirs.grad is None), parameter_name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)
    state = plain.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in thrifty.state_dict().items())
    assert other_kept < 0.6 * kept  # the rest is that of the stem


def test_without_gradients_nothing_is_kept_anyway() -> None:
    torch.manual_seed(0)
    model = MODELS["p3d63"](3, 2).eval()
    clip = torch.randn(1, 2, 4, 48, 48)
    with torch.no_grad():
        expected = model(clip)
        model.checkpoint_activations = True
        assert torch.equal(model(clip), expected)
