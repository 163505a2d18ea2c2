"""Where a training starts from: weights of a file or of another run, and the temporal kernels."""

from dataclasses import dataclass
from pathlib import Path

import torch

from flow.errors import InputError
from twostream.checkpoints import to_test
from twostream.data.annotations import Annotations, Video
from twostream.models import P3D, load_weights, start_temporal
from twostream.runs import Checkpoint, Run, split_folder
from twostream.streams import Stream


@dataclass(frozen=True)
class Start:
    """What a network began with.

    Attributes:
        notes: What was loaded and what was not, in words; none from scratch.
        seen: Ids of the videos of this data set that the weights were trained on.
    """

    notes: str = ""
    seen: frozenset[str] = frozenset()


def initialise(
    model: P3D, run: Run, annotations: Annotations, validation: tuple[Video, ...] = ()
) -> Start:
    """Give ``model`` the weights and the temporal kernels that the experiment starts from.

    Kernels of a network that was trained on clips stay; those inflated from 2D, and those of a run
    on single frames, which has held them still, start as the experiment says.

    Args:
        model: Changed in place.
        run: Tells the experiment and the stream.
        annotations: The classes, and the videos to test on.
        validation: Videos to validate on.

    Raises:
        InputError: Weights that do not fit, that were trained on a test video, or that are missing
            where the BatchNorms are frozen.
    """
    experiment = run.experiment
    if experiment.weights is None:
        if experiment.freeze_batchnorm:
            raise InputError(
                "A network with frozen BatchNorms cannot learn from scratch; "
                "give --weights, or --no-freeze-batchnorm."
            )
        start_temporal(model, experiment.temporal_start)
        return Start()
    path = weights_file(experiment.weights, run.data.split, run.stream)
    own_head = {name: value.clone() for name, value in model.fc.state_dict().items()}
    report = load_weights(model, path, lineage=experiment.lineage)
    before = checkpoint_of_run(path) if report.source == "checkpoint" else None
    notes = [str(report)]
    if report.inflated or (before and before.run.experiment.clip_length == 1):
        start_temporal(model, experiment.temporal_start)
        notes.append(f"temporal kernels: {experiment.temporal_start}")
    if before is None:
        return Start("\n  ".join(notes))
    if before.classes != annotations.classes and not report.head_replaced:
        model.fc.load_state_dict(own_head)
        notes.append("last layer: new, for other classes of the same number")
    seen = _seen(before, annotations, path)
    learned = seen - set(before.held_out)
    if both := learned & {video.id for video in validation}:
        notes.append(f"{len(both)} validation videos were trained on before, and will flatter")
    return Start("\n  ".join(notes), seen)


def weights_file(weights: Path, split: str, stream: Stream) -> Path:
    """The file to load: ``weights``, or where that is a run's folder, this split's and stream's.

    Raises:
        InputError: A folder that holds no such checkpoint.
    """
    if not weights.is_dir():
        return weights
    for folder in (weights / split_folder(split) / stream, weights / stream, weights):
        if (path := to_test(folder)).is_file():
            return path
    raise InputError(
        f"{weights} holds no {stream}/checkpoint.pt to start from; "
        "give a file of weights or the folder of a run."
    )


def checkpoint_of_run(path: Path) -> Checkpoint | None:
    """The checkpoint that one of our runs wrote; None where a file holds weights alone.

    Args:
        path: A file that ``load_weights`` took.
    """
    if path.suffix == ".safetensors":
        return None
    content = torch.load(path, map_location="cpu", weights_only=True)
    return Checkpoint.load(path) if "run" in content else None


def _seen(before: Checkpoint, annotations: Annotations, path: Path) -> frozenset[str]:
    """The videos of this data set that a checkpoint was trained on, none of which may be tested."""
    if before.dataset != annotations.name:
        return frozenset()
    seen = frozenset(before.trained_on)
    if tested := sorted(seen & {video.id for video in annotations.test}):
        raise InputError(
            f"{path} was trained on {len(tested)} of the test videos, {tested[0]!r} first; "
            f"start from weights of split {annotations.split}."
        )
    return seen
