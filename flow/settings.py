"""What makes stored flow what it is: all flow in a store is made with the same settings."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import numpy as np

from flow.algorithms import PARAMETERS, library
from flow.encoding import Scheme, encode
from flow.errors import InputError
from flow.meta import SETTINGS, Algorithm, Codec, Meta
from flow.tvl1 import Solver, TVL1Params, choose_solver, tvl1


@dataclass(frozen=True)
class Settings:
    """The settings of an extraction, checked.

    Attributes:
        solver: What computes TV-L1, as for ``flow.tvl1``; auto is the fastest of this machine.
        bound: Motion in pixels that the images can hold; what is beyond is clipped.
        encoding: "symmetric", or "dense_flow" for weights that were trained on that tool's images.
        quality: Of the JPEG files, 1 to 100.
        params: Parameters of TV-L1.
        algorithm: "tvl1", or OpenCV's "farneback" or "dis" to compare with.
        codec: "jpeg", or "png" for flow images without loss, some twice as large.
        short_side: Scale each video so that its shorter side has so many pixels, before anything
            else; None leaves it as it is.
        step: Take every frame (1), every second one (2), ...; flow then goes from one that is
            taken to the next.
        rgb: Store the frames beside the flow.
    """

    solver: Solver = "auto"
    bound: float = 20.0
    encoding: Scheme = "symmetric"
    quality: int = 95
    params: TVL1Params = field(default_factory=TVL1Params)
    algorithm: Algorithm = "tvl1"
    codec: Codec = "jpeg"
    short_side: int | None = None
    step: int = 1
    rgb: bool = True

    def __post_init__(self) -> None:
        encode(np.zeros(1, np.float32), self.bound, self.encoding)  # raises what is wrong with them
        if not 1 <= self.quality <= 100:
            raise InputError(f"The JPEG quality is {self.quality}; give a number from 1 to 100.")
        for name, kinds in (("algorithm", Algorithm), ("codec", Codec)):
            if (value := getattr(self, name)) not in get_args(kinds):
                raise InputError(
                    f"The {name} {value!r} is unknown; give one of {', '.join(get_args(kinds))}."
                )
        if self.short_side is not None and self.short_side < 1:
            raise InputError(f"The short side is {self.short_side}; give 1 pixel or more.")
        if self.step < 1:
            raise InputError(f"The step is {self.step}; give 1, or more to leave out frames.")
        if self.algorithm != "tvl1":
            if self.solver not in ("auto", "opencv"):
                raise InputError(
                    f"The solver {self.solver!r} is one of TV-L1; leave it out for "
                    f"{self.algorithm}, which OpenCV computes."
                )
            if self.params != TVL1Params():
                raise InputError(
                    f"Parameters of TV-L1 mean nothing to {self.algorithm}; leave them out."
                )

    def resolved(self, try_it: bool = True) -> "Settings":
        """The same with the solver that "auto" means here.

        Raises:
            InputError: The solver cannot run here, where one is to ``try_it``.
        """
        if self.algorithm != "tvl1":
            return replace(self, solver="opencv")
        if try_it:
            blank = np.zeros((32, 32), np.uint8)
            tvl1(blank, blank, self.params, self.solver)
        return replace(self, solver=choose_solver(self.solver))  # type: ignore[arg-type]

    def recorded(self) -> dict[str, Any]:
        """The fields of ``Meta`` that these settings decide."""
        values = asdict(self)
        if self.algorithm != "tvl1":
            values["params"] = dict(PARAMETERS[self.algorithm])
        return values

    def version(self) -> str:
        """Of the program that computes the flow."""
        return library(self.algorithm, self.solver)

    def difference(self, meta: Meta) -> str | None:
        """What a store file was made with otherwise, if anything."""
        mine = self.recorded()
        for name in SETTINGS:
            here, there = mine[name], getattr(meta, name)
            if name == "params":
                name = next((k for k in {**here, **there} if here.get(k) != there.get(k)), name)
                here, there = here.get(name), there.get(name)
            if here != there:
                return f"{name} {there}, not {here}"
        return None
