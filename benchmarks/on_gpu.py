"""Everything in this project that only a GPU can show, in one call of some minutes.

    python benchmarks/on_gpu.py pack VIDEOS frames.npz     (needs OpenCV; on any machine)
    python benchmarks/on_gpu.py run frames.npz --out results.json

``pack`` takes runs of neighbouring frames from the middle of clips chosen evenly. ``run`` needs
PyTorch with a CUDA GPU, cuda-core and the native solver, and neither OpenCV nor a command-line
library. It holds the CUDA solver against the native one, asks it for the same bits again, runs it
under compute-sanitizer where that is installed, and measures: pairs a second of the solver with
CUDA events for several sizes, batches and both schemes; from frames in the host's memory to encoded
images in the host's memory; the same through the process that the extraction has for each GPU, fed
by several others with one video each; and the networks' clips a second, trained and scored. Each
figure is a median after warm-up. A part that fails is named, and the others still run.
"""

import argparse
import json
import multiprocessing
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from itertools import count, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flow import gpu, processes
from flow.encoding import encode
from flow.gpu import GpuProcess
from flow.tvl1 import TVL1Params, cpu, cuda, cuda_kernel
from flow.tvl1.cuda_problem import COUNTS

Frames = NDArray[np.uint8]

SCHEMES = {"opencv": TVL1Params(), "opencv_cuda": TVL1Params.opencv_cuda()}
SIZES = [(320, 240), (340, 256), (640, 480), (1280, 720)]
BATCHES = [32, 128, 512, 2048]
MOST_PIXELS = 2048 * 320 * 240  # of a batch
REPETITIONS = 5
SERVED_SECONDS = 6.0
# Instructions of a lane on one pixel of an iteration: about 1,150 on 24 of them in the innermost
# loop of the kernel's machine code for sm_90.
INSTRUCTIONS = 48


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="take frames from videos")
    packing.add_argument("videos", type=Path)
    packing.add_argument("frames", type=Path)
    running = commands.add_parser("run", help="check and measure")
    running.add_argument("frames", type=Path)
    running.add_argument("--out", type=Path, help="JSON file for the results")
    small = commands.add_parser("small", help="one small batch, for compute-sanitizer")
    small.add_argument("frames", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments.videos, arguments.frames)
        return 0
    if reason := cuda_kernel.why_unavailable():
        print(reason, file=sys.stderr)
        return 2
    clips = list(np.load(arguments.frames).values())
    if arguments.command == "small":
        cuda.solve_tensor(torch.tensor(resized(clips[0][:4], 50, 37)).cuda(), TVL1Params()).cpu()
        return 0
    return run(clips, arguments.frames, arguments.out)


def pack(videos: Path, target: Path, runs: int = 6, length: int = 9) -> None:
    from tvl1_speed import read_runs

    clips = read_runs(videos, runs, length)
    np.savez_compressed(target, *clips)
    print(
        f"{len(clips)} runs of {length} frames, {target.stat().st_size / 1e6:.1f} MB, in {target}"
    )


