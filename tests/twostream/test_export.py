"""Round trip: an exported network, read by other programs, answers as the network; refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import twostream.export
from flow.errors import InputError
from flow.store import StoreFile, store_path
from training_runs import train_command
from twostream.__main__ import main
from twostream.commands.export import Export
from twostream.data.transforms import BGR_MEAN
from twostream.export import StoredValues, export
from twostream.models import MODELS
from twostream.models.input import IMAGENET_RGB
from twostream.runs import Checkpoint

# The exporters, and ONNX Runtime, use parts of PyTorch and NumPy that these call outdated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both streams, trained for one step."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    small = ["--steps", "1", "--batch", "4", "--clip-length", "4", "--crop", "48", "48"]
    assert main(train_command(demo_data, folder, *small)) == 0
    return folder


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_other_programs_get_the_same_logits(run: Path, demo_data: Path, stream: str) -> None:
    """From the stored images themselves, through nothing of this package but the store."""
    checkpoint = Checkpoint.load(run / stream / "checkpoint.pt")
    video = checkpoint.run.data.annotations("test")[0].test[0]
    with StoreFile(store_path(demo_data / "store", video.id)) as file:
        images = file.frames(range(4)) if stream == "rgb" else file.flow_images(range(4))
    values = images.transpose(3, 0, 1, 2)[None, :, :, 8:56, 8:56].astype(np.float32)
    network = checkpoint.run.build(len(checkpoint.classes)).eval()
    network.load_state_dict(checkpoint.model)
    zero = np.float32(128) if stream == "flow" else np.float32(BGR_MEAN).reshape(-1, 1, 1, 1)
    own = torch.from_numpy((values[:, ::-1] if stream == "rgb" else values.clip(1)) - zero)
    with torch.no_grad():
        expected = network(network.input.of_p3d(own)).numpy()

    onnx = run / f"{stream}.onnx"
    exported = export(run / stream / "checkpoint.pt", onnx)
    assert (exported.shape, exported.video_id) == ((values.shape[1], 4, 48, 48), video.id)
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx)
    two = np.concatenate([values, values])
    logits = session.run(None, {"values": two})[0]
    np.testing.assert_allclose(logits, np.repeat(expected, 2, axis=0), rtol=1e-4, atol=1e-5)
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta["classes"]) == list(checkpoint.classes)
    assert meta["stream"] == stream

    pt2 = run / f"{stream}.pt2"
    export(run / stream / "checkpoint.pt", pt2)
    files = {"meta.json": ""}
    program = torch.export.load(pt2, extra_files=files)
    logits = program.module()(torch.from_numpy(two)).numpy()
    np.testing.assert_allclose(logits, np.repeat(expected, 2, axis=0), rtol=1e-4, atol=1e-5)
    assert json.loads(files["meta.json"]) == meta


@torch.no_grad()
def test_values_of_a_network_that_takes_other_input() -> None:
    torch.manual_seed(0)
    network = MODELS["p3d_small"](3, 3).eval()
    network.input = IMAGENET_RGB
    rgb = torch.randint(0, 256, (1, 3, 2, 32, 32)).float()
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1, 1)
    expected = network((rgb / 255 - mean) / deviation)
    torch.testing.assert_close(StoredValues(network)(rgb), expected, rtol=1e-4, atol=1e-5)


def test_an_export_that_answers_otherwise_is_not_left_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: Any, clips: Any, path: Path, meta: Any) -> Any:
        path.write_bytes(b"x")
        return lambda: lambda batch: 1.01 * model(batch)

    monkeypatch.setitem(twostream.export.WRITERS, ".pt2", wrong)
    out = tmp_path / "model.pt2"
    with pytest.raises(InputError, match="differs from the network by 1"):
        export(run / "rgb" / "checkpoint.pt", out)
    assert list(tmp_path.iterdir()) == []


def test_refusals(run: Path, tmp_path: Path) -> None:
    checkpoint = run / "rgb" / "checkpoint.pt"
    with pytest.raises(InputError, match=r"neither in \.onnx nor in \.pt2"):
        export(checkpoint, tmp_path / "model.pb")
    with pytest.raises(InputError, match="is not there"):
        export(tmp_path / "none.pt", tmp_path / "model.onnx")
    with pytest.raises(InputError, match="is no folder"):
        Export(checkpoint, tmp_path / "model.onnx", store=tmp_path / "none")()
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "model.pb")]) == 2
