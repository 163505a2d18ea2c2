"""Scores: what one stream, or a fusion, says of each video; and the file that holds them.

Labels never travel with scores. They come from the annotations, joined by video id.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.files import write_atomically


@dataclass(frozen=True)
class Source:
    """Where scores come from; two of them can be fused only where data set and split agree.

    Attributes:
        dataset: "ucf101", "hmdb51", or the name of the annotations.
        split: The split, the held-out group or the fold.
        stream: "rgb", "flow", or streams joined by "+".
        protocol: Which clips were scored, and how they were averaged.
        checkpoint: SHA-256 of the weights; of a fusion, those of its streams joined by "+"; of
            several folds, the hash of theirs; "" of the last layers that `linear_head` fits to some
            of the training videos, to score the others.
        store: SHA-256 over what is stored of the scored videos; of fusion and folds alike.
        flow: How the flow images are encoded that were scored; "" of frames, or where not known.
    """

    dataset: str
    split: str
    stream: str
    protocol: str
    checkpoint: str
    store: str
    flow: str = ""


@dataclass(frozen=True)
class Scores:
    """Scores of V videos over C classes.

    Attributes:
        video_ids: V names.
        classes: C names.
        logits: float32 (V, C); their softmax is the video's probability of each class.
        clip_logits: float32 (V, N, C); the same for each of a video's N clips.
        source: Where they come from.
    """

    video_ids: tuple[str, ...]
    classes: tuple[str, ...]
    logits: NDArray[np.float32]
    clip_logits: NDArray[np.float32]
    source: Source

    def __post_init__(self) -> None:
        videos, classes = len(self.video_ids), len(self.classes)
        if self.logits.shape != (videos, classes):
            raise InputError(f"The logits have shape {self.logits.shape}, not {(videos, classes)}.")
        if self.clip_logits.ndim != 3 or self.clip_logits.shape[::2] != (videos, classes):
            raise InputError(
                f"The clip logits have shape {self.clip_logits.shape}, "
                f"not ({videos}, clips, {classes})."
            )
        if len(set(self.video_ids)) != videos:
            raise InputError("A video is scored twice; score again.")
        if not (np.isfinite(self.logits).all() and np.isfinite(self.clip_logits).all()):
            raise InputError(
                f"The {self.source.stream} scores hold NaN or infinity, which would count as "
                "class 0; the training has diverged, train again with a lower rate."
            )

    def __repr__(self) -> str:
        videos, clips, classes = self.clip_logits.shape
        return f"Scores({self.source.stream}: {videos} videos, {clips} clips, {classes} classes)"

    def save(self, path: Path) -> None:
        """Write an .npz without pickles: whole, or not at all."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            video_ids=np.array(self.video_ids, dtype=np.str_),
            classes=np.array(self.classes, dtype=np.str_),
            logits=self.logits,
            clip_logits=self.clip_logits,
            meta=np.array(json.dumps(asdict(self.source))),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Scores":
        """Read what ``save`` wrote.

        Raises:
            InputError: No such file, or a file that is no score file.
        """
        if not path.is_file():
            raise InputError(f"{path} is not there; write it with: python -m twostream score")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                meta = json.loads(str(data["meta"]))
                return cls(
                    tuple(data["video_ids"].tolist()),
                    tuple(data["classes"].tolist()),
                    data["logits"].astype(np.float32),
                    data["clip_logits"].astype(np.float32),
                    _source(meta),
                )
        except InputError as problem:
            raise InputError(f"{path}: {problem}") from None
        except Exception as problem:  # a damaged zip or array fails in a dozen ways
            raise InputError(
                f"{path} is no score file ({type(problem).__name__}: {problem}); "
                "write it with: python -m twostream score"
            ) from problem


def join(folds: Sequence[Scores], split: str) -> Scores:
    """The scores of several folds, no video in two of them, as those of one ``split``.

    Raises:
        InputError: Folds of different data sets, streams, protocols, flow encodings or classes, or
            a video in two.
    """
    first = folds[0]
    for other in folds[1:]:
        same = replace(other.source, split="", checkpoint="", store="") == replace(
            first.source, split="", checkpoint="", store=""
        )
        if not same or other.classes != first.classes:
            raise InputError(
                f"The scores of {first.source.split} and {other.source.split} come from different "
                "data sets, streams, protocols, flow encodings or classes; score all folds alike."
            )
    return Scores(
        video_ids=tuple(video for fold in folds for video in fold.video_ids),
        classes=first.classes,
        logits=np.concatenate([fold.logits for fold in folds]),
        clip_logits=np.concatenate([fold.clip_logits for fold in folds]),
        source=replace(
            first.source,
            split=split,
            checkpoint=_one_hash([fold.source.checkpoint for fold in folds]),
            store=_one_hash([fold.source.store for fold in folds]),
        ),
    )


def _source(meta: Mapping[str, object]) -> Source:
    """Of a file that was written before scores told the encoding of their flow, too."""
    known = {"flow": ""} | dict(meta)
    return Source(**{field.name: str(known[field.name]) for field in fields(Source)})


def _one_hash(hashes: list[str]) -> str:
    """That of all folds, or where they differ, the hash of all."""
    if len(set(hashes)) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def mean_over_clips(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (V, N, C) -> (V, C), whose softmax is the mean of the N."""
    return log_of_mean(softmax(logits).swapaxes(0, 1), np.ones(logits.shape[1]))


def log_of_mean(
    probabilities: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Logits whose softmax is the weighted mean of ``probabilities`` over the first axis."""
    mean = np.tensordot(weights / weights.sum(), probabilities, axes=1)
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).astype(np.float32)
