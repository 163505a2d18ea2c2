"""Weights of our own, and files that are none: round trip, refusals that change nothing."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flow.errors import InputError
from network_states import State, published_state, resnet_state, states_equal
from twostream.models import load_weights, p3d_small
from twostream.models.input import P3D_FLOW


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
