"""The folder that features are kept in.

FOLDER/meta.json          the network, the layer, the clips: all that the features have in common
FOLDER/<video id>.npz     ``features`` float32 (S, N, D): N clips of D values, with S = 2 the
                          mirrored clips second; ``stored``: a hash of what the images come from

A video's file is written when the video is done: what was interrupted goes on, and videos can be
added.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.errors import InputError
from flow.files import make_writable, write_atomically
from flow.store import store_path
from twostream.streams import Stream

META = "meta.json"


@dataclass(frozen=True)
class FeatureMeta:
    """What the features in a folder have in common.

    Attributes:
        stream: "rgb" or "flow".
        clips: The clips, in words.
        layer: "pool5", or a module of the network by its name there.
        model: The network's name.
        weights: SHA-256 of its weights.
        input: What it takes, in words.
        precision: What it computes in: "float32", "bfloat16".
        flow: Bound in pixels and codes of the flow; "" for frames.
        trained_on: Ids of the videos whose labels the network has seen.
    """

    stream: Stream
    clips: str
    layer: str
    model: str
    weights: str
    input: str
    precision: str
    flow: str
    trained_on: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> "FeatureMeta":
        """What a folder says of its features; raises InputError where it says nothing valid."""
        path = folder / META
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**values | {"trained_on": tuple(values["trained_on"])})
        except FileNotFoundError:
            raise InputError(
                f"{path} is not there; write it with: python -m twostream features"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise InputError(
                f"{path} does not describe features ({type(problem).__name__}); remove {folder} "
                "and take them again."
            ) from problem


@dataclass(frozen=True)
class Features:
    """Features of V videos.

    Attributes:
        video_ids: V names.
        values: float32 (V, S, N, D): N clips of D values, with S = 2 the mirrored clips second.
        meta: What they have in common.
        store: SHA-256 over what the videos' images come from.
    """

    video_ids: tuple[str, ...]
    values: NDArray[np.float32]
    meta: FeatureMeta
    store: str

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 4 or shape[0] != len(self.video_ids) or 0 in shape:
            raise InputError(
                f"The features have shape {shape}, not ({len(self.video_ids)}, sets, clips, "
                "values); take them again."
            )
        if not np.isfinite(self.values).all():
            raise InputError(f"The {self.meta.stream} features hold NaN or infinity; take others.")

    def __repr__(self) -> str:
        return f"Features({self.meta.stream} {self.meta.layer}: {self.values.shape})"

    @classmethod
    def load(cls, folder: Path, video_ids: tuple[str, ...]) -> "Features":
        """The features of these videos, in this order.

        Raises:
            InputError: No videos, one without features, or a damaged file.
        """
        meta = FeatureMeta.load(folder)
        there = those_with_features(folder, video_ids)
        absent = [video for video in video_ids if video not in there]
        if absent or not video_ids:
            raise InputError(
                f"{len(absent):,} of {len(video_ids):,} videos have no features in {folder}, "
                f"{absent[0]!r} first; take them with: python -m twostream features, or pass "
                "--allow-missing."
                if absent
                else "The list of videos is empty; give a split that has some."
            )
        digest, values = sha256(), []
        for video in video_ids:
            value, stored = _read(_path(folder, video))
            values.append(value)
            digest.update(f"{video}\n{stored}\n".encode())
        if len({value.shape for value in values}) > 1:
            raise InputError(f"The features in {folder} differ in shape; take them anew elsewhere.")
        return cls(video_ids, np.stack(values), meta, digest.hexdigest())


def those_with_features(folder: Path, videos: Iterable[str]) -> frozenset[str]:
    """Those of the videos, by their ids, that have a file in the folder."""
    return frozenset(video for video in videos if _path(folder, video).is_file())


def claim(folder: Path, meta: FeatureMeta) -> None:
    """Make the folder one for features of this kind; refuse it where it is one of another kind."""
    make_writable(folder)
    if not (folder / META).is_file():
        write_atomically(folder / META, (json.dumps(asdict(meta), indent=1) + "\n").encode())
        return
    there = FeatureMeta.load(folder)
    for field in fields(meta):
        old, new = getattr(there, field.name), getattr(meta, field.name)
        if old != new:
            raise InputError(
                f"{folder} holds features with {field.name} {old!r}, not {new!r}; "
                "give another folder, or remove that one."
            )


def write(folder: Path, video: str, values: NDArray[np.float32], stored: str) -> None:
    """Write a video's features (S, N, D), and the hash of what they come from."""
    path = _path(folder, video)
    buffer = io.BytesIO()
    np.savez(buffer, features=values, stored=np.array(stored))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def is_done(folder: Path, video: str, stored: str) -> bool:
    """Whether a video's features are there, of what has that hash."""
    path = _path(folder, video)
    return path.is_file() and _read(path)[1] == stored


def _path(folder: Path, video: str) -> Path:
    return store_path(folder, video).with_suffix(".npz")


def _read(path: Path) -> tuple[NDArray[np.float32], str]:
    """A video's features (S, N, D), and the hash of what they come from."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            values = data["features"]
            if values.dtype != np.float32 or values.ndim != 3:
                raise ValueError(f"{values.dtype} {values.shape}")
            return values, str(data["stored"])
    except Exception as problem:  # a damaged zip or array fails in a dozen ways
        raise InputError(
            f"{path} is no file of features ({type(problem).__name__}: {problem}); remove it and "
            "take them again."
        ) from problem
