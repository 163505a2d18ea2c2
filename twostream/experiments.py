"""An experiment is a frozen value: everything about a training run but the data and the stream.

An ablation is ``dataclasses.replace(base, one_thing=...)``.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from flow.errors import InputError
from twostream.data.transforms import Geometry
from twostream.models import MODELS


@dataclass(frozen=True)
class Experiment:
    """A recipe. The defaults are the P3D authors' for UCF101 (ICCV 2017, section 3.3).

    Momentum and weight decay, which the paper leaves out, are those of the author's later code;
    the rates of the last layer are those of the released Caffe definitions.

    Attributes:
        model: A name in ``twostream.models.MODELS``.
        blocks: The kinds of pseudo-3D blocks, repeated through the network.
        weights: File to start from, as ``load_weights`` takes it: ours, a published P3D, or a 2D
            network of ImageNet; none: from scratch.
        temporal_start: How temporal kernels start: at the 2D net ("identity") or small and random
            with deviation 0.001 ("gaussian").
        freeze_batchnorm: Hold all BatchNorms but the first at their statistics, scale and shift.
        dropout: Share of the pooled features that is dropped before the last layer.
        clip_length: Frames, or flow fields, in a clip.
        resize: Height and width that frames are resized to first; none: as they are.
        crop: Height and width of the random crop (training) or centre crop (testing).
        short: What stands in for the frames that a shorter video lacks.
        mirror: Mirror half of the training clips. Off where left and right are different classes.
        batch: Clips a step, from as many different videos as there are.
        clips_at_once: Clips that pass the network together; the step adds up their gradients.
        steps: Steps in all.
        rate: Learning rate at the start.
        rate_drop_every: Steps after which the rate falls to a tenth, again and again.
        momentum: Of SGD.
        weight_decay: Of SGD.
        fc_weight_rate: Learning rate of the last layer's weights over the others'.
        fc_bias_rate: Learning rate of its biases over the others'.
        test_clips: Evenly spread clips a video when testing; their softmax is averaged.
        seed: Of everything random.
    """

    model: str = "p3d63"
    blocks: tuple[str, ...] = ("A", "B", "C")
    weights: Path | None = None
    temporal_start: Literal["identity", "gaussian"] = "identity"
    freeze_batchnorm: bool = True
    dropout: float = 0.9
    clip_length: int = 16
    resize: tuple[int, int] | None = (182, 242)
    crop: tuple[int, int] = (160, 160)
    short: Literal["repeat", "loop"] = "repeat"
    mirror: bool = True
    batch: int = 128
    clips_at_once: int = 8
    steps: int = 7500
    rate: float = 0.001
    rate_drop_every: int = 3000
    momentum: float = 0.9
    weight_decay: float = 1e-4
    fc_weight_rate: float = 10.0
    fc_bias_rate: float = 20.0
    test_clips: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"Model {self.model!r} is unknown; give one of {', '.join(MODELS)}.")
        if not self.blocks or set(self.blocks) - set("ABC"):
            raise InputError(f"Blocks {self.blocks} are unknown; give a cycle of A, B and C.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"The dropout is {self.dropout}; give at least 0 and less than 1.")
        counts = ("clip_length", "batch", "clips_at_once", "steps", "rate_drop_every", "test_clips")
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(
                    f"The experiment's {name} is {getattr(self, name)}; give 1 or more."
                )
        if self.rate <= 0:
            raise InputError(f"The learning rate is {self.rate}; give a number above 0.")
        self.geometry()

    def geometry(self) -> Geometry:
        """The sizes that training and testing share."""
        return Geometry(self.resize, self.crop)

    def to_json(self) -> str:
        """The whole experiment, readable by ``from_json``."""
        return json.dumps(asdict(self), indent=2, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """The experiment that ``to_json`` wrote."""
        values = json.loads(text)
        for name in ("blocks", "resize", "crop"):
            values[name] = None if values[name] is None else tuple(values[name])
        values["weights"] = None if values["weights"] is None else Path(values["weights"])
        return cls(**values)


def paper() -> Experiment:
    """P3D-63 on UCF101 as its authors train it; give an ImageNet ResNet-50 as ``weights``."""
    return Experiment()


def small_data() -> Experiment:
    """P3D-63 on data sets of some hundred clips, from ImageNet, within an hour of two CPU cores.

    Rates for batches of 16 clips and few steps; less dropout than the paper.
    """
    return Experiment(
        dropout=0.5,
        resize=(128, 160),
        crop=(112, 144),
        batch=16,
        clips_at_once=4,
        steps=60,
        rate=0.0005,
        rate_drop_every=45,
        test_clips=5,
    )


def demo() -> Experiment:
    """A small P3D from scratch on the demo data; a mirror would turn "left" into "right"."""
    return Experiment(
        model="p3d_small",
        temporal_start="gaussian",
        freeze_batchnorm=False,
        dropout=0.5,
        resize=None,
        crop=(72, 72),
        mirror=False,
        batch=16,
        clips_at_once=16,
        steps=110,
        rate=0.03,
        rate_drop_every=77,
        weight_decay=1e-3,
        fc_weight_rate=1.0,
        fc_bias_rate=1.0,
        test_clips=2,
    )


EXPERIMENTS = {"paper": paper, "small_data": small_data, "demo": demo}
