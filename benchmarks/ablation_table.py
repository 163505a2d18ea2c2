"""What the runs of an ablation study say: a table, and in words what is beyond noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twostream.statistics import bootstrap_mean, sign_flip

BELOW = 0.05


@dataclass(frozen=True)
class Result:
    """The runs of one case.

    Attributes:
        answers: By stream, "rgb+flow" the fusion: bool (S, V), which of V videos each of S seeds
            has right.
        failures: Why runs have ended without a result.
    """

    answers: Mapping[str, NDArray[np.bool_]]
    failures: tuple[str, ...] = ()

    def mean(self, stream: str) -> NDArray[np.float64]:
        """float64 (V,): the share of the seeds that have each video right."""
        return np.asarray(self.answers[stream].mean(axis=0))


@dataclass(frozen=True)
class Line:
    """A case beside the base, in shares from 0 to 1.

    Attributes:
        case: Its name.
        seeds: Runs that have a result.
        means: Top-1 by video of each stream, the mean over the seeds.
        deviation: Of the seeds (n - 1), of the stream that is compared; NaN for one seed.
        interval: Of its mean, 95 %, by whole groups.
        difference: From the base; 0 of the base itself.
        difference_interval: Of that.
        p: Of the sign-flip test by group, times the cases that are left (Holm); 1 of the base.
        failures: Why runs have ended without a result.
    """

    case: str
    seeds: int
    means: dict[str, float]
    deviation: float
    interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    p: float
    failures: tuple[str, ...] = field(default=())

    @property
    def beyond_noise(self) -> bool:
        """Whether the case differs from the base."""
        return self.p < BELOW


def lines(
    base: str, results: Mapping[str, Result], groups: NDArray[np.str_], stream: str
) -> list[Line]:
    """The cases that have a result, the base first.

    Args:
        base: The name of the case that others are compared with.
        results: By case.
        groups: Of the videos, (V,).
        stream: Which is compared.

    Per-video means over the seeds are compared; a seed is no independent sample of videos. Of the
    p of several cases that of the least counts as many times as there are cases, the next one's
    once less, and so on (Holm, Scandinavian Journal of Statistics 6, 1979).
    """
    there = [case for case, result in results.items() if result.answers]
    if base not in there:
        return []
    reference = results[base].mean(stream)
    others = [case for case in there if case != base]
    gains = {case: results[case].mean(stream) - reference for case in there}
    ps = holm([sign_flip(gains[case], groups) for case in others])
    p_of = dict(zip(others, ps, strict=True)) | {base: 1.0}
    return [_line(case, results[case], groups, stream, gains, p_of) for case in (base, *others)]


def _line(
    case: str,
    result: Result,
    groups: NDArray[np.str_],
    stream: str,
    gains: Mapping[str, NDArray[np.float64]],
    p_of: Mapping[str, float],
) -> Line:
    seeds = result.answers[stream].mean(axis=1)
    return Line(
        case=case,
        seeds=len(seeds),
        means={name: float(result.mean(name).mean()) for name in result.answers},
        deviation=float(seeds.std(ddof=1)) if len(seeds) > 1 else float("nan"),
        interval=bootstrap_mean(result.mean(stream), groups),
        difference=float(gains[case].mean()),
        difference_interval=bootstrap_mean(gains[case], groups),
        p=p_of[case],
        failures=result.failures,
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p of several tests, in their order."""
    order = np.argsort(ps, kind="stable")
    factors = len(ps) - np.arange(len(ps))
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(ps)[order]))
    return [float(value) for value in adjusted]


def frame(found: Sequence[Line]) -> pd.DataFrame:
    """A row a case, in percent and points."""
    rows = []
    for line in found:
        row: dict[str, object] = {"case": line.case}
        row |= {stream: 100 * mean for stream, mean in line.means.items()}
        row |= {
            "low": 100 * line.interval[0],
            "high": 100 * line.interval[1],
            "seeds": line.seeds,
            "seed deviation": 100 * line.deviation,
            "difference": 100 * line.difference,
            "difference low": 100 * line.difference_interval[0],
            "difference high": 100 * line.difference_interval[1],
            "p": line.p,
            "failed runs": len(line.failures),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def readable(found: Sequence[Line], stream: str) -> pd.DataFrame:
    """The same as text, for a page: intervals in brackets."""
    rows = []
    for line in found:
        row = {"case": line.case}
        for name, mean in line.means.items():
            row[name] = f"{100 * mean:.1f}"
            if name == stream:
                low, high = line.interval
                row[name] += f" [{100 * low:.1f}, {100 * high:.1f}]"
        if any(each.seeds > 1 for each in found):
            row["deviation"] = "" if line.seeds < 2 else f"{100 * line.deviation:.1f}"
        low, high = line.difference_interval
        base = line is found[0]
        row["difference"] = (
            "" if base else f"{100 * line.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        )
        row["p"] = "" if base else f"{line.p:.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def words(found: Sequence[Line], stream: str) -> list[str]:
    """What is beyond noise and what is within, in sentences."""
    if len(found) < 2:
        return ["There is nothing to compare yet."]
    base, others = found[0], found[1:]
    beyond = [line for line in others if line.beyond_noise]
    said = [
        f"{line.case} is {100 * abs(line.difference):.1f} points "
        f"{'above' if line.difference > 0 else 'below'} {base.case} ({stream}, p {line.p:.3f})."
        for line in beyond
    ]
    within = [line for line in others if not line.beyond_noise]
    if within:
        widest = max(abs(edge) for line in within for edge in line.difference_interval)
        names = ", ".join(line.case for line in within)
        said.append(
            f"Within noise of {base.case}: {names}. Differences of up to {100 * widest:.0f} points "
            "are not ruled out."
        )
    return said
