"""What a store file says of itself: where its images come from and how they were made."""

import json
import re
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from flow.encoding import Scheme
from flow.errors import InputError
from flow.tvl1 import TVL1Params

FORMAT = 1
IMPORTED = "imported"
"""The solver of flow that came from other tools and that nothing more is known of."""

SETTINGS = (
    *("algorithm", "solver", "params", "short_side", "step", "bound", "encoding"),
    *("codec", "quality", "rgb"),
)
"""The fields that are the same in the whole of a store."""

Algorithm = Literal["tvl1", "farneback", "dis"]
Codec = Literal["jpeg", "png"]


@dataclass(frozen=True)
class Meta:
    """What a store file holds and how it was made; raises InputError for values that cannot be.

    Attributes:
        source: Name of the video without folders.
        source_bytes: Its size.
        source_sha256: Its hash, 64 hexadecimal digits.
        frames: Frames that were taken of it; there is one flow image less.
        fps: Frames a second of what was taken, by the rate that the video states; 0 where it
            states none.
        width: Of the frames and of the flow, pixels.
        height: The same.
        decoder: What decoded the video, with its version.
        solver: What computed the flow, by its own name (never "auto").
        params: The fields of ``TVL1Params``, or what else the algorithm takes; none where the
            solver is "imported".
        bound: Motion in pixels that the encoding still holds.
        encoding: The scheme of ``flow.encode``.
        clipped: Share of the flow's values that lie beyond ``bound``, 0 to 1.
        quality: Of the JPEG files, 1 to 100.
        codec: Of the flow images: "jpeg", or the lossless "png".
        algorithm: Of the flow: "tvl1", "farneback" or "dis".
        short_side: What the video's shorter side was scaled to, in pixels; None for not at all.
        step: 1 where every frame of the video was taken, 2 where every second one was.
        rgb: Whether the frames are there, too.
        version: Of the program that computed the flow.
        damage: Why the rest of the video could not be read, where what is here is a part of it.
        format: Version of this layout.
    """

    source: str
    source_bytes: int
    source_sha256: str
    frames: int
    fps: float
    width: int
    height: int
    decoder: str
    solver: str
    params: dict[str, Any]
    bound: float
    encoding: Scheme
    clipped: float
    quality: int = 95
    codec: Codec = "jpeg"
    algorithm: Algorithm = "tvl1"
    short_side: int | None = None
    step: int = 1
    rgb: bool = True
    version: str = ""
    damage: str | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        valid = {
            "format": self.format == FORMAT,
            "source": _is_text(self.source) and self.source == Path(self.source).name != "..",
            "source_bytes": _is_count(self.source_bytes),
            "source_sha256": _is_text(self.source_sha256)
            and re.fullmatch("[0-9a-f]{64}", self.source_sha256) is not None,
            "frames": _is_count(self.frames) and self.frames >= 2,
            "fps": _is_number(self.fps) and self.fps >= 0,
            "width": _is_count(self.width),
            "height": _is_count(self.height),
            "decoder": _is_text(self.decoder),
            "solver": _is_text(self.solver),
            "algorithm": self.algorithm in get_args(Algorithm),
            "params": self._are_params(),
            "bound": _is_number(self.bound) and self.bound > 0,
            "encoding": self.encoding in get_args(Scheme),
            "clipped": _is_number(self.clipped) and 0 <= self.clipped <= 1,
            "quality": _is_count(self.quality) and self.quality <= 100,
            "codec": self.codec in get_args(Codec),
            "short_side": self.short_side is None or _is_count(self.short_side),
            "step": _is_count(self.step),
            "rgb": isinstance(self.rgb, bool),
            "version": isinstance(self.version, str),
            "damage": self.damage is None or _is_text(self.damage),
        }
        for name, good in valid.items():
            if not good:
                raise InputError(f"The meta data's {name} cannot be {getattr(self, name)!r}.")

    @property
    def flows(self) -> int:
        return self.frames - 1

    @property
    def origin(self) -> tuple[str, int, str]:
        """What tells the video from any other: its name, size and hash."""
        return self.source, self.source_bytes, self.source_sha256

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of ``to_json``; raises InputError for anything else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The meta data is no JSON: {error}.") from None
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise InputError(f"The meta data has not exactly the fields {sorted(names)}.")
        return cls(**values)

    def _are_params(self) -> bool:
        if self.solver == IMPORTED:
            return self.params == {}
        if self.algorithm == "tvl1":
            return _are_tvl1_params(self.params)
        return isinstance(self.params, dict) and all(map(_is_text, self.params))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def _are_tvl1_params(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(TVL1Params)}:
        return False
    try:
        TVL1Params(**value)
    except (InputError, TypeError):
        return False
    return True