def run(clips: list[Frames], frames: Path, out: Path | None) -> int:
    parts: dict[str, Callable[[], Any]] = {
        "machine": machine,
        "agreement": lambda: agreement(clips),
        "same_bits": lambda: same_bits(clips),
        "solver": lambda: solver_speed(clips),
        "end_to_end": lambda: end_to_end(clips),
        "served": lambda: served(clips),
        "networks": networks,
        "sanitizer": lambda: sanitizer(frames),
    }
    results: dict[str, Any] = {}
    for name, part in parts.items():
        print(f"\n{name}", flush=True)
        began = time.perf_counter()
        try:
            results[name] = part()
        except Exception as error:  # the others are worth the GPU's time all the same
            traceback.print_exc()
            results[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
        torch.cuda.empty_cache()
        if out:
            out.write_text(json.dumps(results, indent=2) + "\n")
    failed = [name for name, result in results.items() if "failed" in result]
    print("\nFailed: " + ", ".join(failed) if failed else "\nEvery part ran.")
    return 1 if failed else 0


def machine() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    result = {
        "gpu": properties.name,
        "processors": properties.multi_processor_count,
        "memory_gib": properties.total_memory / 2**30,
        "blocks_at_a_time": cuda_kernel.resident_blocks(torch.device("cuda", 0)),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }
    print("  " + ", ".join(f"{key} {value}" for key, value in result.items()))
    return result


def agreement(clips: list[Frames]) -> dict[str, Any]:
    """The CUDA solver's flow beside the native solver's, and the native one's beside its own."""
    result = {}
    for name, params in SCHEMES.items():
        near, itself = [], []
        for clip in clips:
            expected = cpu.solve_video(clip, params)
            near.append(difference(cuda.solve(clip[:-1], clip[1:], params), expected))
            grey = clip.astype(np.float32)
            shaken = cpu.solve(grey[:-1] * np.float32(1.00001), grey[1:], params)
            itself.append(difference(shaken, expected))
        result[name] = {"cuda": summary(near), "native_itself": summary(itself)}
        print(f"  {name}: {result[name]}")
    return result


def difference(
    flow: NDArray[np.float32], expected: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    levels = np.abs(encode(flow).astype(int) - encode(expected))
    return np.linalg.norm(flow - expected, axis=-1).ravel(), levels.ravel()


def summary(
    differences: list[tuple[NDArray[np.float32], NDArray[np.int_]]],
) -> dict[str, float]:
    pixels = np.concatenate([end_point for end_point, _ in differences])
    levels = np.concatenate([level for _, level in differences])
    return {
        "median_px": float(np.median(pixels)),
        "mean_px": float(pixels.mean()),
        "within_a_level": float((levels <= 1).mean()),
    }


def same_bits(clips: list[Frames]) -> dict[str, bool]:
    """Whether runs, batches, and the two ways of encoding give the same bits."""
    params, clip = TVL1Params(), clips[0]
    flow = cuda.solve(clip[:-1], clip[1:], params)
    alone = [cuda.solve(clip[i : i + 1], clip[i + 1 : i + 2], params)[0] for i in range(3)]
    result = {
        "again": bool((cuda.solve(clip[:-1], clip[1:], params) == flow).all()),
        "alone": bool((np.stack(alone) == flow[:3]).all()),
        "encoded": bool((cuda.encode_video(clip, params).images == encode(flow)).all()),
    }
    print(f"  {result}")
    return result


def solver_speed(clips: list[Frames]) -> list[dict[str, Any]]:
    rows = []
    print("  scheme       size       pairs   pairs/s  Gpixel-iterations/s  issue slots")
    for name, params in SCHEMES.items():
        for width, height in SIZES:
            for pairs in BATCHES:
                if pairs * width * height > MOST_PIXELS:
                    continue
                row = measure_solver(video(clips, pairs + 1, width, height), params)
                what = {"scheme": name, "width": width, "height": height, "pairs": pairs}
                rows.append({**what, **row})
                print(
                    f"  {name:<12} {width:>4}x{height:<4} {pairs:6} {row['pairs_a_s']:9.0f} "
                    f"{row['pixel_iterations_a_s'] / 1e9:20.1f} {row['issue_share']:12.0%}",
                    flush=True,
                )
    return rows


def measure_solver(frames: Frames, params: TVL1Params) -> dict[str, float]:
    on_gpu = torch.tensor(frames, device="cuda")
    counts = torch.zeros((len(frames) - 1, len(COUNTS)), dtype=torch.int64, device="cuda")
    seconds = cuda_seconds(lambda: cuda.solve_tensor(on_gpu, params, counts))
    iterations, computed, medians = counts.sum(0).tolist()
    properties = torch.cuda.get_device_properties(0)
    slots = properties.multi_processor_count * 128 * clock_hz()
    return {
        "seconds": seconds,
        "pairs_a_s": (len(frames) - 1) / seconds,
        "pixel_iterations_a_pair": iterations / (len(frames) - 1),
        "computed_over_iterations": computed / iterations,
        "pixel_medians_a_pair": medians / (len(frames) - 1),
        "pixel_iterations_a_s": iterations / seconds,
        "issue_share": computed * INSTRUCTIONS / seconds / slots,
    }


def end_to_end(clips: list[Frames]) -> list[dict[str, Any]]:
    """From frames in the host's memory to encoded images there."""
    rows = []
    for width, height in SIZES[:3]:
        pairs = min(2048, MOST_PIXELS // (width * height))
        frames = video(clips, pairs + 1, width, height)
        cuda.encode_video(frames, TVL1Params())
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            cuda.encode_video(frames, TVL1Params())
            taken.append(time.perf_counter() - began)
        row = {"width": width, "height": height, "pairs": pairs}
        rows.append({**row, "pairs_a_s": pairs / float(np.median(taken))})
        print(f"  {width}x{height}: {rows[-1]['pairs_a_s']:.0f} pairs/s", flush=True)
    return rows


def served(clips: list[Frames]) -> list[dict[str, Any]]:
    """Pairs a second that processes get from the process of the GPU, each at a video at a time."""
    rows = []
    with GpuProcess("cuda:0") as process:
        for clients in (1, 2, 4, 8, 16):
            ends = []
            for _ in range(clients):
                here, there = multiprocessing.Pipe()
                ends.append((processes.start(feed, process.address, clips, there), here))
                there.close()
            for _, here in ends:
                here.recv()
            for _, here in ends:
                here.send("go")
            told = [here.recv() for _, here in ends]
            for client, _ in ends:
                client.join()
            seconds = float(np.median([seconds for _, seconds, _ in told]))
            row = {
                "clients": clients,
                "pairs_a_s": sum(pairs / seconds for pairs, seconds, _ in told),
                "gpu_busy": sum(busy for _, _, busy in told) / seconds,
            }
            rows.append(row)
            print(
                f"  {clients:2} clients: {row['pairs_a_s']:.0f} pairs/s, GPU busy "
                f"{row['gpu_busy']:.0%}",
                flush=True,
            )
    return rows


def feed(address: str, clips: list[Frames], parent: Connection) -> None:
    """Send a video of UCF101's length and size again and again: pairs, seconds, seconds busy."""
    task = gpu.Task(video(clips, 187, 320, 240), TVL1Params(), 20.0, "symmetric")
    pairs, busy = 0, 0.0
    with gpu.GpuClient(address) as client:
        client.solve(task)
        parent.send("ready")
        parent.recv()
        began = time.perf_counter()
        while (seconds := time.perf_counter() - began) < SERVED_SECONDS:
            _, more = client.solve(task)
            pairs += len(task.frames) - 1
            busy += more
    parent.send((pairs, seconds, busy))


def networks() -> list[dict[str, Any]]:
    """Clips a second of P3D-63 and P3D-199, 16 x 160 x 160, scored and trained."""
    from p3d_speed import CLIP, measure

    gpu = torch.device("cuda")
    rows = [
        measure(name, batch, training, (channels, *CLIP), gpu, REPETITIONS, compiled)
        for name in ("p3d63", "p3d199")
        for training, batch, channels, compiled in (
            (False, 1, 3, True),
            (False, 16, 3, False),
            (False, 16, 2, False),
            (False, 64, 3, True),
            (False, 256, 3, False),
            (True, 16, 3, False),
            (True, 16, 2, False),
            (True, 128, 3, False),
        )
    ]
    torch.cuda.empty_cache()
    return rows


def sanitizer(frames: Path) -> dict[str, str]:
    """The last lines of compute-sanitizer's tools on a small batch."""
    if not shutil.which("compute-sanitizer"):
        print("  compute-sanitizer is not installed here")
        return {"skipped": "compute-sanitizer is not installed"}
    result = {}
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, sys.executable, __file__, "small"]
        done = subprocess.run(
            [*command, str(frames)], capture_output=True, text=True, timeout=150, check=False
        )
        result[tool] = done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr[-300:]
        print(f"  {tool}: {result[tool]}", flush=True)
    return result


def cuda_seconds(work: Callable[[], Any]) -> float:
    """Median over some runs, by the GPU's clock, after one that does not count."""
    work()
    taken = []
    for _ in range(REPETITIONS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end) / 1e3)
    return float(np.median(taken))


def clock_hz() -> float:
    """The processors' highest clock."""
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    return 1e6 * float(subprocess.check_output(query, text=True).split()[0])


def video(clips: list[Frames], length: int, width: int, height: int) -> Frames:
    """Real frames of a size, one run after the other and back, each time shifted a little more."""
    runs = [resized(clip, width, height) for clip in clips]
    frames = (
        np.roll(frame, turn, axis=1)
        for turn in count()
        for run in runs
        for frame in (*run, *run[::-1])
    )
    return np.stack(list(islice(frames, length)))


def resized(clip: Frames, width: int, height: int) -> Frames:
    images = torch.tensor(clip[:, None], dtype=torch.float32)
    smaller = torch.nn.functional.interpolate(
        images, (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return smaller[:, 0].round().clamp(0, 255).to(torch.uint8).numpy()


if __name__ == "__main__":
    sys.exit(main())
