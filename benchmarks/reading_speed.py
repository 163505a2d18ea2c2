"""Speed of reading clips at random places, from a store, from single JPEG files, from the videos.

    python benchmarks/reading_speed.py VIDEOS STORE [--out results.json]

STORE holds what ``python -m flow extract VIDEOS STORE`` has made. One process reads clips of 16
frames with their flow from the store and from a folder of JPEG files (``python -m flow export
--layout tsn``), and the frames alone from the store and from the videos, in turn. After the first
round, which does not count, all files are in the memory of the operating system.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measured import machine, spread
from numpy.typing import NDArray

from flow.layouts import export_store
from flow.sources import find_videos, open_video, source_id
from flow.store import StoreFile, find_store_files
from flow.video import use_one_thread

LENGTH = 16
ROUNDS, CLIPS_A_ROUND = 12, 20

Read = Callable[[str, int], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, searched at every depth")
    parser.add_argument("store", type=Path, help="their store")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reading = measure_reading(arguments.videos, arguments.store, Path(folder))
    if arguments.out:
        results = {"machine": machine(), **reading}
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


def measure_reading(videos: Path, store: Path, images: Path) -> dict[str, Any]:
    """Clips a second from each source, round by round."""
    use_one_thread()
    export_store(store, images, "tsn", progress=False)
    files = find_store_files(store)
    sources = {source_id(path, videos): path for path in find_videos(videos)}
    lengths = {}
    for video, path in files.items():
        with StoreFile(path) as file:
            lengths[video] = file.meta.flows
    chosen = [video for video, flows in lengths.items() if flows >= LENGTH]

    def from_store(video: str, start: int) -> object:
        wanted = range(start, start + LENGTH)
        with StoreFile(files[video]) as file:
            return file.frames(wanted), file.flow_images(wanted)

    def from_images(video: str, start: int) -> object:
        numbers = range(start + 1, start + LENGTH + 1)
        folder = images / video
        frames = [image(folder / f"img_{k:05d}.jpg", cv2.IMREAD_COLOR_RGB) for k in numbers]
        flows = [
            image(folder / f"flow_{axis}_{k:05d}.jpg", cv2.IMREAD_GRAYSCALE)
            for k in numbers
            for axis in "xy"
        ]
        return np.stack(frames), np.stack(flows)

    def frames_from_store(video: str, start: int) -> object:
        with StoreFile(files[video]) as file:
            return file.frames(range(start, start + LENGTH))

    def frames_from_video(video: str, start: int) -> object:
        return np.stack(list(islice(open_video(sources[video]), start, start + LENGTH)))

    ways: dict[str, Read] = {
        "both streams, store": from_store,
        "both streams, folder of JPEG files": from_images,
        "frames alone, store": frames_from_store,
        "frames alone, video": frames_from_video,
    }
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        videos_read = [chosen[k] for k in rng.integers(len(chosen), size=CLIPS_A_ROUND)]
        clips = [(name, int(rng.integers(lengths[name] - LENGTH + 1))) for name in videos_read]
        for way, read in ways.items():
            started = time.perf_counter()
            for video, start in clips:
                read(video, start)
            if turn:  # the first round warms up
                rates[way].append(len(clips) / (time.perf_counter() - started))
    for way, values in rates.items():
        print(f"  {way:<36} {spread(np.array(values))} clips/s")
    configuration = {
        "videos": chosen,
        "frames_a_clip": LENGTH,
        "rounds": ROUNDS,
        "clips_a_round": CLIPS_A_ROUND,
    }
    return {"configuration": configuration, "clips_a_second": rates}


def image(path: Path, flag: int) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), flag)
    assert picture is not None
    return np.asarray(picture, np.uint8)


if __name__ == "__main__":
    main()
