"""What changed between two results of the same benchmarks, beyond noise.

    python benchmarks/compare.py BEFORE AFTER

BEFORE and AFTER are files of results, or folders of them, compared by the figures' names. A figure
has changed where an interval of 99 % of the ratio of medians leaves out 1, and the ratio is more
than 3 % off it: the interval knows the spread of one run, not that another hour of a shared
machine is slower. Ratios within a run, which such hours hit alike, are therefore told first.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from figures import READERS, Figure, figures_of

from flow.errors import InputError

RESAMPLES = 10_000
PERCENTILES = (0.5, 99.5)
LEAST = 0.03


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    arguments = parser.parse_args()
    try:
        before, after = read(arguments.before), read(arguments.after)
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    common = [name for name in before if name in after]
    if not common:
        print(f"{arguments.before} and {arguments.after} have no figure in common.")
        return 2
    for relative, title in ((True, "Ratios within a run"), (False, "Speeds")):
        print(title)
        for name in common:
            if before[name].relative == relative:
                print(f"  {told(before[name], after[name])}")
    for here, there, where in ((before, after, "before"), (after, before, "after")):
        if alone := [name for name in here if name not in there]:
            print(f"Only {where}: {', '.join(alone)}")
    return 0


def read(path: Path) -> dict[str, Figure]:
    """The figures of a file, or of all files in a folder, by name."""
    files = [path]
    if path.is_dir():
        files = sorted(file for name in READERS for file in path.glob(f"{name}*.json"))
    if not files:
        raise InputError(f"{path} holds no results of {', '.join(READERS)}; give results of those.")
    return {figure.name: figure for file in files for figure in figures_of(file)}


def told(before: Figure, after: Figure) -> str:
    """A line on one figure."""
    ratio, low, high = change(before, after)
    verdict = "within noise"
    if changed(ratio, low, high):
        verdict = f"{ratio:.2f} times as fast" if ratio > 1 else f"{1 / ratio:.2f} times as slow"
    return (
        f"{before.name}: {before.median:.4g} -> {after.median:.4g} {before.unit}, ratio "
        f"{ratio:.3f} [{low:.3f}, {high:.3f}], {verdict}"
    )


def change(before: Figure, after: Figure) -> tuple[float, float, float]:
    """The ratio of medians, after over before, and its bootstrap interval of 99 %."""
    rng = np.random.default_rng(0)
    medians = [
        np.median(rng.choice(figure.values, (RESAMPLES, len(figure.values))), axis=1)
        for figure in (before, after)
    ]
    low, high = np.percentile(medians[1] / medians[0], PERCENTILES)
    return after.median / before.median, float(low), float(high)


def changed(ratio: float, low: float, high: float) -> bool:
    """Whether that is beyond noise."""
    return not low <= 1 <= high and abs(np.log(ratio)) > np.log1p(LEAST)


if __name__ == "__main__":
    sys.exit(main())
