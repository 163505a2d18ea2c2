"""The figures in the results of the speed benchmarks, all in one form."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measured import peak_of
from numpy.typing import NDArray

from flow.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured several times.

    Attributes:
        name: What, the same in every run of the benchmark.
        unit: Of the values; more is better.
        values: float64 (N,): a value a round, or a clip.
        floor: What the machine can do at best, in the same unit and run; NaN where unknown.
        relative: A ratio of two things that took turns, which other work on the machine hits alike.
    """

    name: str
    unit: str
    values: Floats
    floor: float = float("nan")
    relative: bool = False

    @property
    def median(self) -> float:
        return float(np.median(self.values))


def figures_of(path: Path) -> list[Figure]:
    """The figures in a file of results, whose name starts with its benchmark's.

    Raises:
        InputError: A file of another kind, or a damaged one.
    """
    reader = next((read for name, read in READERS.items() if path.name.startswith(name)), None)
    if reader is None:
        raise InputError(f"{path} is of no benchmark known here; give one of {', '.join(READERS)}.")
    try:
        return list(reader(json.loads(path.read_text())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InputError(
            f"{path} holds no results ({type(problem).__name__}: {problem}); measure again."
        ) from None


def _tvl1_speed(report: dict[str, Any]) -> Iterator[Figure]:
    for size in report["sizes"]:
        for speed in size["speed"]:
            name = f"TV-L1 {size['width']}x{size['height']}, threads {speed['threads']}"
            opencv, native = (np.array(speed[f"{who}_s_a_pair"]) for who in ("opencv", "native"))
            yield Figure(f"{name}: over OpenCV", "times", opencv / native, relative=True)
            yield Figure(f"{name}: pairs", "pairs/s", 1 / native)
    scaling = report["scaling"]
    one, all_ = (np.array(scaling[f"{who}_s_a_pair"]) for who in ("one_thread", "all_threads"))
    threads = scaling["threads"]
    yield Figure(f"TV-L1: {threads} threads over one", "times", one / all_, threads, relative=True)


def _extraction_speed(report: dict[str, Any]) -> Iterator[Figure]:
    groups = report["extraction"]["groups"]
    share = np.array([group["share"] for group in groups])
    yield Figure("extraction: over the solver alone", "times", share, 1.0, relative=True)
    for stage in groups[0]["frames_a_second_of_a_processor"]:
        values = [group["frames_a_second_of_a_processor"][stage] for group in groups]
        yield Figure(f"extraction: {stage}, one processor", "frames/s", np.array(values))


def _clips(report: dict[str, Any]) -> Iterator[Figure]:
    for name, values in report["clips_a_second"].items():
        yield Figure(f"reading: {name}", "clips/s", np.array(values))


def _loading(report: dict[str, Any]) -> Iterator[Figure]:
    rates = {name: np.array(values) for name, values in report["clips_a_second"].items()}
    for name, values in rates.items():
        floor = rates.get(f"{name.split(',')[0]}, decoding JPEG files alone")
        known = float("nan") if floor is None else float(np.median(floor))
        yield Figure(f"loading: {name}", "clips/s", values, known)


def _p3d_speed(report: dict[str, Any]) -> Iterator[Figure]:
    for result in report["results"]:
        name = f"{result['model']}, {result['stage']}, {result['batch']} clips"
        seconds = {form: np.array(taken) for form, taken in result["seconds_a_batch"].items()}
        for form, taken in seconds.items():
            peak = np.median(peak_of(form, result["peak_gflops"])) / (2 * result["gmac_a_clip"])
            yield Figure(f"{name}: {form}", "clips/s", result["batch"] / taken, float(peak))
            if form != "plain" and "plain" in seconds:
                ratio = seconds["plain"] / taken
                yield Figure(f"{name}: {form} over plain", "times", ratio, relative=True)


def _predict_speed(report: dict[str, Any]) -> Iterator[Figure]:
    for name, values in report["frames_a_second"].items():
        yield Figure(f"predict: {name}", "frames/s", np.array(values))


READERS: dict[str, Callable[[dict[str, Any]], Iterator[Figure]]] = {
    "tvl1_speed": _tvl1_speed,
    "extraction_speed": _extraction_speed,
    "reading_speed": _clips,
    "loading_speed": _loading,
    "p3d_speed": _p3d_speed,
    "predict_speed": _predict_speed,
}
