"""The ablation studies as data: a base, and cases that differ from it in one thing.

A study of your own is another entry of ``STUDIES``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flow.settings import Settings
from flow.tvl1 import TVL1Params
from twostream.experiments import INERT_TEMPORAL, Experiment, weizmann
from twostream.fusion import Rule
from twostream.streams import STREAMS, Stream

Classifier = Literal["svm", "network"]


@dataclass(frozen=True)
class Case:
    """One way from videos to accuracies.

    Attributes:
        settings: Of the flow.
        experiment: The network and its clips; where it is trained, the recipe.
        classifier: "svm": a linear SVM on features of the network as its weights are; "network":
            the network itself, trained.
        rule: What is averaged where the streams are fused.
        share: Of the flow stream in the fusion, 0 to 1; None: chosen on held-out training videos.
        inflate_flow_from_rgb: The flow network starts from the trained RGB network of this case.
    """

    settings: Settings
    experiment: Experiment
    classifier: Classifier
    rule: Rule = "softmax"
    share: float | None = 0.5
    inflate_flow_from_rgb: bool = False


@dataclass(frozen=True)
class Study:
    """A question, and the cases that answer it.

    Attributes:
        question: In a sentence.
        base: The name of the case that the others are compared with.
        cases: By name.
        streams: Which to run; with both, their fusion too.
        seeds: Runs of each case; 1 where nothing is random.
        cannot_tell: What the result does not say.
    """

    question: str
    base: str
    cases: dict[str, Case]
    streams: tuple[Stream, ...] = STREAMS
    seeds: int = 1
    cannot_tell: str = ""

    def __post_init__(self) -> None:
        assert self.base in self.cases, f"{self.base} is none of {list(self.cases)}"


@dataclass(frozen=True)
class Given:
    """What the data set at hand decides.

    Attributes:
        weights: Of a 2D network on ImageNet.
        bound: Of the flow, in pixels.
        mirror: Whether a mirrored video is of the same class.
        short_side: The videos are made as small first; None leaves them as they are.
    """

    weights: Path | None
    bound: float = 20.0
    mirror: bool = True
    short_side: int | None = None

    @property
    def settings(self) -> Settings:
        """Of the flow, where a study does not vary them."""
        return Settings(bound=self.bound, short_side=self.short_side)


SVM_ONLY = (
    "The network is not trained on these videos: a network that is may make up for the difference, "
    "or need it more."
)
SMALL = (
    "A small network, trained from scratch for seconds: what matters to a large one that is "
    "trained for days may differ."
)


def features(given: Given) -> Case:
    """The base of studies without training: an inflated P3D-63, a linear SVM on its features."""
    experiment = Experiment(
        weights=given.weights,
        resize=(128, 160),
        crop=(128, 160),
        mirror=given.mirror,
        test_clips=5,
    )
    return Case(given.settings, experiment, "svm", "log_probabilities", share=None)


def small(given: Given) -> Case:
    """The base of studies with training: the demo's small P3D, from scratch.

    Its studies take the flow stream alone: from scratch, frames teach little in so few steps.
    """
    experiment = Experiment(
        model="p3d_small",
        temporal_start="gaussian",
        freeze_batchnorm=False,
        dropout=0.5,
        resize=(80, 100),
        crop=(72, 90),
        mirror=given.mirror,
        batch=16,
        clips_at_once=16,
        steps=120,
        rate=0.03,
        schedule="cosine",
        warmup_steps=10,
        weight_decay=1e-3,
        fc_weight_rate=1.0,
        fc_bias_rate=1.0,
        test_clips=5,
    )
    return Case(given.settings, experiment, "network")


def flow_algorithm(given: Given) -> Study:
    """TV-L1 of both schemes, Farneback, DIS, and no flow."""
    base = features(given)

    def case(**settings: object) -> Case:
        return replace(base, settings=replace(base.settings, **settings))  # type: ignore[arg-type]

    return Study(
        "Does it matter which optical flow the flow stream sees?",
        "TV-L1",
        {
            "TV-L1": base,
            "TV-L1 (CUDA scheme)": case(params=TVL1Params.opencv_cuda()),
            "Farneback": case(algorithm="farneback"),
            "DIS": case(algorithm="dis"),
            "none (RGB alone)": replace(base, share=0.0),
        },
        cannot_tell=SVM_ONLY,
    )


def bound(given: Given) -> Study:
    """The motion that the stored images can hold."""
    base = features(replace(given, bound=20.0))
    return Study(
        "Does the bound of the stored flow matter?",
        "20 px",
        {
            f"{bound:g} px": replace(base, settings=replace(base.settings, bound=bound))
            for bound in (20.0, 3.0, 5.0, 10.0, 40.0)
        },
        cannot_tell=SVM_ONLY,
    )


def quality(given: Given) -> Study:
    """How much the JPEG files keep."""
    base = features(given)
    cases = {
        f"JPEG {quality}": replace(base, settings=replace(base.settings, quality=quality))
        for quality in (95, 80, 50, 20)
    }
    cases["PNG flow"] = replace(base, settings=replace(base.settings, codec="png"))
    return Study("Does compression matter?", "JPEG 95", cases, cannot_tell=SVM_ONLY)


def flow_size(given: Given) -> Study:
    """Flow at the video's own size, or of videos made smaller first."""
    base = features(replace(given, short_side=None))
    cases = {"own size": base} | {
        f"short side {side}": replace(base, settings=replace(base.settings, short_side=side))
        for side in (128, 96, 64)
    }
    return Study(
        "Can videos be made smaller before their flow is computed?",
        "own size",
        cases,
        cannot_tell=SVM_ONLY,
    )


