"""A run's folder: what was trained on what, its checkpoint, its log.

RUN/rgb/run.json        the whole experiment, the data and the stream
RUN/rgb/checkpoint.pt   weights, optimiser and position; loads with ``weights_only=True``
RUN/rgb/checkpoint-N.pt older ones, by their step, where more than one is kept
RUN/rgb/best.pt         the checkpoint that did best on held-out videos, where some are
RUN/rgb/log.csv         a row an epoch
RUN/rgb/missing_*.txt   listed videos that the store lacks, where that was allowed
RUN/rgb/scores.npz      scores of the test list

Where several splits are trained, each has a folder in between: RUN/fold-2of5/rgb.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from flow.errors import InputError
from flow.files import atomic, write_atomically
from twostream.data.annotations import Annotations, Side, load, missing, only, require
from twostream.data.csv_lists import folds
from twostream.experiments import Experiment, takes_width
from twostream.models import MODELS, P3D
from twostream.streams import CHANNELS, STREAMS, Stream


@dataclass(frozen=True)
class Data:
    """Which videos, with which labels, and where their frames and flow are stored.

    Attributes:
        lists: The folder of the official list files, or a CSV file ``video,label[,group][,split]``.
        store: What ``python -m flow extract`` wrote, or the folder of the videos themselves, whose
            frames and flow are then computed again for every clip.
        dataset: "ucf101", "hmdb51" or "csv".
        split: Of the official lists "1", "2" or "3"; of a CSV "column" (its own), "group:NAME" (the
            group to test on) or "fold:1/5" (grouped folds). In training also all that together
            test every video once: "groups" or "folds:5" of a CSV, "all" of the official lists. Of a
            CSV "all" tests every video of a network that was trained elsewhere.
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
        from twostream.data.source import (
            find_paths,
        )  # with OpenCV, which a half of all commands spares

        if not self.store.is_dir():
            raise InputError(f"{self.store} is no folder; write it with: python -m flow extract")
        listed = load(self.dataset, self.lists, self.split)
        if not listed.side(side):
            raise InputError(
                f"Split {self.split} of {self.lists} has no {side} videos; give another split."
            )
        there = find_paths(self.store, [video.id for video in (*listed.train, *listed.test)])
        if not self.allow_missing:
            require(listed, side, there.__contains__, self.store)
        absent = missing(listed, side, there.__contains__)
        if len(absent) == len(listed.side(side)):
            raise InputError(
                f"None of the {len(absent):,} {side} videos of {self.lists} is in {self.store}; "
                "give the store that was extracted from them."
            )
        return only(listed, there), absent

    def splits(self) -> tuple["Data", ...]:
        """One for each split that ``split`` stands for.

        Raises:
            InputError: No such splits, or lists without groups.
        """
        several, _, count = self.split.partition(":")
        if self.dataset != "csv" and self.split == "all":
            names: tuple[str, ...] = ("1", "2", "3")
        elif self.dataset == "csv" and self.split == "groups":
            names = folds(self.lists)
        elif self.dataset == "csv" and several == "folds" and count.isdecimal():
            names = folds(self.lists, int(count))
            load(self.dataset, self.lists, names[0] if names else "fold:1/0")
        else:
            return (self,)
        return tuple(replace(self, split=name) for name in names)


def split_folder(split: str) -> str:
    """The name of a split's folder: "split-1", "fold-2of5", "group-daria"."""
    kind, _, value = split.partition(":")
    if not value:
        return f"split-{quote(split, safe='')}"
    # A group may be called anything, "../x" too.
    return f"{kind}-{quote(value.replace('/', 'of') if kind == 'fold' else value, safe='')}"


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
        width = {"width_factor": experiment.width_factor} if takes_width(experiment.model) else {}
        return MODELS[experiment.model](
            num_classes=classes,
            in_channels=CHANNELS[self.stream],
            blocks=experiment.blocks,
            dropout=experiment.dropout,
            **width,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and where its training stands.

    Attributes:
        run: What was trained on what.
        dataset: The name of the annotations.
        classes: Names, in the order of the logits.
        trained_on: Ids of the videos on the training list, and of those of this data set that the
            weights were trained on which the training started from.
        held_out: Those of them that only chose the best epoch.
        list_sha256: Of the ids and labels of the videos that it is trained on, in their order.
        step: Steps done.
        model: The state of the network to test: the average, where the experiment takes one.
        training: Whatever going on needs beside it.
        images: How the images were made that it is trained on: fields of ``flow.meta.Meta``; None
            in checkpoints that were written before they told it.
    """

    run: Run
    dataset: str
    classes: tuple[str, ...]
    trained_on: tuple[str, ...]
    held_out: tuple[str, ...]
    list_sha256: str
    step: int
    model: dict[str, torch.Tensor]
    training: dict[str, Any]
    images: dict[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write it: whole, or not at all."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        with atomic(path) as file:
            torch.save(values | {"run": self.run.to_json()}, file)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read what ``save`` wrote; nothing but tensors and plain values is unpickled."""
        if not path.is_file():
            raise InputError(f"{path} is not there; write it with: python -m twostream train")
        try:
            values = torch.load(path, map_location="cpu", weights_only=True)
            return cls(**values | {"run": Run.from_json(values["run"])})
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


def folds_of(folder: Path, stream: Stream) -> dict[str, Path]:
    """The folders RUN/<split>/<stream> of a run of several splits, by split; none of one split.

    Raises:
        InputError: A split that is missing among those that belong together.
    """
    paths = sorted(folder.glob(f"*/{stream}/run.json"))
    runs = {load_run(path.parent).data: path.parent for path in paths}
    if not runs:
        return {}
    first = next(iter(runs))
    wanted = replace(first, split=together(first.split)).splits()
    there = {data.split: path for data, path in runs.items()}
    if absent := [data.split for data in wanted if data.split not in there]:
        raise InputError(
            f"{folder} lacks the {stream} stream of {len(absent)} of {len(wanted)} splits, "
            f"{absent[0]} first; train with --split {together(first.split)}."
        )
    return {data.split: there[data.split] for data in wanted}


def together(split: str) -> str:
    """The name of all splits together to which one belongs: "groups", "folds:5", "all"."""
    kind, _, value = split.partition(":")
    names = {"group": "groups", "fold": f"folds:{value.rpartition('/')[2]}"}
    return names.get(kind, "all")


def refuse_other(folder: Path, run: Run) -> None:
    """Refuse a folder that holds another run than this, naming the first difference."""
    if not (folder / "run.json").is_file():
        return
    there = load_run(folder)
    longer = run.experiment.schedule == "drops"  # more steps: a run that goes on
    differences = [
        (field.name, getattr(old, field.name), getattr(new, field.name))
        for old, new in ((there.experiment, run.experiment), (there.data, run.data), (there, run))
        for field in fields(new)
        if field.name not in ("experiment", "data")
        and not (longer and field.name == "steps")
        and getattr(old, field.name) != getattr(new, field.name)
    ]
    if not differences:
        return
    name, old, new = differences[0]
    raise InputError(
        f"{folder} holds a run with {name} {old} instead of {new}; "
        "give another folder, or remove that one."
    )


def report_missing(
    absent: tuple[str, ...], path: Path, reason: str = "are not in the store"
) -> None:
    """Name the listed videos that are left out: the count in a line, the names in a file."""
    if absent:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, ("\n".join(absent) + "\n").encode())
        print(f"{len(absent):,} listed videos {reason} and left out; see {path}")


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
