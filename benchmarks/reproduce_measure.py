"""What rows are measured by: sizes and speeds of networks, accuracies of scores."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from p3d_speed import multiply_adds
from plain_p3d import plain
from reproduce_plan import SPLITS
from reproduce_published import Row
from reproduce_verdict import Measured

from twostream.data.annotations import load
from twostream.evaluation import evaluate
from twostream.models import p3d63, p3d199
from twostream.models.layers import FLAT, Kind
from twostream.models.network import P3D
from twostream.models.p3d import Bottleneck, P3DResNet
from twostream.scores import Scores
from twostream.statistics import bootstrap_mean

UCF101_CLASSES = 101
KINETICS_CLASSES = 400
CLIP = (3, 16, 160, 160)
FRAME = (3, 1, 224, 224)
ROUNDS = 15
RESAMPLES = 10_000
TOP = {"top1": 1, "top5": 5}
OWN_LISTS = {"kinetics400": ("csv", "all")}  # data set and split, where users list the videos


def resnet50(classes: int = UCF101_CLASSES) -> P3DResNet:
    """The 2D ResNet-50 that P3D-63 is made of (He et al., CVPR 2016), on every frame."""

    def block(in_channels: int, width: int, stride: int, _: Kind) -> Bottleneck:
        return Bottleneck(in_channels, width, stride, FLAT)

    return P3DResNet((3, 4, 6, 3), block, "A", classes, 3)


NETWORKS: dict[str, tuple[Callable[[], P3D], tuple[int, ...]]] = {
    "ResNet-50": (resnet50, FRAME),
    "P3D-A": (partial(p3d63, UCF101_CLASSES, blocks="A"), CLIP),
    "P3D-B": (partial(p3d63, UCF101_CLASSES, blocks="B"), CLIP),
    "P3D-C": (partial(p3d63, UCF101_CLASSES, blocks="C"), CLIP),
    "P3D mixed": (partial(p3d63, UCF101_CLASSES), CLIP),
    "P3D-199 RGB": (partial(p3d199, KINETICS_CLASSES, 3), CLIP),
    "P3D-199 flow": (partial(p3d199, KINETICS_CLASSES, 2), (2, *CLIP[1:])),
}


def of_network(row: Row, seconds: Mapping[str, Sequence[float]]) -> Measured:
    """A metric of a network; ``seconds`` are those of `time_networks`, for speeds alone."""
    make, shape = NETWORKS[row.network]
    if row.metric == "parameters":
        return Measured(sum(parameter.numel() for parameter in make().parameters()))
    if row.metric == "gmac":
        return Measured(multiply_adds(make(), shape))
    if row.metric == "size":
        less = mebibytes(NETWORKS[row.over][0]()) if row.over else 0.0
        return Measured(mebibytes(make()) - less)
    return ratio(seconds[row.over], seconds[row.network])


def mebibytes(model: P3D) -> float:
    """Of float32 parameters and BatchNorm statistics, as a file of weights holds them."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() for tensor in tensors if tensor.is_floating_point()) * 4 / 2**20


def time_networks(names: Sequence[str], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of one clip, or frame, through each network, in turn, after one turn that warms up.

    In plain PyTorch, layer by layer, as the published speeds were measured in Caffe.
    """
    torch.manual_seed(0)
    inputs = {name: torch.randn(1, *NETWORKS[name][1]) for name in names}
    models = {name: plain(NETWORKS[name][0]()).eval() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name in names:
                start = time.perf_counter()
                models[name](inputs[name])
                if turn:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(over: Sequence[float], own: Sequence[float]) -> Measured:
    """The median of ``over`` / ``own`` round by round, and its interval by the bootstrap."""
    ratios = np.asarray(over) / np.asarray(own)
    draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    of = f"{len(ratios)} rounds, {torch.get_num_threads()} threads"  # the ratios depend on these
    return Measured(float(np.median(ratios)), (float(low), float(high)), noisy=True, of=of)


def of_results(row: Row, results: Sequence[Path], lists: Path, part: bool) -> Measured:
    """An accuracy in percent, averaged over results; the interval is over groups of test videos.

    Args:
        row: Tells the metric and the data set.
        results: Score files, one a split.
        lists: The folder of the official lists, or the CSV file.
        part: Not all listed videos need be there.
    """
    splits = SPLITS if len(results) > 1 else (row.split,)
    pairs = zip(results, splits, strict=True)
    answers = [_of_scores(row, path, split, lists, part) for path, split in pairs]
    value = float(np.mean([right.mean() for right, _ in answers]))
    # Each split weighs the same, whatever its size.
    videos = sum(len(right) for right, _ in answers)
    scaled = [right * videos / (len(answers) * len(right)) for right, _ in answers]
    groups = np.concatenate([group for _, group in answers])
    interval = None
    if len(set(groups)) > 1:
        low, high = bootstrap_mean(np.concatenate(scaled), groups, RESAMPLES)
        interval = (100 * low, 100 * high)
    return Measured(100 * value, interval, of=f"{len(set(groups)):,} groups of {videos:,} videos")


Answers = tuple[NDArray[np.float64], NDArray[np.str_]]


def _of_scores(row: Row, path: Path, split: str, lists: Path, part: bool) -> Answers:
    scores = Scores.load(path)
    dataset, split = OWN_LISTS.get(row.dataset, (row.dataset, split))
    annotations = load(dataset, lists, split)
    if not part:
        evaluate(scores, annotations)  # refuses what does not belong together
    listed = {video.id: video for video in annotations.test}
    videos = [listed[video] for video in scores.video_ids]
    place = {name: index for index, name in enumerate(scores.classes)}  # a part may lack classes
    labels = np.array([place[annotations.classes[video.label]] for video in videos])
    right = answered(row.metric, scores.clip_logits, scores.logits, labels)
    return right, np.array([video.group for video in videos])


def answered(
    metric: str,
    clip_logits: NDArray[np.float32],
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Per video, 0 to 1: whether it is right, or the share of its clips that are.

    Args:
        metric: "video_top1", "clip_top5" and the like.
        clip_logits: float32 (V, N, C).
        logits: float32 (V, C), of the videos.
        labels: int (V,).
    """
    level, _, top = metric.partition("_")
    told = clip_logits if level == "clip" else logits[:, None]
    own = np.take_along_axis(told, labels[:, None, None], axis=2)
    earlier = np.arange(told.shape[2]) < labels[:, None, None]
    rank = ((told > own) | ((told == own) & earlier)).sum(axis=2)  # as argmax decides ties
    return np.asarray((rank < TOP[top]).mean(axis=1))