def counted(number: int, name: str) -> str:
    """As "1 clip", "2 clips"."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def clip_length(given: Given) -> Study:
    """Frames in a clip."""
    base = features(given)
    cases = {
        counted(length, "frame"): replace(
            base, experiment=replace(base.experiment, clip_length=length)
        )
        for length in (16, 1, 4, 8, 32)
    }
    return Study("How long must a clip be?", "16 frames", cases, cannot_tell=SVM_ONLY)


def clips_a_video(given: Given) -> Study:
    """Clips a video when testing."""
    base = features(given)
    cases = {
        counted(clips, "clip"): replace(base, experiment=replace(base.experiment, test_clips=clips))
        for clips in (5, 1, 2, 10, 20)
    }
    return Study("How many clips of a video need to be seen?", "5 clips", cases)


def resolution(given: Given) -> Study:
    """The size that frames and flow are resized to."""
    base = features(given)
    cases = {
        f"{height}x{width}": replace(
            base, experiment=replace(base.experiment, resize=(height, width), crop=(height, width))
        )
        for height, width in ((128, 160), (64, 80), (96, 120), (160, 200), (192, 240))
    }
    return Study(
        "At what resolution is a video recognised?", "128x160", cases, cannot_tell=SVM_ONLY
    )


def fusion(given: Given) -> Study:
    """The rule of late fusion and the weight of the streams."""
    base = replace(features(given), rule="softmax", share=0.5)
    cases = {
        "1:1, softmax": base,
        "1:1, logits": replace(base, rule="logits"),
        "1:1, log-probabilities": replace(base, rule="log_probabilities"),
        "1:1.5, softmax": replace(base, share=0.6),
        "1:2, softmax": replace(base, share=2 / 3),
        "chosen, softmax": replace(base, share=None),
        "chosen, log-probabilities": replace(base, rule="log_probabilities", share=None),
        "RGB alone": replace(base, share=0.0),
        "flow alone": replace(base, share=1.0),
    }
    return Study("How should the streams be fused?", "1:1, softmax", cases, cannot_tell=SVM_ONLY)


def blocks(given: Given) -> Study:
    """The kinds of pseudo-3D blocks."""
    base = small(given)

    def of(*kinds: str) -> Case:
        return replace(base, experiment=replace(base.experiment, blocks=kinds))

    inert = replace(base.experiment, temporal_start="identity", rates=INERT_TEMPORAL)
    return Study(
        "Which kinds of blocks does a P3D need?",
        "A, B, C",
        {
            "A, B, C": base,
            "A": of("A"),
            "B": of("B"),
            "C": of("C"),
            "no temporal kernels": replace(base, experiment=inert),
        },
        streams=("flow",),
        seeds=3,
        cannot_tell=SMALL,
    )


def temporal_start(given: Given) -> Study:
    """How temporal kernels start."""
    base = small(given)
    start = replace(base.experiment, temporal_start="identity")
    return Study(
        "How should temporal kernels start?",
        "small and random",
        {"small and random": base, "identity": replace(base, experiment=start)},
        streams=("flow",),
        seeds=3,
        cannot_tell=SMALL,
    )


def partial_bn(given: Given) -> Study:
    """BatchNorms frozen but for the first, or all trained, in fine-tuning from ImageNet."""
    base = fine_tuned(given)
    free = replace(base.experiment, freeze_batchnorm=False)
    return Study(
        "Should BatchNorms be frozen in fine-tuning?",
        "all but the first frozen",
        {"all but the first frozen": base, "none frozen": replace(base, experiment=free)},
        seeds=3,
    )


def cross_modality(given: Given) -> Study:
    """What the flow stream starts from."""
    base = fine_tuned(given)
    scratch = replace(
        base.experiment,
        weights=None,
        last_layer="random",
        freeze_batchnorm=False,
        rates=(),
        rate=1e-3,
    )
    return Study(
        "What should the flow stream start from?",
        "ImageNet, stem averaged",
        {
            "ImageNet, stem averaged": base,
            "the trained RGB stream": replace(base, inflate_flow_from_rgb=True),
            "nothing": replace(base, experiment=scratch),
        },
        seeds=3,
    )


def fine_tuned(given: Given) -> Case:
    """The base of studies of fine-tuning: an inflated P3D-63 at a low resolution, for speed."""
    experiment = replace(
        weizmann(), weights=given.weights, clip_length=8, resize=(72, 90), crop=(64, 80)
    )
    experiment = replace(experiment, mirror=given.mirror)
    return Case(given.settings, experiment, "network")


STUDIES: dict[str, Callable[[Given], Study]] = {
    "blocks": blocks,
    "flow_algorithm": flow_algorithm,
    "bound": bound,
    "quality": quality,
    "flow_size": flow_size,
    "clip_length": clip_length,
    "temporal_start": temporal_start,
    "partial_bn": partial_bn,
    "cross_modality": cross_modality,
    "fusion": fusion,
    "test_clips": clips_a_video,
    "resolution": resolution,
}
