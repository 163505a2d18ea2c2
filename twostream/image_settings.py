"""How the images were made that a run was trained on, so that those of a new video are made alike.

A checkpoint tells it in ``Checkpoint.images``. One that was written before it did is told by the
store that it was trained on, as long as that is there.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flow.errors import InputError
from flow.meta import IMPORTED, SETTINGS
from flow.settings import Settings
from flow.sources import find_videos
from flow.store import read_meta, store_path
from flow.tvl1 import TVL1Params
from twostream.data.source import find_paths
from twostream.runs import Checkpoint

_OF_FILES = ("codec", "quality", "rgb")  # settings that only say how a store keeps images


def describe(store: Path, video: str) -> dict[str, Any]:
    """How the images of a video that is there are made, as plain values, for a checkpoint.

    Args:
        store: Of store files, or of the videos themselves.
        video: Its id.
    """
    path = store_path(store, video)
    stored = find_paths(store, [video])[video] == path
    made = vars(read_meta(path)) if stored else Settings().recorded()
    return {name: made[name] for name in SETTINGS if name not in _OF_FILES}


def images_of(checkpoint: Checkpoint, path: Path) -> Mapping[str, Any]:
    """What ``describe`` said of the images that a checkpoint was trained on.

    Args:
        checkpoint: What was trained.
        path: Its file, which an error names.

    Raises:
        InputError: The checkpoint does not tell, and its store is not there.
    """
    if checkpoint.images is not None:
        return checkpoint.images
    store = checkpoint.run.data.store
    if told := _of_store(store, checkpoint.trained_on):
        return told
    raise InputError(
        f"{path} does not tell how its images were made, as an older version wrote it, and no "
        f"video of {store} is there to tell it; put that store back, or train again."
    )


def settings_of(images: Mapping[str, Any], short_side: int | None = None) -> Settings:
    """How to make images like those that ``describe`` told of, on any machine.

    Flow that came from another tool is taken for TV-L1 with its default parameters.

    Args:
        images: What ``describe`` gave.
        short_side: Another one than theirs.
    """
    values = dict(images)
    if values["algorithm"] == "tvl1":
        values["params"] = TVL1Params(**values["params"])
    else:
        del values["params"]
    # Our solvers all compute the same, on whatever they run.
    values["solver"] = "opencv" if values["solver"] == "opencv" else "auto"
    if short_side is not None:
        values["short_side"] = short_side
    return Settings(**values)


def is_imported(images: Mapping[str, Any]) -> bool:
    """Whether the flow came from another tool, of which no more than the encoding is known."""
    return bool(images["solver"] == IMPORTED)


def _of_store(store: Path, videos: Iterable[str]) -> Mapping[str, Any] | None:
    """As ``describe``, by whichever of the videos is stored still; None where none is."""
    for video in videos:
        if store_path(store, video).is_file():
            return describe(store, video)
    try:
        find_videos(store)
    except InputError:
        return None
    return Settings().recorded()
