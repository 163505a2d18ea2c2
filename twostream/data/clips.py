"""Clips of videos as PyTorch data sets: random ones to train on, even ones to test on."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flow.errors import InputError
from flow.settings import Settings
from twostream.data.annotations import Video
from twostream.data.sampling import Short, even_runs, positions, random_run
from twostream.data.source import Sources
from twostream.data.transforms import Augmentation, Geometry, crop_views, mirrored, train_view
from twostream.streams import Stream

# What a random stream is for, so that no two of them start alike.
_ORDER, _CLIP = 0, 1


class TrainingClips(Dataset[tuple[Tensor, int, int]]):
    """A random clip of each video.

    The key (epoch, index) gives (clip float32 (C, T, H, W), label, index). A clip depends on the
    seed, the epoch and the index alone: not on what was read before, nor on which worker reads it.
    With the same seed both streams give the same frames, window and side.

    Args:
        store: Folder of store files, or of videos (much slower: see ``twostream.data.decoded``).
        videos: The videos, all of them there.
        stream: "rgb" or "flow".
        length: Frames, or flow fields, in a clip.
        geometry: Sizes to resize and to crop to.
        seed: 0 or more.
        short: What stands in for the frames that a shorter video lacks.
        augmentation: What varies at random; ``Augmentation()`` where not given.
        settings: Which frames are taken of a video that is not stored, and how its flow is
            computed; ``Settings()`` where not given.

    Raises:
        InputError: No videos, one that is not there, or a length or filling that there is not. On
            reading: a damaged file, or images smaller than the crop.
    """

    def __init__(
        self,
        store: Path,
        videos: tuple[Video, ...],
        stream: Stream,
        length: int,
        geometry: Geometry,
        seed: int,
        short: Short = "repeat",
        augmentation: Augmentation | None = None,
        settings: Settings | None = None,
    ) -> None:
        _check(videos, length, clips=1, short=short)
        if seed < 0:
            raise InputError(f"The seed is {seed}; give 0 or more.")
        self.sources = Sources.of(store, [video.id for video in videos], stream, settings)
        self.videos = videos
        self.stream = stream
        self.length = length
        self.geometry = geometry
        self.seed = seed
        self.short = short
        self.augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, int]:
        epoch, index = key
        video = self.videos[index]
        rng = np.random.default_rng([_CLIP, self.seed, epoch, index])
        with self.sources.opened(video.id) as source:
            run = random_run(positions(source.frames), self.length, rng, self.short)
            images = source.images(run)
        with _naming(video.id):
            clip = train_view(images, self.stream, self.geometry, rng, self.augmentation)
        return clip, video.label, index


class TestClips(Dataset[tuple[Tensor, int, int]]):
    """Evenly spread clips of each video.

    The index gives (clips float32 (N, C, T, H, W), label, index); (index, first, stop) gives those
    clips of them alone, for videos whose clips are too many at a time. The crops of a clip follow
    each other. Clips may share frames; each frame is read once.

    Args:
        store: As for `TrainingClips`.
        videos: The videos, all of them there.
        stream: "rgb" or "flow".
        length: Frames, or flow fields, in a clip.
        clips: Clips a video; None: the least number that covers all of it.
        geometry: Sizes to resize and to crop to.
        mirror: The mirror images of the clips instead of the clips.
        short: What stands in for the frames that a shorter video lacks.
        settings: As for `TrainingClips`.
        crops: Of each clip: 1, 3 or 5, as `twostream.data.window.crop_boxes` places them.

    Raises:
        InputError: As `TrainingClips`, and for less than one clip.
    """

    def __init__(
        self,
        store: Path,
        videos: tuple[Video, ...],
        stream: Stream,
        length: int,
        clips: int | None,
        geometry: Geometry,
        mirror: bool = False,
        short: Short = "repeat",
        settings: Settings | None = None,
        crops: int = 1,
    ) -> None:
        _check(videos, length, 1 if clips is None else clips, short)
        self.sources = Sources.of(store, [video.id for video in videos], stream, settings)
        self.videos = videos
        self.stream = stream
        self.length = length
        self.clips = clips
        self.geometry = geometry
        self.mirror = mirror
        self.short = short
        self.crops = crops

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: int | tuple[int, int, int]) -> tuple[Tensor, int, int]:
        index, first, stop = key if isinstance(key, tuple) else (key, 0, None)
        video = self.videos[index]
        with self.sources.opened(video.id) as source:
            count = positions(source.frames)
            wanted = covering(count, self.length) if self.clips is None else self.clips
            runs = even_runs(count, self.length, wanted, self.short)[first:stop]
            needed, place = np.unique(runs, return_inverse=True)
            images = source.images(needed)
        with _naming(video.id):
            views = crop_views(images, self.stream, self.geometry, self.crops)
        clips = views[:, :, place.reshape(runs.shape)].permute(2, 0, 1, 3, 4, 5)
        clips = clips.flatten(0, 1).contiguous()
        return mirrored(clips, self.stream) if self.mirror else clips, video.label, index

    def count(self, index: int) -> int:
        """How many clips a video has."""
        if self.clips is not None:
            return self.clips
        with self.sources.opened(self.videos[index].id) as source:
            return covering(positions(source.frames), self.length)


def covering(count: int, length: int) -> int:
    """The least number of clips that cover ``count`` positions; evenly spread ones then do."""
    return -(-count // length)


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The indices 0 to ``count`` - 1 in the random order of one epoch."""
    return tuple(np.random.default_rng([_ORDER, seed, epoch]).permutation(count).tolist())


def worker_context(workers: int) -> str | None:
    """How a DataLoader starts its workers: anew, as a fork can inherit a lock that OpenCV holds."""
    return "spawn" if workers else None


def worker_init(worker: int) -> None:
    """Prepare a worker of a DataLoader: OpenCV in one thread, since there are many workers."""
    cv2.setNumThreads(1)
    # Until glibc has seen a large block freed, it hands the memory of each clip back and fetches it
    # anew for the next, which takes a quarter of the time of an RGB clip.
    np.empty(1 << 24, np.uint8)


def batches(loader: "DataLoader[Any]") -> Iterator[Any]:
    """What the loader gives; an error of a worker process is told as if it were this one's."""
    try:
        yield from loader
    except InputError as problem:
        # The worker's text is a traceback that ends with the sentence.
        sentence = str(problem).strip().rsplit("flow.errors.InputError: ", 1)[-1]
        raise InputError(sentence) from problem


def _check(videos: tuple[Video, ...], length: int, clips: int, short: Short) -> None:
    """Fail on making a data set rather than on its first clip."""
    if not videos:
        raise InputError("The list of videos is empty; give a split that has some.")
    even_runs(1, length, clips, short)


@contextmanager
def _naming(video_id: str) -> Iterator[None]:
    """Say of which video an error is."""
    try:
        yield
    except InputError as problem:
        raise InputError(f"Video {video_id}: {problem}") from problem
