"""Scoring: a trained stream's logits of each test video, and of the videos that it held out."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flow.errors import InputError
from flow.progress import progress_bar
from twostream.data.annotations import Annotations, Video
from twostream.data.clips import TestClips
from twostream.data.transforms import mirrored
from twostream.distributed import World, alone
from twostream.feeding import Part, by_video, packed_loader, protocol_clips, read_parts
from twostream.models.inference import for_inference
from twostream.origins import descriptions, flow_codes, store_hash
from twostream.protocols import Protocol, own, refuse_unlearned_mirror
from twostream.readers import READERS
from twostream.runs import Checkpoint, Data, report_missing, sha256
from twostream.score_parts import Parts
from twostream.scores import Scores, Source, mean_over_clips

Rows = NDArray[np.float32]


def score(
    checkpoint_path: Path,
    data: Data | None = None,
    workers: int = READERS,
    device: str = "auto",
    protocol: Protocol | None = None,
) -> Scores:
    """Score the test list by a checkpoint: the softmax of a video's clips is averaged.

    Args:
        checkpoint_path: What ``train`` wrote.
        data: The lists and the store; those that the checkpoint was trained with where not given.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda", "cuda:1".
        protocol: What is scored of a video; the experiment's own test clips where not given.

    Raises:
        InputError: As `Scorer`.
    """
    return Scorer(checkpoint_path, data, protocol, workers, alone(device)).test()


class Scorer:
    """A trained network that scores videos, alone or together with other processes.

    On a CPU clips pass the network one by one, so that scores do not depend on what was scored
    before an interruption, nor on how many processes share the videos; on a GPU they do in the
    last bits.

    Args:
        path: What ``train`` wrote.
        data: The lists and the store; those that the checkpoint was trained with where not given.
        protocol: What is scored of a video; the experiment's own test clips where not given.
        workers: Processes that read clips, for each process that scores.
        world: The processes that divide the videos among themselves.

    Raises:
        InputError: Other classes than the checkpoint's, a test video that it was trained on, test
            videos that are not stored, mirror images for a network that was trained without.
    """

    def __init__(
        self, path: Path, data: Data | None, protocol: Protocol | None, workers: int, world: World
    ) -> None:
        self.path, self.workers, self.world = path, workers, world
        self.checkpoint = Checkpoint.load(path)
        self.run = self.checkpoint.run
        self.data = data or self.run.data
        self.protocol = protocol or own(self.run.experiment)
        refuse_unlearned_mirror(self.protocol, self.run.experiment)
        self.annotations, self.absent = self.data.annotations("test")
        _refuse_misuse(self.checkpoint, self.annotations, path)
        model = self.run.build(len(self.checkpoint.classes))
        model.load_state_dict(self.checkpoint.model)
        precision = self.run.experiment.precision
        self.network = for_inference(model, world.device, precision=precision)
        self.sha256 = sha256(path)

    def test(self, out: Path | None = None) -> Scores:
        """The scores of the test list.

        Args:
            out: Where they are written, by the first process. What is scored lies beside it in
                parts, too, and is not scored again until `Parts` of it are removed.

        Returns:
            The same in all processes.
        """
        if self.world.main:
            report_missing(self.absent, self.path.with_name("missing_test.txt"))
        return self._score(self.annotations.test, out)

    def held_out(self, out: Path | None = None) -> Scores | None:
        """The scores of those training videos that the checkpoint held out, as ``test`` gives them.

        They are what fusion weights and temperatures may be chosen on. They did choose the best
        epoch, so that their accuracy flatters a little.

        Returns:
            None where there are none: ``out`` is then removed.
        """
        wanted = set(self.checkpoint.held_out)
        videos = tuple(video for video in self.annotations.train if video.id in wanted)
        if wanted and len(videos) < len(wanted):
            self.world.say(
                f"{len(wanted) - len(videos):,} of {len(wanted):,} held-out videos are not among "
                f"the training videos of {self.data.lists} in {self.data.store}, and left out"
            )
        if videos:
            return self._score(videos, out)
        if out is not None and self.world.main:
            out.unlink(missing_ok=True)
        return None

    def _score(self, videos: tuple[Video, ...], out: Path | None) -> Scores:
        started = time.perf_counter()
        clips = protocol_clips(self.data.store, videos, self.run.stream, self.protocol)
        stored = descriptions(clips.sources, (video.id for video in videos))
        flow = flow_codes(stored, self.run.stream, self.data.store)
        parts = Parts(out)
        clip_logits, tally = self._clip_logits(clips, stored, parts)
        scores = Scores(
            tuple(video.id for video in videos),
            self.checkpoint.classes,
            mean_over_clips(clip_logits),
            clip_logits,
            Source(
                self.annotations.name,
                self.annotations.split,
                self.run.stream,
                str(self.protocol),
                self.sha256,
                store_hash(stored),
                flow,
            ),
        )
        if out is not None and self.world.main:
            scores.save(out)
            seconds = time.perf_counter() - started
            self.world.say(f"{self.run.stream}: {tally} in {seconds:.1f} s; {out}")
        return scores

    def _clip_logits(
        self, clips: TestClips, stored: dict[str, str], parts: Parts
    ) -> tuple[Rows, "_Tally"]:
        """The logits (V, N, classes) of all videos, in all processes, and what it took."""
        keys = [self._key(video, text) for video, text in stored.items()]
        # Only the first process says what is there: others may be writing already.
        there = parts.load() if self.world.main else {}
        done = self._sum(torch.tensor([key in there for key in keys], dtype=torch.int64))
        mine = self.world.share((done == 0).nonzero()[:, 0].tolist())
        shape = len(keys), self.protocol.clips or 1, len(self.checkpoint.classes)
        logits = np.zeros(shape, np.float32)
        for place, key in enumerate(keys):
            if key in there:
                logits[place] = there[key]
        with parts:
            for place, views in by_video(self._read(clips, mine), self._views):
                logits[place] = self._of_clips(views, clips.crops)
                parts.add(keys[place], logits[place])
        scored = self._sum(torch.tensor(sum(clips.count(place) for place in mine)))
        tally = _Tally(len(keys), int(done.sum()), int(scored))
        return self._sum(torch.from_numpy(logits)).numpy(), tally

    def _key(self, video: str, stored: str) -> str:
        """Of all that a video's logits depend on."""
        precision = str(self.network.dtype)
        known = [self.sha256, str(self.protocol), precision, video, stored]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def _sum(self, values: Tensor) -> Tensor:
        """Over all processes, each of which has zeros where another one has the value."""
        return self.world.total(values.to(self.world.device)).cpu()

    def _read(self, clips: TestClips, places: Sequence[int]) -> Iterator[Part]:
        """The clips of the videos at these places, with a bar that follows."""
        if not places:
            return
        gpu = self.world.device.type == "cuda"
        at_once = self.run.experiment.clips_at_once
        loader = packed_loader(clips, at_once, self.workers, places=places, pin=gpu)
        total = sum(clips.count(place) for place in places)
        with progress_bar(total, " clips", shown=self.world.main) as bar:
            for part in read_parts(loader):
                yield part
                bar.update(len(part.videos) // clips.crops)

    def _views(self, crops: Tensor) -> Tensor:
        """Crops (N, C, T, H, W) -> logits (N, 1 or 2 sides, classes)."""
        crops = crops.to(self.world.device, non_blocking=True)
        both = self.protocol.both_sides
        sides = [crops, mirrored(crops, self.run.stream)] if both else [crops]
        return torch.stack([self._logits(side) for side in sides], dim=1).cpu()

    def _logits(self, crops: Tensor) -> Tensor:
        # A product of matrices depends in its last bits on how many rows it has.
        at_once = 1 if self.world.device.type == "cpu" else self.run.experiment.clips_at_once
        given = self.network.input.of_p3d(crops)
        return torch.cat([self.network(part) for part in torch.split(given, at_once)])

    def _of_clips(self, views: Tensor, crops: int) -> Rows:
        """A video's logits (clips * crops, sides, classes) -> (N, classes), as `Protocol` says."""
        classes = views.shape[2]
        clips = views.reshape(-1, crops * views.shape[1], classes).numpy()
        clips = mean_over_clips(clips) if clips.shape[1] > 1 else clips[:, 0]
        return clips if self.protocol.clips is not None else mean_over_clips(clips[None])


@dataclass(frozen=True)
class _Tally:
    """What was scored.

    Attributes:
        videos: In the scores.
        there: Of these, scored before an interruption.
        clips: Scored now, by all processes.
    """

    videos: int
    there: int
    clips: int

    def __str__(self) -> str:
        there = f", {self.there:,} of them there already" if self.there else ""
        return f"{self.videos:,} videos{there}, {self.clips:,} clips"


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
