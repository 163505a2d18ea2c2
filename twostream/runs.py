"""A run's folder: what was trained on what, its checkpoint, its log.

RUN/rgb/run.json        the whole experiment, the data and the stream
RUN/rgb/checkpoint.pt   weights, optimiser and position; loads with ``weights_only=True``
RUN/rgb/log.csv         a row an epoch
RUN/rgb/missing_*.txt   listed videos that the store lacks, where that was allowed
RUN/rgb/scores.npz      scores of the test list
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from flow.errors import InputError
from flow.files import write_atomically
from flow.store import store_path
from twostream.data.annotations import Annotations, Side, load, missing, only, require
from twostream.experiments import Experiment
from twostream.models import MODELS, P3D
from twostream.streams import CHANNELS, STREAMS, Stream


@dataclass(frozen=True)
class Data:
    """Which videos, with which labels, and where their frames and flow are stored.

    Attributes:
        lists: The folder of the official list files, or a CSV file ``video,label[,group][,split]``.
        store: What ``python -m flow extract`` wrote.
        dataset: "ucf101", "hmdb51" or "csv".
        split: Of the official lists "1", "2" or "3"; of a CSV "column" (its own), "group:NAME" (the
            group to test on) or "fold:1/5" (grouped folds).
        allow_missing: Go on without the listed videos that are not in the store.
    """

    lists: Path
    store: Path
    dataset: str = "csv"
    split: str = "column"
    allow_missing: bool = False

    def annotations(self, side: Side) -> tuple[Annotations, tuple[str, ...]]:
        """The lists restricted to what is stored, and the ids of ``side`` that are not.

        Raises:
            InputError: A video of ``side`` is not stored and ``allow_missing`` is off, or none is;
                no store; bad lists.
        """
        if not self.store.is_dir():
            raise InputError(f"{self.store} is no folder; write it with: python -m flow extract")
        listed = load(self.dataset, self.lists, self.split)

        def stored(video_id: str) -> bool:
            return store_path(self.store, video_id).is_file()

        if not self.allow_missing:
            require(listed, side, stored, self.store)
        absent = missing(listed, side, stored)
        if len(absent) == len(listed.side(side)):
            raise InputError(
                f"None of the {len(absent):,} {side} videos of {self.lists} is in {self.store}; "
                "give the store that was extracted from them."
            )
        return only(listed, {v.id for v in (*listed.train, *listed.test) if stored(v.id)}), absent


@dataclass(frozen=True)
class Run:
    """One stream trained by one experiment on one data set."""

    experiment: Experiment
    data: Data
    stream: Stream

    def __post_init__(self) -> None:
        if self.stream not in STREAMS:
            raise InputError(f"Stream {self.stream!r} is unknown; give one of {STREAMS}.")

    def to_json(self) -> str:
        """The whole run, readable by ``from_json``."""
        values = {
            "stream": self.stream,
            "data": asdict(self.data),
            "experiment": json.loads(self.experiment.to_json()),
        }
        return json.dumps(values, indent=2, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Run":
        """The run that ``to_json`` wrote."""
        values = json.loads(text)
        data = values["data"]
        paths = {"lists": Path(data["lists"]), "store": Path(data["store"])}
        return cls(
            Experiment.from_json(json.dumps(values["experiment"])),
            Data(**{**data, **paths}),
            values["stream"],
        )

    def build(self, classes: int) -> P3D:
        """The network, with weights at random."""
        experiment = self.experiment
        return MODELS[experiment.model](
            num_classes=classes,
            in_channels=CHANNELS[self.stream],
            blocks=experiment.blocks,
            dropout=experiment.dropout,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and where its training stands.

    Attributes:
        run: What was trained on what.
        classes: Names, in the order of the logits.
        trained_on: Ids of the videos on the training list.
        step: Steps done.
        model: The state of the network.
        training: Whatever going on needs: optimiser and random states.
    """

    run: Run
    classes: tuple[str, ...]
    trained_on: tuple[str, ...]
    step: int
    model: dict[str, torch.Tensor]
    training: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write it: whole, or not at all."""
        buffer = io.BytesIO()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        torch.save(values | {"run": self.run.to_json(), "classes": list(self.classes)}, buffer)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read what ``save`` wrote; nothing but tensors and plain values is unpickled."""
        if not path.is_file():
            raise InputError(f"{path} is not there; write it with: python -m twostream train")
        try:
            values = torch.load(path, map_location="cpu", weights_only=True)
            return cls(
                Run.from_json(values["run"]),
                tuple(values["classes"]),
                tuple(values["trained_on"]),
                values["step"],
                values["model"],
                values["training"],
            )
        except Exception as problem:  # torch.load fails in many ways on a damaged file
            raise InputError(
                f"{path} is no checkpoint of a run ({type(problem).__name__}); train again"
            ) from problem


def load_run(folder: Path) -> Run:
    """The run that a folder describes in its run.json."""
    path = folder / "run.json"
    try:
        return Run.from_json(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} is not there; give the folder of a run.") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise InputError(f"{path} does not describe a run ({problem}); train again.") from problem


def refuse_other(folder: Path, run: Run) -> None:
    """Refuse a folder that holds another run than this, naming the first difference."""
    if not (folder / "run.json").is_file():
        return
    there = load_run(folder)
    differences = [
        (field.name, getattr(old, field.name), getattr(new, field.name))
        for old, new in ((there.experiment, run.experiment), (there.data, run.data), (there, run))
        for field in fields(new)
        if field.name not in ("experiment", "data", "steps")  # more steps: a run that goes on
        and getattr(old, field.name) != getattr(new, field.name)
    ]
    if not differences:
        return
    name, old, new = differences[0]
    raise InputError(
        f"{folder} holds a run with {name} {old} instead of {new}; "
        "give another folder, or remove that one."
    )


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
