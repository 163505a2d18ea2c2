"""A dry run: every command of a row for real, on the part of the data that is there, in small.

What it measures says nothing of the published number.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reproduce_plan import Step

from flow.files import write_atomically
from twostream.data.annotations import Annotations, load, only

SMALL = {"--resize": ("64", "84"), "--crop": ("56", "56")}
TRAIN = {**SMALL, "--batch": ("4",), "--clips-at-once": ("4",), "--test-clips": ("2",)}
FEATURES = {**SMALL, "--clips": ("2",), "--length": ("4",)}
LISTS = ("--dataset", "--lists", "--split")


def shortened(step: Step, optimiser_steps: int, folder: Path) -> Step:
    """The same command for a few steps and small clips; ``folder`` gets the lists of the part."""
    command, *rest = step.words[1:]
    words = [*step.words[:2], *rest]
    if command == "train":
        for option, values in TRAIN.items():
            words = with_option(words, option, values)
        words = with_option(words, "--steps", (str(optimiser_steps),))
        words = with_option(words, "--warmup-steps", ("0",))
        if "frames" not in words:
            words = with_option(words, "--clip-length", ("4",))
        words.append("--allow-missing")
    elif command == "features":
        for option, values in FEATURES.items():
            words = with_option(words, option, values)
        words = without(words, LISTS)  # whatever the store holds
    elif command == "svm":
        store = Path(step.words[2])
        part = write_part(words, store, folder / f"{step.name}.csv")
        words = with_option(without(words, LISTS), "--lists", (str(part),))
        words = with_option(words, "--inner-folds", ("2",))
    return replace(step, words=tuple(words))


def write_part(words: Sequence[str], features: Path, path: Path) -> Path:
    """The listed videos that have features, of classes on both sides, as a CSV file."""
    dataset, lists, split = (value_of(words, option) for option in LISTS)
    stream = value_of(words, "--streams")
    listed = load(dataset, Path(lists), split)
    there = {
        video.id
        for video in (*listed.train, *listed.test)
        if (features / stream / f"{video.id}.npz").is_file()
    }
    write_list(only(listed, there), path)
    return path


def write_list(part: Annotations, path: Path) -> None:
    """Those classes that have videos on both sides, as ``video,label,group,split``."""
    labels = {video.label for video in part.train} & {video.label for video in part.test}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("video", "label", "group", "split"))
    for side in ("train", "test"):
        for video in part.train if side == "train" else part.test:
            if video.label in labels:
                name = part.classes[video.label]
                writer.writerow((f"{video.id}.avi", name, video.group, side))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue().encode())


def with_option(words: Sequence[str], option: str, values: Sequence[str]) -> list[str]:
    """The words with one option set to other values."""
    return [*without(words, (option,)), option, *values]


def without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words less some options and their values."""
    kept, skipping = [], False
    for word in words:
        if word.startswith("--"):
            skipping = word in options
        if not skipping:
            kept.append(word)
    return kept


def value_of(words: Sequence[str], option: str) -> str:
    """The first value of an option that is given."""
    return words[words.index(option) + 1]
