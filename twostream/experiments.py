"""An experiment is a frozen value: everything about a training run but the data and the stream.

An ablation is ``dataclasses.replace(base, one_thing=...)``.
"""

import inspect
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from flow.errors import InputError
from twostream.data.transforms import Augmentation, Geometry
from twostream.models import MODELS
from twostream.models.inference import Precision
from twostream.models.published import LineageName

ValidateOn = Literal["nothing", "held_out", "test"]


@dataclass(frozen=True)
class Experiment:
    """A recipe. The defaults are the P3D authors' for UCF101 (ICCV 2017, section 3.3).

    Momentum and weight decay, which the paper leaves out, are those of the author's later code;
    the rates of the last layer are those of the released Caffe definitions.

    Attributes:
        model: A name in ``twostream.models.MODELS``.
        blocks: The kinds of pseudo-3D blocks, repeated through the network.
        width_factor: Scales the channels of every layer, where the model can (ResNet-18 and 34).
        weights: What to start from: a file as ``load_weights`` takes it (ours, a published P3D, or
            a 2D network of ImageNet), or the folder of a run, of which each stream takes its own.
            None: from scratch.
        lineage: Of 2D weights, where their file does not tell: as ``load_weights`` takes it.
        temporal_start: How temporal kernels start: at the 2D net ("identity") or small and random
            with deviation 0.001 ("gaussian"). Kernels that were trained on clips stay.
        last_layer: How it starts: as the weights bring it, else at random ("random"), or as the
            best one for the network's features of the training clips ("fitted").
        freeze_batchnorm: Hold all BatchNorms but the first at their statistics, scale and shift.
        dropout: Share of the pooled features that is dropped before the last layer.
        clip_length: Frames, or flow fields, in a clip.
        resize: Height and width that frames are resized to first; none: as they are.
        crop: Height and width of the random crop (training) or centre crop (testing).
        short: What stands in for the frames that a shorter video lacks.
        mirror: Mirror half of the training clips. Off where left and right are different classes.
        scale: Smallest and largest share of the picture that a random crop takes, before it is
            resized to the size of the crop; none: a crop of that size.
        jitter: Strength of random changes of brightness, contrast and saturation; RGB only.
        batch: Clips a step, from as many different videos as there are, over all processes.
        clips_at_once: Clips that pass the network together; the step adds up their gradients.
        steps: Steps in all.
        optimiser: "sgd" or "adamw".
        rate: Learning rate, after the warm-up.
        schedule: How it falls: to a tenth after every ``rate_drop_every`` steps ("drops"), or along
            half a cosine to zero at the last step ("cosine").
        rate_drop_every: Steps after which the rate falls to a tenth, again and again.
        warmup_steps: Steps in which the rate rises evenly up to ``rate``.
        momentum: Of SGD; the first beta of AdamW, whose second is 0.999.
        weight_decay: Of SGD (in the gradient) or of AdamW (decoupled).
        fc_weight_rate: Learning rate of the last layer's weights over the others'.
        fc_bias_rate: Learning rate of its biases over the others'.
        rates: Patterns of parameters with a factor of their learning rate, as "conv1", "res2.0" or
            "*.temporal*"; 0 freezes them, BatchNorms too. The first that fits holds.
        clip_norm: Largest norm of the gradient over all parameters, above which it is scaled down.
        label_smoothing: Share of each label that is spread over all classes.
        ema: Decay of the moving average of the weights, which is then what is tested; none: the
            weights themselves.
        precision: "bf16" (autocast), "fp32", or "auto": bf16 where the device computes it itself.
        checkpoint_activations: Compute a block's activations once more on the way back instead of
            keeping them: less memory, a third more time.
        validate_on: After every epoch: whole groups of the training list that are not trained on
            ("held_out"), which also choose ``best.pt``; the test list ("test"), which chooses
            nothing, as it would be trained on through that choice; or nothing.
        held_out: Share of the training videos to hold out.
        validation_clips: Evenly spread clips a video in a validation.
        patience: Epochs without a better validation after which training ends; none: never.
        test_clips: Evenly spread clips a video when testing; their softmax is averaged.
        seed: Of everything random.
    """

    model: str = "p3d63"
    blocks: tuple[str, ...] = ("A", "B", "C")
    width_factor: float = 1.0
    weights: Path | None = None
    lineage: LineageName | None = None
    temporal_start: Literal["identity", "gaussian"] = "identity"
    last_layer: Literal["random", "fitted"] = "random"
    freeze_batchnorm: bool = True
    dropout: float = 0.9
    clip_length: int = 16
    resize: tuple[int, int] | None = (182, 242)
    crop: tuple[int, int] = (160, 160)
    short: Literal["repeat", "loop"] = "repeat"
    mirror: bool = True
    scale: tuple[float, float] | None = None
    jitter: float = 0.0
    batch: int = 128
    clips_at_once: int = 8
    steps: int = 7500
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.001
    schedule: Literal["drops", "cosine"] = "drops"
    rate_drop_every: int = 3000
    warmup_steps: int = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    fc_weight_rate: float = 10.0
    fc_bias_rate: float = 20.0
    rates: tuple[tuple[str, float], ...] = ()
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    ema: float | None = None
    precision: Precision = "auto"
    checkpoint_activations: bool = False
    validate_on: ValidateOn = "nothing"
    held_out: float = 0.1
    validation_clips: int = 3
    patience: int | None = None
    test_clips: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"Model {self.model!r} is unknown; give one of {', '.join(MODELS)}.")
        if not self.blocks or set(self.blocks) - set("ABC"):
            raise InputError(f"Blocks {self.blocks} are unknown; give a cycle of A, B and C.")
        if self.width_factor != 1 and not takes_width(self.model):
            able = ", ".join(name for name in MODELS if takes_width(name))
            raise InputError(f"Model {self.model} has no width_factor; give it to one of {able}.")
        if self.lineage is not None and self.weights is None:
            raise InputError(f"Lineage {self.lineage} is that of no weights; give weights, too.")
        self._check_numbers()
        if self.patience is not None and self.validate_on != "held_out":
            raise InputError(
                f"A patience of {self.patience} needs held-out videos; give validate_on held_out."
            )
        self.geometry()
        self.augmentation()

    def _check_numbers(self) -> None:
        counts = ("clip_length", "batch", "clips_at_once", "steps", "rate_drop_every")
        for name in (*counts, "validation_clips", "test_clips", "patience"):
            _check(name, getattr(self, name), 1)
        _check("warmup_steps", self.warmup_steps, 0, self.steps)
        _check("seed", self.seed, 0)
        _check("dropout", self.dropout, 0, below=1)
        _check("label_smoothing", self.label_smoothing, 0, below=1)
        _check("momentum", self.momentum, 0, below=1)
        _check("weight_decay", self.weight_decay, 0)
        for name in ("rate", "clip_norm"):
            _check(name, getattr(self, name), 0, exclusive=True)
        for name in ("ema", "held_out"):
            _check(name, getattr(self, name), 0, below=1, exclusive=True)
        for name, factor in (("fc_weight", self.fc_weight_rate), ("fc_bias", self.fc_bias_rate)):
            _check(f"{name}_rate", factor, 0)
        for pattern, factor in self.rates:
            _check(f"rate factor of {pattern!r}", factor, 0)

    def geometry(self) -> Geometry:
        """The sizes that training and testing share."""
        return Geometry(self.resize, self.crop)

    def augmentation(self) -> Augmentation:
        """What is random about a training clip, beside its place."""
        return Augmentation(mirror=self.mirror, scale=self.scale, jitter=self.jitter)

    def to_json(self) -> str:
        """The whole experiment, readable by ``from_json``."""
        return json.dumps(asdict(self), indent=2, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """The experiment that ``to_json`` wrote."""
        values = {name: _tuples(value) for name, value in json.loads(text).items()}
        values["weights"] = None if values["weights"] is None else Path(values["weights"])
        return cls(**values)


def takes_width(model: str) -> bool:
    """Whether a model of that name can be made wider or narrower."""
    return "width_factor" in inspect.signature(MODELS[model]).parameters


def _check(
    name: str,
    value: float | None,
    least: float,
    most: float = math.inf,
    *,
    below: float = math.inf,
    exclusive: bool = False,
) -> None:
    """Refuse a number outside its range; None, where a field may be it, is inside."""
    if value is None or (
        least <= value <= most and value < below and not (exclusive and value == least)
    ):
        return
    wanted = f"more than {least}" if exclusive else f"{least} or more"
    if most < math.inf:
        wanted += f" and {most} or less"
    if below < math.inf:
        wanted += f" and less than {below}"
    raise InputError(f"The experiment's {name} is {value}; give {wanted}.")


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def paper() -> Experiment:
    """P3D-63 on UCF101 as its authors train it; give an ImageNet ResNet-50 as ``weights``.

    The temporal kernels start small and random, as the author asks for. Better still, start from
    a run of ``frames``: the paper fine-tunes the 2D network on UCF101 first.
    """
    return Experiment(temporal_start="gaussian")


def paper_flow() -> Experiment:
    """The flow stream of ``paper``, from the same RGB weights: the stem is their average.

    Dropout as in the author's Kinetics flow network; crops as in his later code for flow.
    """
    return replace(paper(), dropout=0.7, scale=(0.5, 1.0))


def frames() -> Experiment:
    """The 2D network of ``paper``, fine-tuned on single frames, for another run to start from.

    A clip is one frame, and the temporal kernels, held at the identity, pass it as it is.
    """
    return replace(
        paper(), clip_length=1, clips_at_once=64, temporal_start="identity", rates=INERT_TEMPORAL
    )


INERT_TEMPORAL = (("*.temporal*", 0.0),)


def modern() -> Experiment:
    """P3D-63 from ImageNet as networks of video are fine-tuned today, for your own classes too.

    AdamW with warm-up and cosine, label smoothing, random resized crops, colour jitter, and the
    moving average of the weights. For UCF101, 7,500 steps of 64 clips are 50 epochs.
    """
    return Experiment(
        dropout=0.5,
        scale=(0.4, 1.0),
        jitter=0.4,
        batch=64,
        clips_at_once=16,
        optimiser="adamw",
        rate=1e-4,
        schedule="cosine",
        warmup_steps=300,
        weight_decay=0.05,
        fc_bias_rate=10.0,
        clip_norm=5.0,
        label_smoothing=0.1,
        ema=0.999,
    )


def weizmann() -> Experiment:
    """P3D-63 on data sets of some hundred clips, from ImageNet, on a CPU: res4, res5 and fc learn.

    The last layer starts fitted to the features; a rate as low as this one, reached slowly, keeps
    what it was fitted to.
    """
    return Experiment(
        last_layer="fitted",
        dropout=0.0,
        resize=(128, 160),
        crop=(128, 160),
        batch=16,
        clips_at_once=4,
        steps=48,
        optimiser="adamw",
        rate=1e-5,
        schedule="cosine",
        warmup_steps=10,
        weight_decay=0.05,
        fc_weight_rate=1.0,
        fc_bias_rate=1.0,
        label_smoothing=0.1,
        rates=(("conv1", 0.0), ("res2", 0.0), ("res3", 0.0)),
        test_clips=5,
    )


def pretrain() -> Experiment:
    """P3D-63 on several such data sets as one, for a run of ``weizmann`` on another to start from.

    All but the first two stages learn, at ten times that rate, from random boxes.
    """
    return replace(
        weizmann(),
        dropout=0.5,
        scale=(0.5, 1.0),
        steps=900,
        rate=1e-4,
        warmup_steps=60,
        fc_weight_rate=3.0,
        fc_bias_rate=3.0,
        rates=(("conv1", 0.0), ("res2", 0.0)),
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


EXPERIMENTS = {
    "paper": paper,
    "paper_flow": paper_flow,
    "frames": frames,
    "modern": modern,
    "weizmann": weizmann,
    "pretrain": pretrain,
    "demo": demo,
}
