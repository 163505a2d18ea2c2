"""Accuracies on small real data sets without training, from the video files on.

    python benchmarks/small_sets.py DATA --weights resnet50.safetensors --work WORK --out FILE.json

DATA holds weizmann, ut_interaction and surveillance_fight, each a folder ``videos`` and the list
``annotations.csv`` with groups. Runs the three commands as a user does, one after the other, with
the clock running; where WORK has what a command makes, it is done already, and its time tells
nothing.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from measured import machine

from flow.errors import InputError
from twostream.data.annotations import Video, load
from twostream.runs import sha256
from twostream.scores import Scores
from twostream.statistics import answers, bootstrap_accuracy


@dataclass(frozen=True)
class DataSet:
    """A data set, and what it needs.

    Attributes:
        folder: Its name below DATA.
        split: The splits that together test every video once.
        bound: Of the flow, in pixels: beyond it lies hardly any motion.
        clips: A video.
        resize: Height and width of these.
        source: Where it comes from.
        length: Frames of a clip.
    """

    folder: str
    split: str
    bound: float
    clips: int
    resize: tuple[int, int]
    source: str
    length: int = 16


# The inner folds of the training videos prefer 10 clips to 5, and 224 lines to 128. Weizmann has
# 144, and the videos of Surveillance Fight are so short that five clips cover them.
SETS = (
    DataSet("weizmann", "groups", 5, 10, (128, 160), "Gorelick et al., TPAMI 2007"),
    DataSet(
        "ut_interaction", "groups", 8, 10, (224, 288), "Ryoo, Aggarwal, UT-Interaction, 2010, set 1"
    ),
    DataSet(
        "surveillance_fight", "folds:5", 16, 5, (224, 288), "Akti, Tataroglu, Ekenel, IPTA 2019"
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-50 of ImageNet")
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and features")
    parser.add_argument("--sets", nargs="+", default=[each.folder for each in SETS])
    parser.add_argument("--clips", type=int, help="of all sets, instead of their own")
    parser.add_argument("--length", type=int, default=16, help="frames of a clip")
    parser.add_argument("--resize", type=int, nargs=2, help="of all sets, instead of their own")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    own = {"clips": arguments.clips, "length": arguments.length, "resize": arguments.resize}
    given = {name: value for name, value in own.items() if value is not None}
    wanted = [replace(each, **given) for each in SETS if each.folder in arguments.sets]
    try:
        results = [measure(each, arguments) for each in wanted]
    except (InputError, subprocess.CalledProcessError) as problem:
        print(problem, file=sys.stderr)
        return 2
    if arguments.out:
        report = {
            "machine": machine(),
            "weights": sha256(arguments.weights),
            "results": results,
        }
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def measure(chosen: DataSet, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the commands on one data set; gives its accuracies and the seconds of each command."""
    videos, lists = (
        arguments.data / chosen.folder / name for name in ("videos", "annotations.csv")
    )
    store, features, svm = (
        arguments.work / chosen.folder / name for name in ("store", "features", "svm")
    )
    network = "--weights", arguments.weights
    clips = "--clips", chosen.clips, "--length", chosen.length, "--resize", *chosen.resize
    commands = {
        "extract": ("flow", "extract", videos, store, "--bound", chosen.bound),
        "features": ("twostream", "features", store, features, *network, *clips),
        "svm": ("twostream", "svm", features, svm, "--lists", lists, "--split", chosen.split),
    }
    seconds = {name: _seconds(command) for name, command in commands.items()}
    listed = load("csv", lists, chosen.split)
    by_id = {video.id: video for video in listed.test}
    result = {
        **asdict(chosen),
        "videos": len(by_id),
        "groups": len({video.group for video in listed.test}),
        "seconds": seconds,
        "seconds_in_all": sum(seconds.values()),
        "top1_by_video": {
            name: _accuracy(svm / name / "scores.npz", by_id) for name in ("rgb", "flow", "fused")
        },
        "chosen": json.loads((svm / "svm.json").read_text()),
    }
    print(f"{chosen.folder}: {result['seconds_in_all'] / 60:.1f} min, {result['top1_by_video']}")
    return result


def _seconds(command: tuple[object, ...]) -> float:
    """How long ``python -m`` of a command takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *map(str, command)], check=True)
    return time.perf_counter() - started


def _accuracy(path: Path, videos: dict[str, Video]) -> dict[str, float]:
    right, groups = answers(Scores.load(path), videos)
    low, high = bootstrap_accuracy(right, groups)
    return {"mean": float(right.mean()), "low": low, "high": high}


if __name__ == "__main__":
    sys.exit(main())
