"""How long the extraction of whole data sets takes, and how much it stores, from what was measured.

    python benchmarks/extraction_estimate.py [RESULTS.json] [--gpu-pairs N] [--cpus-a-gpu N]

RESULTS.json is what ``extraction_speed.py`` has written: the speed of each stage on one processor,
and the bytes of a frame and of a flow, at 320 x 240. Both are scaled by pixels to the size of each
data set. The pairs a second of a GPU at 320 x 240 are not measured yet: what is expected on paper
is taken (see README.md), unless another number is given.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "extraction_speed_zen5_2cores.json"
MEASURED_PIXELS = 320 * 240


@dataclass(frozen=True)
class DataSet:
    """Clips, frames in all of them, and the size at which flow is computed."""

    name: str
    clips: int
    frames: float
    width: int
    height: int


# UCF101: 27 hours at 25 frames/s (Soomro, Zamir, Shah, arXiv 1212.0402). HMDB51: 6,766 clips of the
# official lists, 94 frames on average, 240 high (Kuehne et al., ICCV 2011). Kinetics: clips of 10 s
# (Kay et al., arXiv 1705.06950; Carreira et al., arXiv 1907.06987), taken as 30 frames/s and scaled
# to a short side of 256.
DATA_SETS = (
    DataSet("UCF101", 13_320, 27 * 3600 * 25, 320, 240),
    DataSet("HMDB51", 6_766, 6_766 * 94, 352, 240),
    DataSet("Kinetics-400", 306_245, 306_245 * 300, 340, 256),
    DataSet("Kinetics-700", 650_317, 650_317 * 300, 340, 256),
)


@dataclass(frozen=True)
class Machine:
    """What does the work: processors for all, or GPUs that solve and processors for the rest."""

    name: str
    processors: int
    gpus: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    parser.add_argument("--gpu-pairs", type=float, default=5000, help="a second at 320 x 240")
    parser.add_argument("--cpus-a-gpu", type=int, default=16)
    parser.add_argument("--cpus-a-node", type=int, default=32)
    arguments = parser.parse_args()
    measured = json.loads(arguments.results.read_text())
    rates = stage_rates(measured)
    machines = (
        Machine("1 GPU", arguments.cpus_a_gpu, 1),
        Machine("8 GPUs", 8 * arguments.cpus_a_gpu, 8),
        Machine("32 CPU nodes", 32 * arguments.cpus_a_node),
    )
    print(f"| data set | frames, millions | TB | {' | '.join(m.name for m in machines)} |")
    print(f"|---|---|---|{'---|' * len(machines)}")
    for data in DATA_SETS:
        scale = data.width * data.height / MEASURED_PIXELS
        size = data.frames * scale * measured["size"]["bytes_a_frame_with_all"]
        cells = []
        for machine in machines:
            frames, limit = throughput(rates, machine, arguments.gpu_pairs)
            cells.append(f"{hours(data.frames * scale / frames)} ({limit})")
        print(
            f"| {data.name} | {data.frames / 1e6:.1f} | {size / 1e12:.2f} | {' | '.join(cells)} |"
        )
    print(
        f"\nIn brackets what limits. A GPU solves {arguments.gpu_pairs:,.0f} pairs/s (expected), "
        f"beside {arguments.cpus_a_gpu} processors; a CPU node has {arguments.cpus_a_node}."
    )


def stage_rates(measured: dict[str, Any]) -> dict[str, float]:
    """Frames a second of one processor at 320 x 240, the median over the groups."""
    rows = [row["frames_a_second_of_a_processor"] for row in measured["extraction"]["groups"]]
    return {stage: float(np.median([row[stage] for row in rows])) for stage in rows[0]}


def throughput(rates: dict[str, float], machine: Machine, gpu_pairs: float) -> tuple[float, str]:
    """Frames a second at 320 x 240, and the stage that limits."""
    own = [stage for stage in rates if not (machine.gpus and stage == "solve")]
    seconds = {stage: 1 / rates[stage] for stage in own}
    frames = machine.processors / sum(seconds.values())
    if machine.gpus and machine.gpus * gpu_pairs < frames:
        return machine.gpus * gpu_pairs, "GPU"
    return frames, max(own, key=lambda stage: seconds[stage])


def hours(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min" if seconds > 600 else f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86_400:.0f} days"


if __name__ == "__main__":
    main()
