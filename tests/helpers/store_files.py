"""Small stores for tests, and what lies in a store."""

import csv
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.manifest import FAILURES, read_manifest
from flow.meta import Codec, Meta
from flow.store import StoreWriter, find_store_files, store_path
from flow.tvl1 import TVL1Params

FRAMES, HEIGHT, WIDTH = 5, 24, 33
VIDEOS = ("Class/v_Bend_g01_c01", "brüsh hair/日本 a.b 1", "flat")
META = Meta(
    source="daria bend.avi",
    source_bytes=1234,
    source_sha256="0f" * 32,
    frames=FRAMES,
    fps=25.0,
    width=WIDTH,
    height=HEIGHT,
    decoder="opencv 5.0.0",
    solver="opencv",
    params=asdict(TVL1Params()),
    bound=20.0,
    encoding="symmetric",
    clipped=0.125,
)


def smooth(rng: np.random.Generator, count: int, channels: int) -> NDArray[np.uint8]:
    """Images (count, HEIGHT, WIDTH, channels) that JPEG changes little."""
    noise = rng.integers(0, 256, (count, 4, 5, channels), dtype=np.uint8)
    return np.stack([cv2.resize(image, (WIDTH, HEIGHT)) for image in noise])


def write_store(store: Path, codec: Codec = "jpeg", rgb: bool = True) -> Path:
    """A store of ``VIDEOS``."""
    for seed, video in enumerate(VIDEOS):
        path = store_path(store, video)
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        with StoreWriter(path, codec=codec) as writer:
            for frame in smooth(rng, FRAMES, 3):
                if rgb:
                    writer.add_frame(frame)
            for image in smooth(rng, FRAMES - 1, 2):
                writer.add_flow(image)
            meta = replace(META, source=f"{seed}.avi", clipped=0.0, codec=codec, rgb=rgb)
            writer.finish(meta)
    return store


def contents(store: Path) -> dict[str, bytes]:
    """The store files by the ids of their videos."""
    return {video: path.read_bytes() for video, path in find_store_files(store).items()}


def manifest(store: Path) -> dict[str, dict[str, str]]:
    """The rows of the manifest by the ids of their videos, each of which stands there once."""
    rows = read_manifest(store)
    assert [row["video"] for row in rows] == sorted({row["video"] for row in rows})
    return {row["video"]: row for row in rows}


def failures(store: Path) -> dict[str, str]:
    """Source and reason of each video that failed, each of which stands there once."""
    with (store / FAILURES).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    told = {row["video"]: row["reason"] for row in rows}
    assert len(told) == len(rows)
    return told


def rewrite(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Change the members of a zip file as another tool would."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
