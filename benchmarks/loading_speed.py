"""Speed at which one processor makes training clips, from a store and straight from the videos.

    python benchmarks/loading_speed.py VIDEOS STORE [--out results.json]

STORE holds what ``python -m flow extract VIDEOS STORE`` has made. One process does in turn what a
worker does: clips of 16 frames or flow fields, resized to 182 x 242, cropped to 160 x 160, mirrored
and normalised, and such of a random box and with random colours. Beside them stands the floor:
decoding as many JPEG files of the same videos, which lie in memory. From the videos, flow is
computed with the settings of the store. That the frames of each video are counted before, once in
each worker, is measured apart. After the first round, which does not count, all files are in the
memory of the operating system.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measured import machine, spread

from flow.settings import Settings
from flow.store import StoreFile, find_store_files, read_meta
from flow.tvl1 import TVL1Params
from twostream.data.annotations import Video
from twostream.data.clips import TrainingClips, worker_init
from twostream.data.source import Sources, find_paths
from twostream.data.transforms import Augmentation, Geometry
from twostream.streams import STREAMS, Stream

LENGTH = 16
GEOMETRY = Geometry()
VARIED = Augmentation(scale=(0.4, 1.0), jitter=0.4)

Way = Callable[[int, int], object]  # what it makes of a round and of a video, by its place


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, searched at every depth")
    parser.add_argument("store", type=Path, help="their store: frames, and flow as JPEG files")
    parser.add_argument("--rounds", type=int, default=12, help="rounds that count")
    parser.add_argument("--clips", type=int, default=20, help="clips a round from the store")
    parser.add_argument("--video-clips", type=int, default=2, help="clips a round from the videos")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    worker_init(0)
    torch.set_num_threads(1)
    loading = measure_loading(
        arguments.videos,
        arguments.store,
        arguments.rounds,
        arguments.clips,
        arguments.video_clips,
    )
    if arguments.out:
        results = {"machine": {**machine(), "torch": torch.__version__}, **loading}
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


def measure_loading(
    folder: Path, store: Path, rounds: int, clips: int, video_clips: int
) -> dict[str, Any]:
    """Clips a second in each way, round by round."""
    files = find_store_files(store)
    names = sorted(find_paths(folder, files))
    videos = tuple(Video(name, 0, name) for name in names)
    settings = settings_of(files[names[0]])
    ways = {
        f"{stream}, {name}": way
        for stream in STREAMS
        for name, way in ways_of(stream, folder, store, videos, settings).items()
    }
    counting = count_frames(Sources.of(folder, names, "rgb", settings), names)
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        chosen = rng.integers(len(names), size=max(clips, video_clips)).tolist()
        for name, way in ways.items():
            places = chosen[: video_clips if name.endswith("videos") else clips]
            started = time.perf_counter()
            for place in places:
                way(turn, place)
            if turn:  # the first round warms up
                rates[name].append(len(places) / (time.perf_counter() - started))
    for name, values in rates.items():
        print(f"  {name:<36} {spread(np.array(values))} clips/s")
    print(f"  {'counting the frames of a video':<36} {spread(1e3 * np.array(counting))} ms")
    configuration = {
        "videos": names,
        "frames_a_clip": LENGTH,
        "geometry": asdict(GEOMETRY),
        "varied": asdict(VARIED),
        "settings": settings.recorded(),
        "rounds": rounds,
        "clips_a_round": clips,
        "clips_a_round_from_videos": video_clips,
    }
    return {
        "configuration": configuration,
        "clips_a_second": rates,
        "seconds_to_count_frames": counting,
    }


def ways_of(
    stream: Stream, folder: Path, store: Path, videos: tuple[Video, ...], settings: Settings
) -> dict[str, Way]:
    def clips(source: Path, augmentation: Augmentation | None = None) -> Way:
        dataset = TrainingClips(
            source,
            videos,
            stream,
            LENGTH,
            GEOMETRY,
            seed=0,
            augmentation=augmentation,
            settings=settings,
        )
        return lambda turn, place: dataset[turn, place]

    return {
        "decoding JPEG files alone": jpeg_decoding(stream, store, videos),
        "store": clips(store),
        "store, random box and colours": clips(store, VARIED),
        "videos": clips(folder),
    }


def jpeg_decoding(stream: Stream, store: Path, videos: tuple[Video, ...]) -> Way:
    """Decodes the first files of a video, as many as a clip has."""
    names = {"rgb": ("img_",), "flow": ("flow_x_", "flow_y_")}[stream]
    flag = cv2.IMREAD_COLOR_RGB if stream == "rgb" else cv2.IMREAD_GRAYSCALE
    files = []
    for path in find_paths(store, [video.id for video in videos]).values():
        with StoreFile(path) as file:
            numbers = range(1, min(LENGTH, file.meta.flows) + 1)
            contents = [file.read(f"{name}{k:05d}.jpg") for k in numbers for name in names]
        files.append([np.frombuffer(content, np.uint8) for content in contents])
    return lambda turn, place: [cv2.imdecode(content, flag) for content in files[place]]


def count_frames(sources: Sources, names: list[str]) -> list[float]:
    """The seconds that it takes for each video."""
    seconds = []
    for name in names:
        with sources.opened(name) as source:
            started = time.perf_counter()
            _ = source.frames
            seconds.append(time.perf_counter() - started)
    return seconds


def settings_of(path: Path) -> Settings:
    """What a store file was made with."""
    meta = read_meta(path)
    values = {name: getattr(meta, name) for name in Settings().recorded()}
    is_tvl1 = meta.algorithm == "tvl1"
    params = TVL1Params(**meta.params) if is_tvl1 else TVL1Params()
    return Settings(**{**values, "params": params})


if __name__ == "__main__":
    main()
