"""When a number counts as reproduced."""

import math
from dataclasses import dataclass

from flow.errors import InputError

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
DRY_RUN = "dry run, not comparable"
NOTHING = "nothing published to compare with"
CONTEXT = "context, not run"
ROUNDING = 1e-9


@dataclass(frozen=True)
class Measured:
    """What was measured, in the row's unit.

    Attributes:
        value: The number.
        interval: Of 95 %; None of a count, or where it cannot be told.
        noisy: The interval is how far the same measurement may come out elsewhere the next time (a
            time). Else it is over other test videos than the published ones, which are the same.
        of: What the interval is over, in words.
    """

    value: float
    interval: tuple[float, float] | None = None
    noisy: bool = False
    of: str = ""

    def __post_init__(self) -> None:
        bounds = self.interval or (self.value, self.value)
        if not all(map(math.isfinite, (self.value, *bounds))) or bounds[0] > bounds[1]:
            raise InputError(f"{self.value} with {self.interval} is no measurement; measure again.")


def verdict(published: float | None, tolerance: float | None, measured: Measured) -> str:
    """In words.

    The measured number must lie within ``tolerance`` of the published one. A noisy one is told by
    its interval: reproduced where all of it lies within, not where all of it lies outside.
    """
    if published is None or tolerance is None:
        return NOTHING
    slack = tolerance + ROUNDING * max(1.0, abs(published))
    low, high = (measured.value, measured.value)
    if measured.noisy and measured.interval:
        low, high = measured.interval
    if published - slack <= low and high <= published + slack:
        return REPRODUCED
    if high < published - slack or low > published + slack:
        return NOT_REPRODUCED
    return f"undecided: measured no better than {low:.3g} to {high:.3g}; needs a quieter machine"
