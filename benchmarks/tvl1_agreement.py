"""How near the native TV-L1 solver is to OpenCV's, beside how near OpenCV's is to itself.

    python benchmarks/tvl1_agreement.py VIDEOS [--pairs 24] [--out results.json]

VIDEOS is a folder of videos, searched at every depth. Pairs of neighbouring frames are taken at
their own size from clips chosen evenly, at a different place in each, and solved by both solvers
with OpenCV's scheme, and with the loop of OpenCV's CUDA solver (300 iterations, no median), which
OpenCV's CPU solver can be told to run. OpenCV solves them once more with the first image multiplied
by 1.00001: what rounding alone does, where the scheme is chaotic. Then both are held against the
true flow of clips of the demo.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measured import machine
from numpy.typing import NDArray
from tvl1_speed import agreement, read_runs

from flow import TVL1Params
from flow.tvl1 import cpu, opencv
from twostream.demo import MOTIONS, TEXTURES, make_clip

Frames = NDArray[np.uint8]
Images = NDArray[np.float32]
Flow = NDArray[np.float32]
Solver = Callable[[Images, Images, TVL1Params], Flow]

TRUE_PAIRS = (1, 5, 9, 13, 17)  # first frames, of the clips with true flow

SCHEMES = {
    "opencv": TVL1Params(),
    "loop of opencv_cuda": replace(TVL1Params.opencv_cuda(), sampling="opencv"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, searched at every depth")
    parser.add_argument("--pairs", type=int, default=24, help="clips that a pair is taken from")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    clips = read_runs(arguments.videos, arguments.pairs, 2)
    pairs = list(clips.values())
    results: dict[str, Any] = {
        "machine": machine(),
        "videos": list(clips),
        "sizes": [list(pair.shape[1:]) for pair in pairs],
        "schemes": {name: measure(pairs, params) for name, params in SCHEMES.items()},
        "true_flow": measure_truth(),
        "params": {name: asdict(params) for name, params in SCHEMES.items()},
        "version": version("twostream-flow"),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


def measure(pairs: list[Frames], params: TVL1Params) -> dict[str, Any]:
    def solve(solver: Solver) -> list[Flow]:
        return [
            solver(np.array(p[:1], np.float32), np.array(p[1:], np.float32), params)[0]
            for p in pairs
        ]

    expected, native = flat(solve(opencv.solve)), flat(solve(cpu.solve))
    itself = flat(solve(partial(shaken, opencv.solve)))
    print(
        f"{len(pairs)} pairs, outer x inner iterations {params.outer_iterations} x "
        f"{params.inner_iterations}, median {params.median}"
    )
    print("  native and OpenCV:")
    near = agreement(native, expected)
    print("  OpenCV and itself, the first image times 1.00001:")
    return {"native": near, "opencv_itself": agreement(itself, expected)}


def measure_truth() -> dict[str, float]:
    """Average end-point error on pairs of made clips of every class, pixels."""
    solvers: dict[str, Solver] = {
        "native": cpu.solve,
        "opencv": opencv.solve,
        "opencv, first image times 1.00001": partial(shaken, opencv.solve),
    }
    errors: dict[str, list[float]] = {name: [] for name in solvers}
    for texture, motion in product(TEXTURES, MOTIONS):
        clip = make_clip(texture, motion, group=1)
        grey = np.array([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in clip.frames], np.float32)
        for start in TRUE_PAIRS:
            for name, solve in solvers.items():
                flow = solve(grey[start][None], grey[start + 1][None], TVL1Params())[0]
                errors[name].append(float(np.linalg.norm(flow - clip.flow[start], axis=-1).mean()))
    result = {name: float(np.mean(values)) for name, values in errors.items()}
    print(f"True flow of the demo, {len(errors['native'])} pairs, average end-point error in px:")
    print("    " + ", ".join(f"{name} {value:.4f}" for name, value in result.items()))
    return result


def shaken(solver: Solver, first: Images, second: Images, params: TVL1Params) -> Flow:
    """The flow where the first image is brighter by a hundredth of a thousandth."""
    return solver(first * np.float32(1.00001), second, params)


def flat(flows: list[Flow]) -> Flow:
    """All vectors, (N, 2), of flows of any size."""
    return np.concatenate([flow.reshape(-1, 2) for flow in flows])


if __name__ == "__main__":
    main()
