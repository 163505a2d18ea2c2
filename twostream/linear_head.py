"""The last layer that suits a network as it is: linear probing, before all of it is fine-tuned.

Kumar, Raghunathan, Jones, Ma, Liang, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution" (ICLR 2022, arXiv:2202.10054): a last layer that starts at random spoils what
was pretrained in the first steps; on few videos nothing brings that back.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flow.progress import progress_bar
from twostream.data.annotations import Annotations
from twostream.data.clips import TestClips
from twostream.data.transforms import mirrored
from twostream.distributed import World
from twostream.feeding import by_video, packed_loader, protocol_clips, read_parts
from twostream.linear_layer import Unseen, best_layer
from twostream.models import P3D
from twostream.models.inference import for_inference
from twostream.origins import descriptions, flow_codes, store_hash
from twostream.protocols import own
from twostream.runs import Run
from twostream.scores import Scores, Source, mean_over_clips

Known = dict[tuple[str, ...], NDArray[np.float32]]
"""pool5 (clips, features) of videos, by all in which the runs of one command differ."""


@dataclass(frozen=True)
class Fit:
    """What was done.

    Attributes:
        said: The same in words.
        unseen: Scores of the training videos, each by a last layer that was fitted without its
            group: by them a fusion can weigh the streams, and no video is held out of training.
            The network changes after that; which stream is how good, hardly. None where there are
            too few groups, and in other processes than the first.
    """

    said: str
    unseen: Scores | None


def fit_last_layer(
    model: P3D,
    run: Run,
    annotations: Annotations,
    workers: int,
    world: World,
    known: Known | None = None,
) -> Fit:
    """Give ``model`` the last layer that separates the videos' classes best by its features.

    These are pool5 of the clips that testing would take, and of their mirror images where the
    experiment mirrors.

    Args:
        model: Changed in place; its features stay.
        run: Tells the stream, the store and the clips.
        annotations: Those to train on are its training videos.
        workers: Processes that read clips.
        world: Where the features are computed, and who shows how far that is.
        known: Features that an earlier split found, which this one need not; it adds its own.
    """
    videos = annotations.train
    clips = protocol_clips(run.data.store, videos, run.stream, own(run.experiment))
    features = _features(model, run, clips, workers, world, {} if known is None else known)
    labels = np.array([video.label for video in videos], np.int64)
    groups = np.array([video.group for video in videos])
    layer, unseen = best_layer(features, labels, groups, len(annotations.classes))
    with torch.no_grad():
        model.fc.weight.copy_(torch.from_numpy(layer.weight))
        model.fc.bias.copy_(torch.from_numpy(layer.bias))
    right = np.concatenate(
        [layer(each).argmax(1) == label for each, label in zip(features, labels, strict=True)]
    )
    said = f"last layer: fitted to {len(right):,} clips, {right.mean():.1%} of them right"
    if unseen is not None:
        share, _ = unseen.standing(labels)
        said += f"; of unseen groups {share:.1%} of the videos, with C = {unseen.inverse_penalty}"
    return Fit(said, _scores(unseen, run, annotations, clips) if world.main and unseen else None)


def _scores(unseen: Unseen, run: Run, annotations: Annotations, clips: TestClips) -> Scores:
    videos = annotations.train
    # The mirror images stand behind the clips, and are not tested.
    clip_logits = np.stack([each[: clips.clips] for each in unseen.logits]).astype(np.float32)
    stored = descriptions(clips.sources, (video.id for video in videos))
    return Scores(
        tuple(video.id for video in videos),
        annotations.classes,
        mean_over_clips(clip_logits),
        clip_logits,
        Source(
            annotations.name,
            annotations.split,
            run.stream,
            str(own(run.experiment)),
            checkpoint="",
            store=store_hash(stored),
            flow=flow_codes(stored, run.stream, run.data.store),
        ),
    )


def _features(
    model: P3D, run: Run, clips: TestClips, workers: int, world: World, known: Known
) -> list[NDArray[np.float32]]:
    """pool5 of all clips of each video, and behind them of their mirror images."""
    experiment = run.experiment
    depends = (
        _digest(model),
        str(run.data.store),
        run.stream,
        str(own(experiment)),
        experiment.mirror,
    )
    keys = [(*map(str, depends), video.id) for video in clips.videos]
    new = [place for place, key in enumerate(keys) if key not in known]
    if new:
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
