"""What a network takes as input: channel order, mean, scale, the encoding of flow, the size."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from torch import Tensor

from flow.encoding import Scheme
from flow.errors import InputError

Channels = Literal["BGR", "RGB", "flow"]
COUNTS: dict[Channels, int] = {"BGR": 3, "RGB": 3, "flow": 2}


@dataclass(frozen=True)
class InputConvention:
    """How stored images become a network's input: ``(value - mean) * scale``, values 0 to 255.

    Attributes:
        channels: The order of the channels; "flow" is x, then y.
        mean: What is subtracted, a value a channel, in units of the stored 0 to 255. For flow it
            is the code that stands for no motion.
        scale: What the rest is multiplied by, a value a channel.
        size: Height and width in pixels that the weights were trained at; others work as well.
        encoding: The formula of the flow's codes (``flow.encoding``); None for frames.

    Raises:
        InputError: Values that do not belong together.
    """

    channels: Channels
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    size: tuple[int, int]
    encoding: Scheme | None = None

    def __post_init__(self) -> None:
        if self.channels not in COUNTS:
            raise InputError(f"Channels {self.channels!r} are unknown; give BGR, RGB or flow.")
        count = COUNTS[self.channels]
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if len(values) != count or not all(map(math.isfinite, values)):
                raise InputError(f"The {name} is {values}; give {count} finite numbers.")
        if not all(value > 0 for value in self.scale):
            raise InputError(f"The scale is {self.scale}; give numbers above 0.")
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"The size is {self.size}; give height and width, 1 or more.")
        known = get_args(Scheme) if self.channels == "flow" else (None,)
        if self.encoding not in known:
            raise InputError(f"The encoding of {self.channels} is {self.encoding}; give {known}.")

    def __str__(self) -> str:
        mean, scale = _listed(self.mean), _listed(self.scale)
        encoding = "" if self.encoding is None else f", {self.encoding} codes"
        return f"{self.channels} 0 to 255{encoding}, minus {mean}, times {scale}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "InputConvention":
        """What ``to_dict`` gave, before or after JSON."""
        lists = {name: tuple(values[name]) for name in ("mean", "scale", "size")}
        return cls(**{**values, **lists})

    def of_p3d(self, clip: Tensor) -> Tensor:
        """A clip (..., C, T, H, W) of P3D's own input, as ``twostream.data`` gives it, in this one.

        Symmetric codes q of flow become those of dense_flow by what both stand for, unrounded:
        v = bound (q - 128) / 127, and 127.5 + 127.5 v / bound (``flow.encoding``).
        """
        zero, gain = (P3D_FLOW if self.channels == "flow" else P3D_RGB).mean, 1.0
        if self.channels == "RGB":
            clip, zero = clip.flip(-4), zero[::-1]
        if self.encoding == "dense_flow":
            zero, gain = (127.5, 127.5), 127.5 / 127

        def by_channel(values: Iterable[float]) -> Tensor:
            return clip.new_tensor(list(values)).reshape(-1, 1, 1, 1)

        offset = by_channel(z - mean for z, mean in zip(zero, self.mean, strict=True))
        return (clip * gain + offset) * by_channel(self.scale)

    def for_flow(self) -> "InputConvention":
        """The same for flow, whose stem is the average of an RGB one: zero at 128, mean scale."""
        if self.channels == "flow":
            return self
        scale = sum(self.scale) / len(self.scale)
        return replace(
            self, channels="flow", mean=(128.0, 128.0), scale=(scale, scale), encoding="symmetric"
        )


def _listed(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


# P3D's own (its Caffe definitions and README): no division.
P3D_RGB = InputConvention("BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), (160, 160))
P3D_FLOW = P3D_RGB.for_flow()
# The author does not say what encoded his flow images; the published tools' formula is likely.
P3D_PUBLISHED_FLOW = replace(P3D_FLOW, encoding="dense_flow")
# The first Caffe ResNets (He et al. 2016).
CAFFE_RGB = InputConvention("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), (224, 224))
# torchvision and timm: 0 to 1, minus mean, over deviation.
IMAGENET_RGB = InputConvention(
    "RGB",
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)),
    (224, 224),
)
