"""What the images of videos come from, and how their flow is encoded."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from flow.errors import InputError
from twostream.data.source import Sources
from twostream.streams import Stream


def descriptions(sources: Sources, videos: Iterable[str]) -> dict[str, str]:
    """What the images of each video come from and how they were made, as JSON."""
    found = {}
    for video in videos:
        with sources.opened(video) as source:
            found[video] = source.description()
    return found


def store_hash(described: Mapping[str, str]) -> str:
    """SHA-256 over the descriptions of videos, in their order."""
    digest = hashlib.sha256()
    for video, text in described.items():
        digest.update(f"{video}\n{text}\n".encode())
    return digest.hexdigest()


def flow_codes(described: Mapping[str, str], stream: Stream, store: Path) -> str:
    """Bound and codes of the flow that is described; "" of frames.

    Raises:
        InputError: Several kinds of flow, or no video.
    """
    if stream == "rgb":
        return ""
    values = [json.loads(text) for text in described.values()]
    kinds = sorted({f"bound {value['bound']:g}, {value['encoding']} codes" for value in values})
    if len(kinds) != 1:
        raise InputError(
            f"The flow in {store} has {' and '.join(kinds) or 'no videos'}; "
            "extract all videos with one bound."
        )
    return kinds[0]
