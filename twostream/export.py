"""A trained network as one file for other programs: ONNX, or torch.export's own.

Convention: what is exported takes float32 (N, C, T, H, W) with values 0 to 255: RGB in that order,
or codes of flow, x then y; N is free, T, H and W are those of the experiment. It gives logits
float32 (N, classes). Channel order, means and scales are inside.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import InputError
from flow.files import atomic
from twostream.data.transforms import BGR_MEAN, FLOW_ZERO
from twostream.feeding import protocol_clips
from twostream.models import P3D
from twostream.models.inference import folded
from twostream.protocols import own
from twostream.runs import Checkpoint, Data

# Of the largest logit: float32 summed in another order errs by 2e-6 at most over the family.
TOLERANCE = 1e-4
CHECKED_CLIPS = 3
Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked.

    Attributes:
        path: The file.
        shape: C, T, H and W of the clips that it takes.
        video_id: Whose clips were passed through it and through the network.
        error: The largest difference of a logit over the largest logit.
    """

    path: Path
    shape: tuple[int, int, int, int]
    video_id: str
    error: float


class StoredValues(nn.Module):
    """A network that takes values as they are stored, 0 to 255: (N, C, T, H, W) -> logits."""

    mean: Tensor

    def __init__(self, network: P3D) -> None:
        super().__init__()
        self.network = network
        mean = BGR_MEAN if network.in_channels == 3 else (FLOW_ZERO, FLOW_ZERO)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1, 1))

    def forward(self, values: Tensor) -> Tensor:
        # The lowest code of flow is 1; JPEG may turn it into 0.
        values = values.flip(1) if self.network.in_channels == 3 else values.clamp(min=1)
        logits: Tensor = self.network(self.network.input.of_p3d(values - self.mean))
        return logits


def export(checkpoint_path: Path, out: Path, data: Data | None = None) -> Exported:
    """Write a checkpoint's network as ``out``, and hold the file against it on real clips.

    Args:
        checkpoint_path: What ``train`` wrote.
        out: The suffix .onnx or .pt2 (torch.export) tells the format.
        data: Whose first test video checks the file; the checkpoint's own where not given.

    Raises:
        InputError: Another suffix, packages that are missing, no video to check with, or a file
            that answers otherwise than the network; it is not left behind.
    """
    if out.suffix not in WRITERS:
        raise InputError(f"{out} ends neither in .onnx nor in .pt2; give one of them.")
    checkpoint = Checkpoint.load(checkpoint_path)
    run = checkpoint.run
    network = run.build(len(checkpoint.classes))
    network.load_state_dict(checkpoint.model)
    plain = StoredValues(network).eval()
    video_id, clips = _stored_clips(checkpoint, data or run.data)
    meta = {
        "classes": json.dumps(checkpoint.classes),
        "stream": run.stream,
        "values": "RGB, 0 to 255" if run.stream == "rgb" else "codes of flow, x then y, 0 to 255",
        "flow_encoding": "" if run.stream == "rgb" else "symmetric",
    }
    with atomic(out) as file, torch.no_grad(), _without_notices():
        partial = Path(file.name)
        load = WRITERS[out.suffix](StoredValues(folded(network)).eval(), clips, partial, meta)
        error = _difference(plain, load, clips)
        if not error <= TOLERANCE:
            raise InputError(
                f"The export of {checkpoint_path} differs from the network by {error:.1e} of the "
                f"largest logit on {video_id}; give the other format, and report the versions."
            )
    _, channels, frames, height, width = clips.shape
    return Exported(out, (channels, frames, height, width), video_id, error)


def _difference(plain: Model, load: Callable[[], Model], clips: Tensor) -> float:
    """The largest over one clip alone and all together, as the number of clips is free."""
    exported = load()
    differences = []
    for batch in (clips[:1], clips):
        expected = plain(batch)
        difference = (exported(batch) - expected).abs().max() / expected.abs().max()
        differences.append(float(difference))
    return max(differences)


def _stored_clips(checkpoint: Checkpoint, data: Data) -> tuple[str, Tensor]:
    """Clips of the first test video, as they are stored: (CHECKED_CLIPS, C, T, H, W)."""
    run = checkpoint.run
    video = data.annotations("test")[0].test[0]
    protocol = replace(own(run.experiment), clips=CHECKED_CLIPS)
    clips, _, _ = protocol_clips(data.store, (video,), run.stream, protocol)[0]
    if run.stream == "flow":
        return video.id, clips + FLOW_ZERO
    return video.id, (clips + torch.tensor(BGR_MEAN).reshape(-1, 1, 1, 1)).flip(1).contiguous()


def _write_onnx(
    model: nn.Module, clips: Tensor, path: Path, meta: dict[str, str]
) -> Callable[[], Model]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as problem:
        raise InputError(
            f"ONNX needs the package {problem.name}; install it with: pip install '.[onnx]'"
        ) from None
    program = torch.onnx.export(
        model,
        (clips,),
        input_names=["values"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("clips")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    made = program.model_proto
    onnx.helper.set_model_props(made, meta)
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString())

    def load() -> Model:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda batch: torch.from_numpy(session.run(None, {"values": batch.numpy()})[0])

    return load


def _write_pt2(
    model: nn.Module, clips: Tensor, path: Path, meta: dict[str, str]
) -> Callable[[], Model]:
    program = torch.export.export(
        model, (clips,), dynamic_shapes=({0: torch.export.Dim("clips")},), strict=False
    )
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"meta.json": json.dumps(meta)})

    def load() -> Model:
        with path.open("rb") as file:
            module: Any = torch.export.load(file).module()
        return lambda batch: torch.as_tensor(module(batch))

    return load


@contextmanager
def _without_notices() -> Iterator[None]:
    """The exporters warn of their own insides, and of packages that are not needed here."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


WRITERS = {".onnx": _write_onnx, ".pt2": _write_pt2}
