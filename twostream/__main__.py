"""The command line: python -m twostream train | score | fuse | evaluate."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from flow.errors import InputError
from twostream.experiments import EXPERIMENTS, Experiment
from twostream.runs import Checkpoint, Data, Run, load_run
from twostream.streams import Stream

TRAIN = "Train the RGB and the flow stream by a named experiment; goes on where it was interrupted."


@dataclass(frozen=True)
class Train:
    """Train both streams by one experiment.

    Attributes:
        experiment: The recipe; each of its values can be given another.
        data: What to train on.
        run: Folder of the run; each stream gets a folder of its own in it.
        streams: Which to train, one after the other.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    experiment: Experiment
    data: Data
    run: Path
    streams: tuple[Stream, ...] = ("rgb", "flow")
    workers: int = 2
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.training import train

        for stream in self.streams:
            folder = self.run / stream
            last = train(Run(self.experiment, self.data, stream), folder, self.workers, self.device)
            print(
                f"{stream}: {last.step} steps, loss {last.loss:.3f}, top-1 of training clips "
                f"{last.clip_top1:.1%}; {folder / 'checkpoint.pt'}"
            )
        return 0


@dataclass(frozen=True)
class Score:
    """Score the test videos by trained streams; writes RUN/<stream>/scores.npz.

    Attributes:
        run: Folder of the run.
        streams: Which to score.
        store: Another store than the run was trained with.
        lists: Other lists than the run was trained with.
        split: Another split than the run was trained with.
        allow_missing: Go on without the test videos that are not in the store.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    run: tyro.conf.Positional[Path]
    streams: tuple[Stream, ...] = ("rgb", "flow")
    store: Path | None = None
    lists: Path | None = None
    split: str | None = None
    allow_missing: bool = False
    workers: int = 2
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.scoring import score

        for stream in self.streams:
            checkpoint = self.run / stream / "checkpoint.pt"
            scores = score(checkpoint, self._data(checkpoint), self.workers, self.device)
            path = checkpoint.with_name("scores.npz")
            scores.save(path)
            print(f"{stream}: {len(scores.video_ids)} videos; {path}")
        return 0

    def _data(self, checkpoint: Path) -> Data:
        trained = Checkpoint.load(checkpoint).run.data
        return replace(
            trained,
            store=self.store or trained.store,
            lists=self.lists or trained.lists,
            split=self.split or trained.split,
            allow_missing=self.allow_missing or trained.allow_missing,
        )


@dataclass(frozen=True)
class Fuse:
    """Fuse score files of the same videos: the weighted mean of their softmax.

    Attributes:
        scores: Score files, one a stream.
        out: The file to write.
        weights: One a score file; equal where not given.
    """

    scores: tyro.conf.Positional[tuple[Path, ...]]
    out: Path
    weights: tuple[float, ...] | None = None

    def __call__(self) -> int:
        from twostream.fusion import fuse
        from twostream.scores import Scores

        fused = fuse([Scores.load(path) for path in self.scores], self.weights)
        fused.save(self.out)
        print(f"{fused.source.stream}: {len(fused.video_ids)} videos; {self.out}")
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Print the accuracies of score files and write the report.

    Attributes:
        scores: Score files of the same split; the last one gets the confusion matrix.
        report: Folder for the page and the tables.
        lists: The lists, where they are not those of the run that the first score file lies in.
        allow_missing: Evaluate although not all test videos are scored.
    """

    scores: tyro.conf.Positional[tuple[Path, ...]]
    report: Path
    lists: Path | None = None
    allow_missing: bool = False

    def __call__(self) -> int:
        from twostream.data.annotations import load
        from twostream.evaluation import evaluate
        from twostream.report import text_summary, write_report
        from twostream.scores import Scores

        if not self.scores:
            raise InputError("No score file is given; give those that twostream score wrote.")
        scores = [Scores.load(path) for path in self.scores]
        source = scores[-1].source
        data = load_run(self.scores[0].parent).data
        annotations = load(data.dataset, self.lists or data.lists, source.split)
        allow_missing = self.allow_missing or data.allow_missing
        evaluations = [evaluate(one, annotations, allow_missing) for one in scores]
        title = f"{source.dataset}, split {source.split}"
        page = write_report(self.report, evaluations, title, source.protocol)
        listed = len(annotations.test)
        print(f"{title}: {len(scores[-1].video_ids):,} of {listed:,} test videos")
        print(text_summary(evaluations))
        print(f"report: {page}")
        return 0


def _experiments() -> Any:
    """``train NAME``: each named experiment, of which any value can be given another."""
    unset = Data(lists=tyro.MISSING, store=tyro.MISSING)
    return tyro.extras.subcommand_type_from_defaults(
        {name: Train(make(), unset, tyro.MISSING) for name, make in EXPERIMENTS.items()},
        {name: (make.__doc__ or "").splitlines()[0] for name, make in EXPERIMENTS.items()},
        prefix_names=False,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 with a sentence on what to mend."""
    commands: Any = (
        Annotated[_experiments(), tyro.conf.subcommand("train", description=TRAIN)]
        | Annotated[Score, tyro.conf.subcommand("score")]
        | Annotated[Fuse, tyro.conf.subcommand("fuse")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    )
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    try:
        command = tyro.cli(commands, prog="python -m twostream", args=arguments, config=config)
        return int(command())
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last epoch", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
