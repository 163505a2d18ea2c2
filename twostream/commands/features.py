"""python -m twostream features: what a network says of each clip, before its last layer."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from tyro.conf import Positional

from flow.errors import InputError
from flow.store import find_store_files
from twostream.readers import READERS
from twostream.streams import CHANNELS, Stream

if TYPE_CHECKING:
    from twostream.experiments import Experiment
    from twostream.features import Clips, Network


@dataclass(frozen=True)
class Features:
    """Take features of stored videos, by trained streams or by weights; writes OUT/<stream>.

    Give either --run, or --weights with its --model. What is there already is not taken again.

    Attributes:
        store: What python -m flow extract wrote.
        out: The folder to write.
        run: Folder of a run: its trained networks, and its clips where no others are given.
        weights: Weights of a published P3D, or of a 2D network of ImageNet.
        model: The network that these belong to.
        streams: Of which streams.
        lists: The lists whose videos are wanted; all of the store where not given.
        dataset: Of the lists: "ucf101", "hmdb51" or "csv".
        split: Of the official lists, both sides: "1", "2" or "3".
        layer: "pool5", or a part of the network, such as "res4", averaged over time and space.
        clips: Evenly spread clips a video; the run's, or 20.
        length: Frames in a clip; the run's, or 16.
        resize: Height and width that frames are resized to; the run's, or 182 242.
        crop: Height and width of the centre crop; the whole of what --resize gives, where that is
            given, else the run's, or 160 160.
        mirror: The mirrored clips as well; not of a run that was trained without them.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    store: Positional[Path]
    out: Positional[Path]
    run: Path | None = None
    weights: Path | None = None
    model: str = "p3d63"
    streams: tuple[Stream, ...] = ("rgb", "flow")
    lists: Path | None = None
    dataset: str = "csv"
    split: str = "1"
    layer: str = "pool5"
    clips: int | None = None
    length: int | None = None
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    mirror: bool = True
    workers: int = READERS
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.features import take_features

        if (self.run is None) == (self.weights is None):
            raise InputError("Give the features' network, either by --run or by --weights.")
        videos = self._videos()
        for stream in self.streams:
            network, clips = self._trained(stream) if self.run else self._published(stream)
            start = perf_counter()
            new = take_features(
                network,
                clips,
                self.store,
                videos,
                self.out / stream,
                layer=self.layer,
                workers=self.workers,
                device=self.device,
            )
            seconds = perf_counter() - start
            each = clips.count * (2 if clips.mirror else 1)
            print(
                f"{stream}: {self.layer} of {clips}, {len(videos)} videos, {new} of them new: "
                f"{new * each:,} clips in {seconds:.1f} s; {self.out / stream}"
            )
        return 0

    def _videos(self) -> tuple[str, ...]:
        if self.lists is None:
            videos = tuple(find_store_files(self.store))
            if not videos:
                raise InputError(
                    f"{self.store} has no video; write it with: python -m flow extract"
                )
            return videos
        from twostream.data.annotations import load

        # For a CSV any folds do: what is wanted is all of it.
        listed = load(self.dataset, self.lists, "fold:1/2" if self.dataset == "csv" else self.split)
        return tuple(video.id for video in (*listed.train, *listed.test))

    def _trained(self, stream: Stream) -> "tuple[Network, Clips]":
        """The network of a run's stream, and the clips that it is scored on or that are given."""
        from twostream.checkpoints import to_test
        from twostream.features import Network
        from twostream.runs import Checkpoint, sha256

        assert self.run is not None
        path = to_test(self.run / stream)
        checkpoint = Checkpoint.load(path)
        experiment = checkpoint.run.experiment
        model = checkpoint.run.build(len(checkpoint.classes))
        model.load_state_dict(checkpoint.model)
        network = Network(model, experiment.model, sha256(path), checkpoint.trained_on)
        return network, self._clips(stream, experiment)

    def _published(self, stream: Stream) -> "tuple[Network, Clips]":
        """The network with the weights of a file, and the author's clips or those given."""
        from twostream.experiments import Experiment
        from twostream.features import Network
        from twostream.models import MODELS, load_weights
        from twostream.runs import sha256

        assert self.weights is not None
        if self.model not in MODELS:
            raise InputError(f"Model {self.model!r} is unknown; give one of {', '.join(MODELS)}.")
        model = MODELS[self.model](num_classes=400, in_channels=CHANNELS[stream])
        report = load_weights(model, self.weights)
        print(report)
        if report.head_replaced and self.layer.split(".")[0] == "fc":
            raise InputError(
                f"{self.weights} has no last layer of 400 classes; give another layer."
            )
        return Network(model, self.model, sha256(self.weights)), self._clips(stream, Experiment())

    def _clips(self, stream: Stream, experiment: "Experiment") -> "Clips":
        """What is given; for the rest, how the experiment tests."""
        from twostream.data.transforms import Geometry
        from twostream.features import Clips

        return Clips(
            stream,
            experiment.test_clips if self.clips is None else self.clips,
            experiment.clip_length if self.length is None else self.length,
            Geometry(self.resize or experiment.resize, self.crop or self.resize or experiment.crop),
            experiment.short,
            self.mirror and experiment.mirror,
        )
