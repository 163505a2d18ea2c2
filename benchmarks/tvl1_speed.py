"""Speed of the native TV-L1 solver beside OpenCV's, run by run of neighbouring frames, in one go.

    python benchmarks/tvl1_speed.py VIDEOS [--out results.json]

VIDEOS is a folder of videos, searched at every depth. Runs of neighbouring frames are taken from
the middle of clips chosen evenly, brought to each size, and solved by OpenCV and by the native
solver in turn, so that whatever else the machine does hits both. First with one thread each, then
with all processors: OpenCV spreads a pair over them, the native solver the pairs of the run. The
two flows are compared, and the native solver's parts are set beside the arithmetic that they
cannot avoid. Last, longer runs are solved by the native solver with one thread and with all in
turn: what the threads bring.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measured import machine, milliseconds, spread
from numpy.typing import NDArray

from flow import TVL1Params, encode, tvl1
from flow.processors import usable_processors
from flow.tvl1 import cpu

Frames = NDArray[np.uint8]
Flow = NDArray[np.float32]

SIZES = [(180, 144), (320, 240), (640, 480)]
SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm"}
# Arithmetic on one pixel's floats, a fused product and sum counted once; the least that the scheme
# needs as it is written in flow/tvl1/kernels. Iteration: residual and threshold 5, divergence 6,
# u 4, stop test 2, and for each component of p 10, of which a root and a division. Warp: 16 taps of
# 3 planes in 60, weights 32, position and constants 22. Median of both components: 86 each.
OPERATIONS = {"iterations": 37, "warp": 114, "median": 172}
SCALING_PAIRS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, searched at every depth")
    parser.add_argument("--runs", type=int, default=5, help="clips that a run is taken from")
    parser.add_argument("--pairs", type=int, default=4, help="neighbouring pairs of a run")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    longest = max(arguments.pairs, SCALING_PAIRS) + 1
    clips = read_runs(arguments.videos, arguments.runs, longest)
    long_runs = list(clips.values())
    runs = [run[: arguments.pairs + 1] for run in long_runs]
    results = {
        "machine": machine(),
        "configuration": {
            "params": asdict(TVL1Params()),
            "videos": list(clips),
            "runs": len(runs),
            "pairs_a_run": arguments.pairs,
        },
        "sizes": [measure_size(runs, size) for size in SIZES],
        "scaling": measure_scaling(long_runs, (320, 240)),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


def read_runs(folder: Path, count: int, length: int) -> dict[str, Frames]:
    """Grey frames (length, H, W) from the middle of ``count`` clips, evenly chosen by name."""
    clips = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    runs: dict[str, Frames] = {}
    for index in np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int):
        frames = read_grey(clips[index])
        start = (len(frames) - length) // 2
        if start >= 0:
            name = clips[index].relative_to(folder).as_posix()
            runs[name] = np.stack(frames[start : start + length])
    if not runs:
        raise SystemExit(f"{folder} has no video of {length} frames or more.")
    return runs


def read_grey(path: Path) -> list[Frames]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
    return [np.asarray(frame, np.uint8) for frame in frames]


def resize(runs: list[Frames], size: tuple[int, int]) -> list[Frames]:
    return [
        np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in run])
        for run in runs
    ]


def measure_size(runs: list[Frames], size: tuple[int, int]) -> dict[str, Any]:
    resized = resize(runs, size)
    processors = usable_processors()
    width, height = size
    print(f"\n{width} x {height}")
    return {
        "width": width,
        "height": height,
        "speed": [measure_threads(resized, threads) for threads in sorted({1, processors})],
        "profile": profile(resized),
    }


def measure_threads(runs: list[Frames], threads: int) -> dict[str, Any]:
    cv2.setNumThreads(threads)

    def opencv(frames: Frames) -> Flow:
        return np.stack([tvl1(a, b, solver="opencv") for a, b in pairwise(frames)])

    def native(frames: Frames) -> Flow:
        return cpu.solve_video(frames, TVL1Params(), threads)

    for solve in (opencv, native):  # warm-up
        solve(runs[0][:2])
    seconds, flows = [], []
    for run in runs:
        timed = [seconds_a_pair(solve, run) for solve in (opencv, native)]
        seconds.append([spent for spent, _ in timed])
        flows.append([flow for _, flow in timed])
    times, fields = np.array(seconds), np.concatenate(flows, axis=1)
    ratio = times[:, 0] / times[:, 1]
    print(
        f"  {threads} thread(s): OpenCV {milliseconds(times[:, 0])}, native "
        f"{milliseconds(times[:, 1])} a pair, {spread(ratio)} times as fast"
    )
    return {
        "threads": threads,
        "opencv_s_a_pair": times[:, 0].tolist(),
        "native_s_a_pair": times[:, 1].tolist(),
        "ratio_median": float(np.median(ratio)),
        "ratio_of_sums": float(times[:, 0].sum() / times[:, 1].sum()),
        "agreement": agreement(fields[0], fields[1]),
    }


def measure_scaling(runs: list[Frames], size: tuple[int, int]) -> dict[str, Any]:
    """How many times as fast all processors are as one thread."""
    processors = usable_processors()
    seconds = []
    for run in resize(runs, size) * 2:
        timed = [
            seconds_a_pair(partial(cpu.solve_video, params=TVL1Params(), threads=threads), run)
            for threads in (1, processors)
        ]
        seconds.append([spent for spent, _ in timed])
    times = np.array(seconds)
    ratio = times[:, 0] / times[:, 1]
    print(f"\nNative solver, {processors} threads beside one: {spread(ratio)} times as fast")
    return {
        "width": size[0],
        "height": size[1],
        "pairs_a_run": len(runs[0]) - 1,
        "threads": processors,
        "one_thread_s_a_pair": times[:, 0].tolist(),
        "all_threads_s_a_pair": times[:, 1].tolist(),
        "ratio_median": float(np.median(ratio)),
    }


def agreement(flow: Flow, other: Flow) -> dict[str, float]:
    """End-point difference in pixels, and the share of image values within a level at bound 20."""
    difference = np.linalg.norm(flow - other, axis=-1)
    levels = np.abs(encode(flow).astype(int) - encode(other))
    result = {
        "median_px": float(np.median(difference)),
        "mean_px": float(difference.mean()),
        "within_a_level": float((levels <= 1).mean()),
    }
    print("    differing by", ", ".join(f"{key} {value:.4f}" for key, value in result.items()))
    return result


def seconds_a_pair(solve: Callable[[Frames], Flow], frames: Frames) -> tuple[float, Flow]:
    began = time.perf_counter()
    flow = solve(frames)
    return (time.perf_counter() - began) / (len(frames) - 1), flow


def profile(runs: list[Frames]) -> dict[str, Any]:
    """Where the native solver's time goes on one thread, beside the arithmetic it cannot avoid."""
    counts = [cpu.profile_video(run, TVL1Params(), threads=1) for run in runs]
    total = {key: sum(count[key] for count in counts) for key in counts[0]}  # type: ignore[literal-required]
    pairs = sum(len(run) - 1 for run in runs)
    parts = ("iterations", "warp", "median", "pyramid")
    seconds = {part: total[f"{part}_s"] for part in parts}
    print("  part        share  ms a pair  ns a pixel  operations a pixel  operations a ns")
    table = {}
    for part in parts:
        row: dict[str, float] = {
            "share": seconds[part] / sum(seconds.values()),
            "ms_a_pair": 1e3 * seconds[part] / pairs,
        }
        line = f"  {part:<10} {row['share']:6.1%} {row['ms_a_pair']:10.2f}"
        if part in OPERATIONS:
            pixels = total["pixel_iterations" if part == "iterations" else f"pixel_{part}s"]
            row["pixels_a_pair"] = pixels / pairs
            row["ns_a_pixel"] = 1e9 * seconds[part] / pixels
            row["operations_a_pixel"] = OPERATIONS[part]
            rate = OPERATIONS[part] / row["ns_a_pixel"]
            line += f" {row['ns_a_pixel']:11.2f} {OPERATIONS[part]:19} {rate:16.1f}"
        table[part] = row
        print(line)
    return table


if __name__ == "__main__":
    main()
