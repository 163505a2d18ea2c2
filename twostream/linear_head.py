"""The last layer that suits a network as it is: linear probing, before all of it is fine-tuned.

Kumar, Raghunathan, Jones, Ma, Liang, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution" (ICLR 2022, arXiv:2202.10054): a last layer that starts at random spoils what
was pretrained in the first steps; on few videos nothing brings that back.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from flow.progress import progress_bar
from twostream.data.annotations import Video
from twostream.data.transforms import mirrored
from twostream.distributed import World
from twostream.feeding import by_video, packed_loader, protocol_clips, read_parts
from twostream.models import P3D
from twostream.models.inference import for_inference
from twostream.protocols import own
from twostream.runs import Run

# Of standardised features, on three sets of 60 to 300 videos: 0.001 to 0.1 do about as well.
INVERSE_PENALTY = 0.01
LEAST_DEVIATION = 1e-3  # of a feature that hardly varies
ITERATIONS = 500

Known = dict[tuple[str, ...], NDArray[np.float32]]
"""pool5 (clips, features) of videos, by all in which the runs of one command differ."""


def fit_last_layer(
    model: P3D,
    run: Run,
    videos: tuple[Video, ...],
    workers: int,
    world: World,
    known: Known | None = None,
) -> str:
    """Give ``model`` the last layer that separates the videos' classes best by its features.

    Multinomial logistic regression on the standardised pool5 of the clips that testing would take,
    and of their mirror images where the experiment mirrors.

    Args:
        model: Changed in place; its features stay.
        run: Tells the stream, the store and the clips.
        videos: To train on.
        workers: Processes that read clips.
        world: Where the features are computed, and who shows how far that is.
        known: Features that an earlier split found, which this one need not; it adds its own.

    Returns:
        What was done, in words.
    """
    found = _features(model, run, videos, workers, world, {} if known is None else known)
    labels = np.repeat([video.label for video in videos], [len(each) for each in found])
    features = np.concatenate(found).astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + LEAST_DEVIATION
    layer = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    layer.fit((features - mean) / deviation, labels)
    weight, bias = _of_every_class(layer, model.fc.out_features)
    weight = weight / deviation
    with torch.no_grad():
        model.fc.weight.copy_(torch.from_numpy(weight))
        model.fc.bias.copy_(torch.from_numpy(bias - weight @ mean))
    right = layer.score((features - mean) / deviation, labels)
    return f"last layer: fitted to the features of {len(labels):,} clips, {right:.1%} of them right"


def _features(
    model: P3D,
    run: Run,
    videos: tuple[Video, ...],
    workers: int,
    world: World,
    known: Known,
) -> list[NDArray[np.float32]]:
    """pool5 of all clips of each video, and behind them of their mirror images."""
    experiment = run.experiment
    protocol = own(experiment)
    depends = (_digest(model), str(run.data.store), run.stream, str(protocol), experiment.mirror)
    keys = [(*map(str, depends), video.id) for video in videos]
    new = [place for place, key in enumerate(keys) if key not in known]
    if new:
        clips = protocol_clips(run.data.store, videos, run.stream, protocol)
        fast = for_inference(model, world.device, precision=experiment.precision)

        def both_sides(given: torch.Tensor) -> torch.Tensor:
            plain = given.to(world.device)
            sides = (plain, mirrored(plain, run.stream)) if experiment.mirror else (plain,)
            return torch.stack([fast.features(fast.input.of_p3d(side)) for side in sides], 1).cpu()

        loader = packed_loader(clips, experiment.clips_at_once, workers, places=new)
        with progress_bar(len(new), " videos", shown=world.main) as bar:
            for place, features in by_video(read_parts(loader), both_sides):
                known[keys[place]] = features.transpose(0, 1).flatten(0, 1).numpy()
                bar.update()
    return [known[key] for key in keys]


def _digest(model: P3D) -> str:
    """Of all that the features depend on."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if not name.startswith("fc."):
            digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _of_every_class(
    layer: LogisticRegression, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (classes, features) and biases, very low for classes without a video."""
    weight = np.zeros((classes, layer.coef_.shape[1]))
    bias = np.full(classes, layer.intercept_.min() - 10.0)
    if len(layer.classes_) == 2:  # one row for the second class against the first
        weight[layer.classes_] = np.concatenate([-layer.coef_, layer.coef_]) / 2
        bias[layer.classes_] = np.concatenate([-layer.intercept_, layer.intercept_]) / 2
    else:
        weight[layer.classes_], bias[layer.classes_] = layer.coef_, layer.intercept_
    return weight, bias
