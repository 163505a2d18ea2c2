"""What trained runs reach, as a record: recipe, and top-1 by video with its interval over groups.

    python benchmarks/trained.py TITLE=RUN [TITLE=RUN ...] --out FILE.json

RUN is the folder of a run that `make train` and `make eval` have filled. Of the recipe it is told
in what it differs from the named one that is nearest to it; beside it, how its flow is encoded.
Streams are fused with equal weights, and with those that training videos choose where they can. Of
a run that holds videos of the training list out, the record has how many of those it answers at its
end, scored or not.
"""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from measured import machine

from flow.errors import InputError
from twostream.data.annotations import Video, load
from twostream.experiments import EXPERIMENTS, Experiment
from twostream.fusion_curves import fuse_all, ways_to_fuse
from twostream.fusion_files import SCORES, data_of_run, load_split, of_run, with_lists
from twostream.log import read_log
from twostream.runs import Run, folds_of, load_run, sha256, together
from twostream.scores import Scores, join
from twostream.statistics import answers, bootstrap_accuracy
from twostream.streams import STREAMS, Stream
from twostream.validation import sides


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="TITLE=RUN")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results")
    arguments = parser.parse_args()
    try:
        results = [record(*_titled(each)) for each in arguments.runs]
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    report = {"machine": machine(), "results": results}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    for each in results:
        shown = [f"{name} {100 * top1['mean']:.1f}" for name, top1 in each["top1_by_video"].items()]
        shown += [
            f"{name} {found['right']} of {found['videos']} held out"
            for name, found in each["held_out"].items()
        ]
        print(f"{each['title']}: {', '.join(shown)}")
    return 0


def _titled(argument: str) -> tuple[str, Path]:
    title, _, folder = argument.rpartition("=")
    if not title:
        raise InputError(f"{argument} has no title; give it as TITLE=RUN.")
    return title, Path(folder)


def record(title: str, folder: Path) -> dict[str, Any]:
    """A run's recipe and accuracies.

    Raises:
        InputError: A folder that holds no run, or one that is neither scored nor validated.
    """
    runs = {stream: found for stream in STREAMS if (found := _runs(folder, stream))}
    if not runs:
        raise InputError(f"{folder} holds no run of a stream; give the folder of `make train`.")
    first = {stream: next(iter(found.values())) for stream, found in runs.items()}
    one = next(iter(first.values()))
    split = together(one.data.split) if folds_of(folder, one.stream) else one.data.split
    listed = load(one.data.dataset, one.data.lists, split)
    videos = {video.id: video for video in listed.test}
    held_out = {
        stream: _held_out(found)
        for stream, found in runs.items()
        if first[stream].experiment.validate_on == "held_out"
    }
    there = [stream for stream in runs if (folder / stream / SCORES).is_file()]
    if len(there) < len(runs) and not held_out:
        raise InputError(f"{folder} has not the scores of all its streams; score it: make eval.")
    scores = {str(stream): Scores.load(folder / stream / SCORES) for stream in there}
    if len(there) > 1:
        scores |= _fused(folder)
    return {
        "title": title,
        "split": split,
        "videos": len(videos),
        "groups": len({video.group for video in videos.values()}),
        "recipe": {stream: recipe(run.experiment, stream) for stream, run in first.items()},
        "flow": next((each.source.flow for each in scores.values() if each.source.flow), None),
        "held_out": held_out,
        "top1_by_video": {name: _accuracy(each, videos) for name, each in scores.items()},
    }


def _runs(folder: Path, stream: Stream) -> dict[Path, Run]:
    """The runs of a stream by their folders, one for each split."""
    if folds := folds_of(folder, stream):
        return {each: load_run(each) for each in folds.values()}
    own = folder / stream
    return {own: load_run(own)} if (own / "run.json").is_file() else {}


def _held_out(runs: dict[Path, Run]) -> dict[str, float]:
    """After how many steps how many of the held-out videos are right, over all splits; the loss."""
    steps, videos, right, loss = 0, 0, 0, 0.0
    for folder, run in runs.items():
        rows = read_log(folder / "log.csv")
        last = rows[-1] if rows else None
        if last is None or last.validation_top1 is None or last.validation_loss is None:
            raise InputError(f"{folder} has no validation at its end; train the run to its end.")
        listed = load(run.data.dataset, run.data.lists, run.data.split)
        number = len(sides(listed, run.experiment).validation)
        steps = last.step
        videos += number
        right += round(last.validation_top1 * number)
        loss += last.validation_loss * number
    return {"steps": steps, "videos": videos, "right": right, "loss": loss / videos}


def recipe(experiment: Experiment, stream: Stream) -> dict[str, Any]:
    """The nearest named recipe, and what is different; of weights the file's name and hash.

    Of weights that are a run, its lists and its recipe.
    """
    found = {name: _changes(experiment, make()) for name, make in EXPERIMENTS.items()}
    name = min(found, key=lambda each: len(found[each]))
    weights = experiment.weights
    return {
        "name": name,
        "changes": found[name],
        "weights": None if weights is None else weights.name,
        "weights_sha256": sha256(weights) if weights and weights.is_file() else None,
        "weights_of_run": _of_run(weights / stream) if weights and weights.is_dir() else None,
    }


def _of_run(folder: Path) -> dict[str, Any]:
    run = load_run(folder)
    return {"lists": run.data.lists.name, **recipe(run.experiment, run.stream)}


def _changes(experiment: Experiment, named: Experiment) -> dict[str, Any]:
    return {
        field.name: getattr(experiment, field.name)
        for field in fields(named)
        if field.name != "weights" and getattr(experiment, field.name) != getattr(named, field.name)
    }


def _fused(folder: Path) -> dict[str, Scores]:
    """With weights that are equal, and that are chosen; of all splits together."""
    data = data_of_run(folder)
    files = of_run(folder, data)
    splits = [with_lists(data, *load_split(paths, held_out=False)) for paths in files.values()]
    ways = ways_to_fuse(splits)
    found = {}
    for weights in ("equal", "chosen"):
        if (name := f"{weights}, softmax") in ways:
            fused = fuse_all(splits, ways, name)
            found[weights] = join(fused, together(fused[0].source.split))
    return found


def _accuracy(scores: Scores, videos: dict[str, Video]) -> dict[str, float]:
    right, groups = answers(scores, videos)
    low, high = bootstrap_accuracy(right, groups)
    return {"mean": float(right.mean()), "low": low, "high": high}


if __name__ == "__main__":
    sys.exit(main())
