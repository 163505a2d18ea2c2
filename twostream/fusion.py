"""Late fusion: scores of several streams, joined by video id, into one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flow.errors import InputError
from twostream.scores import Scores, log_of_mean, softmax


def fuse(streams: Sequence[Scores], weights: Sequence[float] | None = None) -> Scores:
    """The weighted mean of the streams' softmax, of videos and of clips.

    Args:
        streams: Scores of the same videos, in any order, by at least one stream.
        weights: One a stream, not negative, not all 0; equal ones where not given.

    Returns:
        Scores in the order of the first stream's videos.

    Raises:
        InputError: Weights that do not fit, or streams that differ in data set, split, protocol,
            classes, videos or clips.
    """
    weights = [1.0] * len(streams) if weights is None else weights
    if not streams or len(weights) != len(streams):
        raise InputError(
            f"There are {len(streams)} streams and {len(weights)} weights; give equal."
        )
    if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise InputError(
            f"The weights are {list(weights)}; give numbers from 0, not all of them 0."
        )
    first = streams[0]
    for other in streams[1:]:
        _refuse_mismatch(first, other)
    rows = [_rows(stream, first.video_ids) for stream in streams]
    share = np.asarray(weights, np.float64)
    return Scores(
        first.video_ids,
        first.classes,
        log_of_mean(
            np.stack([softmax(s.logits[r]) for s, r in zip(streams, rows, strict=True)]), share
        ),
        log_of_mean(
            np.stack([softmax(s.clip_logits[r]) for s, r in zip(streams, rows, strict=True)]), share
        ),
        replace(
            first.source,
            stream="+".join(stream.source.stream for stream in streams),
            checkpoint="+".join(stream.source.checkpoint for stream in streams),
            store="+".join(stream.source.store for stream in streams),
        ),
    )


def _refuse_mismatch(first: Scores, other: Scores) -> None:
    pair = f"{first.source.stream} and {other.source.stream} scores"
    for name in ("dataset", "split", "protocol"):
        left, right = getattr(first.source, name), getattr(other.source, name)
        if left != right:
            raise InputError(
                f"The {pair} differ in {name}: {left!r} and {right!r}; score both alike."
            )
    if first.classes != other.classes:
        odd = sorted(set(first.classes) ^ set(other.classes))
        what = f"{odd[0]!r} is in only one of them" if odd else "their order differs"
        raise InputError(f"The {pair} differ in their classes: {what}; train both on one list.")
    odd = sorted(set(first.video_ids) ^ set(other.video_ids))
    if odd:
        raise InputError(
            f"The {pair} differ in {len(odd)} videos: {odd[0]!r} is in only one of them; "
            "score the same videos by both."
        )
    if first.clip_logits.shape != other.clip_logits.shape:
        raise InputError(
            f"The {pair} have {first.clip_logits.shape[1]} and {other.clip_logits.shape[1]} clips "
            "a video; score both alike."
        )


def _rows(scores: Scores, video_ids: tuple[str, ...]) -> list[int]:
    row = {video_id: index for index, video_id in enumerate(scores.video_ids)}
    return [row[video_id] for video_id in video_ids]
