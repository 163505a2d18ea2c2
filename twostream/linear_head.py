"""The last layer that suits a network as it is: linear probing, before all of it is fine-tuned.

Kumar, Raghunathan, Jones, Ma, Liang, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution" (ICLR 2022, arXiv:2202.10054): a last layer that starts at random spoils what
was pretrained in the first steps; on few videos nothing brings that back.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from twostream.data.annotations import Video
from twostream.data.transforms import mirrored
from twostream.feeding import packed_loader, protocol_clips, read_parts
from twostream.models import P3D
from twostream.models.inference import for_inference
from twostream.protocols import own
from twostream.runs import Run

# Of standardised features, on three sets of 60 to 300 videos: 0.001 to 0.1 do about as well.
INVERSE_PENALTY = 0.01
LEAST_DEVIATION = 1e-3  # of a feature that hardly varies
ITERATIONS = 500


def fit_last_layer(
    model: P3D, run: Run, videos: tuple[Video, ...], workers: int, device: torch.device
) -> str:
    """Give ``model`` the last layer that separates the videos' classes best by its features.

    Multinomial logistic regression on the standardised pool5 of the clips that testing would take,
    and of their mirror images where the experiment mirrors.

    Args:
        model: Changed in place; its features stay.
        run: Tells the stream, the store and the clips.
        videos: To train on.
        workers: Processes that read clips.
        device: Where the features are computed.

    Returns:
        What was done, in words.
    """
    features, labels = _features(model, run, videos, workers, device)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + LEAST_DEVIATION
    found = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    found.fit((features - mean) / deviation, labels)
    weight, bias = _of_every_class(found, model.fc.out_features)
    weight = weight / deviation
    with torch.no_grad():
        model.fc.weight.copy_(torch.from_numpy(weight))
        model.fc.bias.copy_(torch.from_numpy(bias - weight @ mean))
    right = found.score((features - mean) / deviation, labels)
    return f"last layer: fitted to the features of {len(labels):,} clips, {right:.1%} of them right"


def _features(
    model: P3D, run: Run, videos: tuple[Video, ...], workers: int, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """pool5 (clips, features) and label of all clips and their mirror images."""
    experiment = run.experiment
    clips = protocol_clips(run.data.store, videos, run.stream, own(experiment))
    fast = for_inference(model, device, precision=experiment.precision)
    features, labels = [], []
    for part in read_parts(packed_loader(clips, experiment.clips_at_once, workers)):
        plain = part.clips.to(device)
        for side in (plain, mirrored(plain, run.stream)) if experiment.mirror else (plain,):
            features.append(fast.features(fast.input.of_p3d(side)).cpu())
            labels.append(part.labels)
    return torch.cat(features).double().numpy(), torch.cat(labels).numpy()


def _of_every_class(
    found: LogisticRegression, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (classes, features) and biases, very low for classes without a video."""
    weight = np.zeros((classes, found.coef_.shape[1]))
    bias = np.full(classes, found.intercept_.min() - 10.0)
    if len(found.classes_) == 2:  # one row for the second class against the first
        weight[found.classes_] = np.concatenate([-found.coef_, found.coef_]) / 2
        bias[found.classes_] = np.concatenate([-found.intercept_, found.intercept_]) / 2
    else:
        weight[found.classes_], bias[found.classes_] = found.coef_, found.intercept_
    return weight, bias
