"""One stream of one case of an ablation study, on every split: scores of all test videos.

FOLDER/task.json                    what it is
FOLDER/log.txt                      what the runs have said
FOLDER/<split>/<stream>/            the run of a split, or its SVM's scores.npz and held_out.npz
FOLDER/scores.npz                   of all splits; written last
"""

import json
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from studies import Case, Classifier
from tqdm import tqdm

from flow.files import write_atomically
from flow.settings import Settings
from twostream.checkpoints import to_test
from twostream.data.annotations import load
from twostream.experiments import Experiment
from twostream.feature_folder import Features
from twostream.features import Clips, Network, take_features
from twostream.linear_head import Known
from twostream.models import MODELS, load_weights, start_temporal
from twostream.runs import Data, Run, split_folder
from twostream.runs import sha256 as file_hash
from twostream.scores import Scores, join
from twostream.scoring import score
from twostream.streams import CHANNELS, Stream
from twostream.svm import train_and_score
from twostream.training import train

SCORES, HELD_OUT, LOG = "scores.npz", "held_out.npz", "log.txt"


@dataclass(frozen=True)
class StreamTask:
    """One stream to run.

    Attributes:
        folder: What it writes to; named after all else, so that equal work is done once.
        stream: "rgb" or "flow".
        data: The lists, the store, and all splits together.
        experiment: With its seed.
        classifier: As `Case`.
        start: The folder of the RGB stream that this one starts from.
        threads: Of the processor.
    """

    folder: Path
    stream: Stream
    data: Data
    experiment: Experiment
    classifier: Classifier
    start: Path | None = None
    threads: int = 1

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / SCORES).is_file()


def task_of(
    case: Case, stream: Stream, seed: int, data: Data, work: Path, start: Path | None = None
) -> StreamTask:
    """The stream of a case.

    Args:
        case: Of a study.
        stream: "rgb" or "flow".
        seed: Of training.
        data: Its store is that of the case.
        work: Where tasks have their folders.
        start: As in `StreamTask`.
    """
    experiment = replace(case.experiment, seed=seed)
    task = StreamTask(Path(), stream, data, experiment, case.classifier, start)
    digest = sha256(json.dumps(_description(task), sort_keys=True).encode()).hexdigest()[:12]
    return replace(task, folder=work / f"{stream}-{digest}")


def store_name(settings: Settings) -> str:
    """A folder's name for the flow of these settings."""
    values = {name: value for name, value in asdict(settings).items() if name != "solver"}
    digest = sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{settings.algorithm}-{settings.bound:g}px-{digest}"


def run_stream(task: StreamTask, tell: Callable[[Any], None]) -> None:
    """Do what is not done yet; tells 1 for each split."""
    torch.set_num_threads(task.threads)
    tqdm.set_lock(threading.RLock())  # one of processes is left behind where a worker is killed
    task.folder.mkdir(parents=True, exist_ok=True)
    # What every run has to say would bury the study's own words.
    with (task.folder / LOG).open("a") as log, redirect_stdout(log), redirect_stderr(log):
        _run(task, tell)


def _run(task: StreamTask, tell: Callable[[Any], None]) -> None:
    description = json.dumps(_description(task), indent=1) + "\n"
    write_atomically(task.folder / "task.json", description.encode())
    of = _by_svm if task.classifier == "svm" else partial(_by_network, known={})
    splits = task.data.splits()
    for data in splits:
        folder = fold_folder(task, data)
        if not (folder / SCORES).is_file():
            of(task, data, folder)
        tell(1)
    scores = [Scores.load(fold_folder(task, data) / SCORES) for data in splits]
    joined = scores[0] if len(scores) == 1 else join(scores, task.data.split)
    joined.save(task.folder / SCORES)


def fold_folder(task: StreamTask, data: Data) -> Path:
    """Where the run of one split lies."""
    return task.folder / split_folder(data.split) / task.stream


def _by_network(task: StreamTask, data: Data, folder: Path, known: Known) -> None:
    experiment = task.experiment
    if task.start is not None:
        rgb = task.start / split_folder(data.split) / "rgb"
        experiment = replace(experiment, weights=to_test(rgb))
    train(Run(experiment, data, task.stream), folder, workers=0, known=known)
    score(to_test(folder), data, workers=0).save(folder / SCORES)


def _by_svm(task: StreamTask, data: Data, folder: Path) -> None:
    annotations = load(data.dataset, data.lists, data.split)
    videos = tuple(video.id for video in (*annotations.train, *annotations.test))
    features = task.folder / "features"
    take_features(_network(task), _clips(task), data.store, videos, features, workers=0)
    fold = train_and_score(Features.load(features, videos), annotations)
    fold.held_out.save(folder / HELD_OUT)
    fold.scores.save(folder / SCORES)


def _network(task: StreamTask) -> Network:
    experiment = task.experiment
    assert experiment.weights is not None, "features of a network without weights mean nothing"
    torch.manual_seed(experiment.seed)
    model = MODELS[experiment.model](
        num_classes=1, in_channels=CHANNELS[task.stream], blocks=experiment.blocks
    )
    report = load_weights(model, experiment.weights, lineage=experiment.lineage)
    if report.inflated:
        start_temporal(model, experiment.temporal_start)
    return Network(model, experiment.model, file_hash(experiment.weights))


def _clips(task: StreamTask) -> Clips:
    experiment = task.experiment
    return Clips(
        task.stream,
        experiment.test_clips,
        experiment.clip_length,
        experiment.geometry(),
        experiment.short,
        experiment.mirror,
    )


def _description(task: StreamTask) -> dict[str, Any]:
    """All that the scores depend on."""
    return {
        "stream": task.stream,
        "data": {name: str(value) for name, value in asdict(task.data).items()},
        "experiment": json.loads(task.experiment.to_json()),
        "classifier": task.classifier,
        "start": None if task.start is None else task.start.name,
    }
