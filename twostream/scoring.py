"""Scoring: a trained stream's logits of every test video, over evenly spread clips."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from flow.errors import InputError
from flow.progress import progress_bar
from twostream.data.annotations import Annotations
from twostream.data.clips import TestClips, batches, worker_context, worker_init
from twostream.devices import choose_device
from twostream.experiments import Experiment
from twostream.models.inference import for_inference
from twostream.runs import Checkpoint, Data, report_missing, sha256
from twostream.scores import Scores, Source, log_of_mean, softmax


def score(
    checkpoint_path: Path, data: Data | None = None, workers: int = 2, device: str = "auto"
) -> Scores:
    """Score the test list by a checkpoint: the softmax of a video's clips is averaged.

    Args:
        checkpoint_path: What ``train`` wrote.
        data: The lists and the store; those that the checkpoint was trained with where not given.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda", "cuda:1".

    Raises:
        InputError: Other classes than the checkpoint's, a test video that it was trained on, test
            videos that are not stored.
    """
    checkpoint = Checkpoint.load(checkpoint_path)
    run, experiment = checkpoint.run, checkpoint.run.experiment
    data = data or run.data
    annotations, absent = data.annotations("test")
    report_missing(absent, checkpoint_path.with_name("missing_test.txt"))
    _refuse_misuse(checkpoint, annotations, checkpoint_path)
    model = run.build(len(checkpoint.classes))
    model.load_state_dict(checkpoint.model)
    target = choose_device(device)
    fast = for_inference(model, target, precision=experiment.precision)
    clips = TestClips(
        data.store,
        annotations.test,
        run.stream,
        length=experiment.clip_length,
        clips=experiment.test_clips,
        geometry=experiment.geometry(),
        short=experiment.short,
    )
    loader = DataLoader(
        clips,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=worker_init,
        multiprocessing_context=worker_context(workers),
    )
    shape = len(clips), experiment.test_clips, len(checkpoint.classes)
    clip_logits = np.empty(shape, np.float32)
    with torch.inference_mode(), progress_bar(len(clips), " videos", shown=True) as bar:
        for tensors, _, index in batches(loader):
            parts = [
                fast(fast.input.of_p3d(part.to(target)))
                for part in tensors.split(experiment.clips_at_once)
            ]
            clip_logits[index] = torch.cat(parts).cpu().numpy()
            bar.update()
    probabilities = softmax(clip_logits).swapaxes(0, 1)
    return Scores(
        tuple(video.id for video in annotations.test),
        checkpoint.classes,
        log_of_mean(probabilities, np.ones(experiment.test_clips)),
        clip_logits,
        Source(
            annotations.name,
            annotations.split,
            run.stream,
            protocol(experiment),
            sha256(checkpoint_path),
            _store_hash(clips),
        ),
    )


def protocol(experiment: Experiment) -> str:
    """Which clips are scored and how they are averaged, in words."""
    size = "own size" if experiment.resize is None else "x".join(map(str, experiment.resize))
    crop = "x".join(map(str, experiment.crop))
    return (
        f"{experiment.test_clips} even clips of {experiment.clip_length}, {size}, "
        f"centre crop {crop}, mean of softmax"
    )


def _refuse_misuse(checkpoint: Checkpoint, annotations: Annotations, path: Path) -> None:
    if checkpoint.classes != annotations.classes:
        raise InputError(
            f"{path} knows {len(checkpoint.classes)} classes, which are not the "
            f"{len(annotations.classes)} of {annotations.name}; train on this data set."
        )
    seen = sorted(set(checkpoint.trained_on) & {video.id for video in annotations.test})
    if seen:
        raise InputError(
            f"{path} was trained on {len(seen)} of the test videos, {seen[0]!r} first; "
            f"train on split {annotations.split}, or score the split that it was trained for."
        )


def _store_hash(clips: TestClips) -> str:
    """SHA-256 over the descriptions of the scored videos' images."""
    digest = hashlib.sha256()
    for video in clips.videos:
        with clips.sources.opened(video.id) as source:
            digest.update(f"{video.id}\n{source.description()}\n".encode())
    return digest.hexdigest()
