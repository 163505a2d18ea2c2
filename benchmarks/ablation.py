"""Ablation studies: a base, cases that differ in one thing, and whether that means anything.

    python benchmarks/ablation.py STUDY --videos VIDEOS --lists LISTS.csv --split groups \
                                  --weights resnet50.safetensors --out runs/ablation/mine

Without STUDY it lists them. Run again, it goes on: work that studies share is done once, a run that
failed is tried again. OUT/STUDY holds the table as Markdown, CSV and LaTeX, a plot, and every
single answer; the store of each kind of flow and each run lie beside it.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from ablation_fusion import fused
from ablation_page import write_page
from ablation_streams import SCORES, StreamTask, run_stream, store_name, task_of
from ablation_table import Result, lines
from measured import machine
from studies import STUDIES, Case, Given, Study

from flow import engines
from flow.errors import InputError
from flow.extract import extract
from flow.files import write_atomically
from flow.processors import usable_processors
from flow.progress import progress_bar
from flow.settings import Settings
from twostream.data.annotations import Video, load
from twostream.runs import Data, sha256
from twostream.scores import Scores
from twostream.statistics import answers
from twostream.streams import Stream

Run = tuple[str, int]  # a case and a seed


def main() -> int:
    arguments = _arguments()
    if arguments.study is None:
        _list()
        return 0
    try:
        return _Ablation(arguments).run()
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("study", nargs="?", choices=list(STUDIES))
    parser.add_argument("--videos", type=Path, help="folder of the videos")
    parser.add_argument("--lists", type=Path, help="CSV file, or folder of the official lists")
    parser.add_argument("--dataset", default="csv")
    parser.add_argument("--split", default="groups", help="all splits together: groups, folds:5")
    parser.add_argument("--weights", type=Path, help="2D network of ImageNet")
    parser.add_argument("--bound", type=float, default=20.0, help="of the flow, in pixels")
    parser.add_argument("--short-side", type=int, help="make the videos as small first")
    parser.add_argument("--no-mirror", action="store_true", help="left and right are classes")
    parser.add_argument("--seeds", type=int, help="other than the study's")
    parser.add_argument("--at-once", type=int, help="runs at once; one a processor")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    arguments = parser.parse_args()
    if arguments.study and not (arguments.videos and arguments.lists):
        parser.error("a study needs --videos and --lists")
    return arguments


def _list() -> None:
    given = Given(weights=None)
    for name, make in STUDIES.items():
        study = make(given)
        print(f"{name:15s} {study.question} {', '.join(study.cases)}; seeds {study.seeds}")


class _Ablation:
    """One study on one data set."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        self.folder = self.out / arguments.study
        given = Given(
            arguments.weights, arguments.bound, not arguments.no_mirror, arguments.short_side
        )
        self.study: Study = STUDIES[arguments.study](given)
        self.seeds = range(arguments.seeds or self.study.seeds)
        self.at_once: int = arguments.at_once or usable_processors()
        self.failures: dict[StreamTask, str] = {}
        self.videos = self._videos()

    def run(self) -> int:
        started = time.perf_counter()
        self._refuse_untrained()
        stores = {name: self._extract(settings) for name, settings in self._settings().items()}
        first = self._tasks(stores, rgb=True)
        self._work(first)
        second = self._tasks(stores, rgb=False)
        self._work(second)
        self._report(first | second)
        seconds = time.perf_counter() - started
        failed = sorted(set(self.failures.values()))
        for reason in failed:
            print(f"failed: {reason}", file=sys.stderr)
        print(f"{len(first | second)} runs, {len(self.failures)} failed, {seconds / 60:.1f} min")
        return 1 if failed else 0

    def _videos(self) -> dict[str, Video]:
        one = self._data(Path()).splits()[0]
        listed = load(one.dataset, one.lists, one.split)
        return {video.id: video for video in (*listed.train, *listed.test)}

    def _data(self, store: Path) -> Data:
        given = self.arguments
        return Data(given.lists, store, given.dataset, given.split)

    def _refuse_untrained(self) -> None:
        needed = [case for case in self.study.cases.values() if case.classifier == "svm"]
        if needed and self.arguments.weights is None:
            raise InputError(
                f"The study {self.arguments.study} takes features of a network as its weights are; "
                "give --weights of a ResNet-50 of ImageNet."
            )

    def _settings(self) -> dict[str, Settings]:
        cases = self.study.cases.values()
        return {store_name(case.settings): case.settings for case in cases}

    def _extract(self, settings: Settings) -> Path:
        store = self.out / "stores" / store_name(settings)
        done = store / "complete"
        if not done.is_file():
            summary = extract(self.arguments.videos, store, settings)
            print(summary)
            if summary.failures:
                source, reason = summary.failures[0]
                raise InputError(
                    f"{len(summary.failures)} videos have no flow, {source} first ({reason}); "
                    "mend or remove them."
                )
            write_atomically(done, b"")
        return store

    def _tasks(self, stores: dict[str, Path], rgb: bool) -> dict[tuple[Run, Stream], StreamTask]:
        """The streams of all runs, of RGB or of flow, by what they belong to."""
        stream: Stream = "rgb" if rgb else "flow"
        if stream not in self.study.streams:
            return {}
        return {
            ((name, seed), stream): self._task(case, stream, seed, stores)
            for name, case in self.study.cases.items()
            for seed in self.seeds
        }

    def _task(self, case: Case, stream: Stream, seed: int, stores: dict[str, Path]) -> StreamTask:
        # Frames do not depend on the flow beside them.
        base = self.study.cases[self.study.base].settings
        same = (case.settings.quality, case.settings.short_side, case.settings.step) == (
            base.quality,
            base.short_side,
            base.step,
        )
        settings = base if stream == "rgb" and same else case.settings
        data = self._data(stores[store_name(settings)])
        start = None
        if stream == "flow" and case.inflate_flow_from_rgb:
            start = self._task(case, "rgb", seed, stores).folder
        task = task_of(case, stream, seed, data, self.out / "streams", start)
        return replace(task, threads=max(1, usable_processors() // self.at_once))

    def _work(self, tasks: dict[tuple[Run, Stream], StreamTask]) -> None:
        todo = list(dict.fromkeys(task for task in tasks.values() if not task.done))
        if not todo:
            return
        total = sum(len(task.data.splits()) for task in todo)
        events = engines.run(run_stream, todo, self.at_once)
        with closing(events), progress_bar(total, " splits", shown=True) as bar:
            for event in events:
                if isinstance(event, engines.Progress):
                    bar.update(event.amount)
                elif isinstance(event, engines.Failed):
                    self.failures[event.task] = event.reason
                    bar.write(f"{event.task.folder.name} failed: {event.reason}", file=sys.stderr)

    def _report(self, tasks: dict[tuple[Run, Stream], StreamTask]) -> None:
        ids = tuple(sorted(self.videos))
        results = {case: self._result(case, tasks, ids) for case in self.study.cases}
        groups = np.array([self.videos[video].group for video in ids])
        stream = "+".join(self.study.streams)
        found = lines(self.study.base, results, groups, stream)
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {
            "machine": machine(),
            "arguments": {name: _named(value) for name, value in vars(self.arguments).items()},
            "study": {"question": self.study.question, "base": self.study.base},
            "cases": {name: _plain(case) for name, case in self.study.cases.items()},
            "videos": ids,
            "groups": groups.tolist(),
            "answers": {
                case: {name: right.astype(int).tolist() for name, right in result.answers.items()}
                for case, result in results.items()
            },
            "failures": {case: result.failures for case, result in results.items()},
        }
        write_atomically(
            self.folder / "study.json", (json.dumps(record, default=str) + "\n").encode()
        )
        print(write_page(self.folder, self.arguments.study, self.study, found, stream, ids))

    def _result(
        self, case: str, tasks: dict[tuple[Run, Stream], StreamTask], ids: Sequence[str]
    ) -> Result:
        right: dict[str, list[np.ndarray]] = {}
        failed = []
        for seed in self.seeds:
            streams = [tasks[(case, seed), stream] for stream in self.study.streams]
            bad = [self.failures[task] for task in streams if task in self.failures]
            if bad or not all(task.done for task in streams):
                failed += bad
                continue
            for scores in self._scores(self.study.cases[case], streams):
                told, _ = answers(scores, self.videos)
                row = {video: index for index, video in enumerate(scores.video_ids)}
                order = [row[video] for video in ids]
                right.setdefault(scores.source.stream, []).append(told[order])
        return Result({name: np.stack(rows) for name, rows in right.items()}, tuple(failed))

    def _scores(self, case: Case, streams: Sequence[StreamTask]) -> list[Scores]:
        alone = [Scores.load(task.folder / SCORES) for task in streams]
        return alone if len(alone) == 1 else [*alone, fused(case, streams, self.videos)]


def _plain(case: Case) -> dict[str, object]:
    experiment = {name: _named(value) for name, value in asdict(case.experiment).items()}
    return asdict(case) | {"experiment": experiment}


def _named(value: object) -> object:
    """Of a path its name alone, and of a file its hash: results go to other machines."""
    if not isinstance(value, Path):
        return value
    return {"name": value.name, "sha256": sha256(value)} if value.is_file() else value.name


if __name__ == "__main__":
    sys.exit(main())
