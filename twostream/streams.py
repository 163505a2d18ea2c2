"""The two streams."""

from typing import Literal, get_args

Stream = Literal["rgb", "flow"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
CHANNELS: dict[Stream, int] = {"rgb": 3, "flow": 2}
