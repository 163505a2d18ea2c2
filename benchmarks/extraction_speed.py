"""Speed of the extraction stage beside the solver alone, and its memory and size.

    python benchmarks/extraction_speed.py VIDEOS [--out results.json]

VIDEOS is a folder of videos, searched at every depth. They are shared out to groups; each group is
extracted into a store, from files to files, and its flow is computed from frames that lie in memory
already, in turn, by the same processors: what decoding, compressing, writing and starting cost is
the difference.
"""

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measured import machine, spread

from flow.algorithms import video_flow
from flow.extract import extract
from flow.processors import usable_processors
from flow.settings import Settings
from flow.sources import find_videos, open_video
from flow.store import find_store_files, read_meta
from flow.video import grey

SETTINGS = Settings(solver="cpu")
WINDOW = 16  # pairs, as in the stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, searched at every depth")
    parser.add_argument("--groups", type=int, default=6, help="parts of the videos")
    parser.add_argument("--videos-a-group", type=int, help="all that there are where not given")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    found = find_videos(arguments.videos)
    groups = [found[k :: arguments.groups] for k in range(arguments.groups)]
    groups = [group[: arguments.videos_a_group] for group in groups]
    with tempfile.TemporaryDirectory() as folder:
        videos, store = Path(folder) / "videos", Path(folder) / "store"
        results = {
            "machine": machine(),
            "configuration": {
                **SETTINGS.recorded(),
                "workers": usable_processors(),
                "groups": arguments.groups,
                "videos_a_group": arguments.videos_a_group,
            },
            "extraction": measure_extraction(groups, arguments.videos, videos, store),
            "size": measure_size(store),
        }
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


def measure_extraction(
    groups: list[list[Path]], source: Path, videos: Path, store: Path
) -> dict[str, Any]:
    """Extract each group, and compute its flow alone, in turn; the first one comes once more."""
    rows: list[dict[str, Any]] = []
    for turn, group in enumerate(groups):
        part = videos / f"{turn}"
        for path in group:
            target = part / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        frames = [np.stack([grey(frame) for frame in open_video(path)]) for path in group]
        flows = sum(len(clip) - 1 for clip in frames)
        seconds: dict[str, float] = {}
        for name in ("stage", "solver") if turn % 2 else ("solver", "stage"):
            started = time.perf_counter()
            if name == "solver":
                for clip in frames:
                    for begin in range(0, len(clip) - 1, WINDOW):
                        video_flow(clip[begin : begin + WINDOW + 1], solver="cpu")
            else:
                with peak_memory() as memory:
                    summary = extract(part, store / f"{turn}", SETTINGS, progress=False)
            seconds[name] = time.perf_counter() - started
        assert summary.flows == flows
        rows.append(
            {
                "videos": [path.relative_to(source).as_posix() for path in group],
                "flows": flows,
                "stage_flows_a_second": flows / seconds["stage"],
                "solver_flows_a_second": flows / seconds["solver"],
                "share": seconds["solver"] / seconds["stage"],
                "peak_mb": memory["peak"] / 1e6,
                "frames_a_second_of_a_processor": summary.throughput.rates(),
                "share_of_time": summary.throughput.shares(),
            }
        )
        print(
            f"{len(group)} videos, {flows:,} flows: stage {rows[-1]['stage_flows_a_second']:.1f}, "
            f"solver alone {rows[-1]['solver_flows_a_second']:.1f} flows/s"
        )
    shares = np.array([row["share"] for row in rows])
    print(f"The stage runs at {spread(100 * shares)} % of the solver alone.")
    print(f"Peak memory of all processes: {max(row['peak_mb'] for row in rows):,.0f} MB")
    for stage in rows[0]["frames_a_second_of_a_processor"]:
        rates = np.array([row["frames_a_second_of_a_processor"][stage] for row in rows])
        print(f"  {stage:<7} {spread(rates)} frames/s of a processor")
    return {"groups": rows, "share": float(np.median(shares))}


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """The most memory, in bytes, that the processes that start in the body hold together.

    Shared memory counts once (the proportional set size of Linux), sampled every 0.2 s.
    """
    result, ended = {"peak": 0.0}, threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            held = sum(map(proportional_size, children(os.getpid())))
            result["peak"] = max(result["peak"], held)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield result
    finally:
        ended.set()
        thread.join()


def children(process: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for number in map(int, path.read_text().split()):
            found += [number, *children(number)]
    return found


def proportional_size(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure_size(store: Path) -> dict[str, float]:
    frames = flows = frame_bytes = flow_bytes = file_bytes = 0
    for path in find_store_files(store).values():
        file_bytes += path.stat().st_size
        meta = read_meta(path)
        frames += meta.frames
        flows += meta.flows
        with zipfile.ZipFile(path) as file:
            for entry in file.infolist():
                if entry.filename.startswith("img_"):
                    frame_bytes += entry.file_size
                elif entry.filename.startswith("flow_"):
                    flow_bytes += entry.file_size
    sizes = {
        "bytes_a_frame": frame_bytes / frames,
        "bytes_a_flow": flow_bytes / flows,
        "bytes_a_frame_with_all": file_bytes / frames,
    }
    print(
        f"{sizes['bytes_a_flow']:,.0f} bytes a flow, {sizes['bytes_a_frame']:,.0f} a frame, "
        f"{sizes['bytes_a_frame_with_all']:,.0f} a frame in all"
    )
    return sizes


if __name__ == "__main__":
    main()
