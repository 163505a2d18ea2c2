"""python -m twostream svm: the P3D author's SVM protocol on features."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from flow.errors import InputError
from flow.files import write_atomically
from twostream.streams import Stream

if TYPE_CHECKING:
    from twostream.data.annotations import Annotations, Video
    from twostream.linear_svm import Choice
    from twostream.scores import Scores
    from twostream.svm import Fold


@dataclass(frozen=True)
class SVM:
    """Train linear SVMs on features and score the test videos; writes OUT/<stream>/scores.npz.

    Of several splits that together test every video, also OUT/<split>/<stream>/scores.npz. With
    both streams, OUT/fused/scores.npz is their weighted sum. C and the weights, which OUT/svm.json
    tells, are chosen on groups of the training videos; what the streams say of these is in
    held_out.npz beside each split's scores, for twostream fuse to choose on.

    Attributes:
        features: What twostream features wrote: the folder that holds rgb and flow.
        out: The folder to write.
        lists: The folder of the official list files, or a CSV file.
        dataset: "ucf101", "hmdb51" or "csv".
        split: Of the official lists "1", "2" or "3"; of a CSV "column", "group:NAME", "fold:K/N",
            or all that together test every video once: "groups" or "folds:N".
        streams: Which to train.
        allow_missing: Go on without the listed videos that have no features.
        c: Values of C to choose from; a single one is taken as it is.
        inner_folds: Of whole groups of the training videos, to choose on.
        resamples: Of the bootstrap by group, for intervals of 95 %.
        seed: Of its draws.
    """

    features: Positional[Path]
    out: Positional[Path]
    lists: Path
    dataset: str = "csv"
    split: str = "column"
    streams: tuple[Stream, ...] = ("rgb", "flow")
    allow_missing: bool = False
    c: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    inner_folds: int = 10
    resamples: int = 10_000
    seed: int = 0

    def __call__(self) -> int:
        from twostream.svm import fuse_fold

        splits = self._splits()
        videos = {video.id: video for split in splits for video in (*split.train, *split.test)}
        start = perf_counter()
        folds = {stream: self._stream(stream, splits, tuple(videos)) for stream in self.streams}
        seconds = perf_counter() - start
        scores = [self._save(stream, [f.scores for f in each]) for stream, each in folds.items()]
        for stream, each in folds.items():
            self._save_held_out(stream, each)
        record: dict[str, Any] = {
            stream: [asdict(fold.choice) for fold in each] for stream, each in folds.items()
        }
        fused = []
        if len(folds) > 1:
            pairs = [fuse_fold(each) for each in zip(*folds.values(), strict=True)]
            fused = [self._save("fused", [one for one, _ in pairs])]
            record["fused"] = [dict(zip(folds, factors, strict=True)) for _, factors in pairs]
        write_atomically(self.out / "svm.json", (json.dumps(record, indent=1) + "\n").encode())
        for stream, each in folds.items():
            print(f"{stream}: {_summary([fold.choice for fold in each])}")
        self._report(scores, fused, videos)
        print(
            f"{seconds:.1f} s for {len(splits) * len(folds)} SVMs and their inner folds; {self.out}"
        )
        return 0

    def _splits(self) -> "list[Annotations]":
        from twostream.data.annotations import load
        from twostream.runs import Data

        data = Data(self.lists, self.features, self.dataset, self.split)
        splits = [load(self.dataset, self.lists, each.split) for each in data.splits()]
        tested = [video.id for split in splits for video in split.test]
        if len(set(tested)) < len(tested):
            raise InputError(
                f"The splits of {self.dataset} share test videos, so that their scores make no one "
                "list; give one of the splits, and average the accuracies."
            )
        return self._stored(splits) if self.allow_missing else splits

    def _stored(self, splits: "list[Annotations]") -> "list[Annotations]":
        """The splits less the videos that lack the features of a stream."""
        from twostream.data.annotations import only
        from twostream.feature_folder import those_with_features
        from twostream.runs import report_missing

        ids = dict.fromkeys(v.id for split in splits for v in (*split.train, *split.test))
        each = [those_with_features(self.features / stream, ids) for stream in self.streams]
        there = frozenset.intersection(*each)
        absent = tuple(video for video in ids if video not in there)
        if len(absent) == len(ids):
            raise InputError(
                f"None of the {len(ids):,} videos of {self.lists} has features in {self.features}; "
                "take them with: python -m twostream features"
            )
        report_missing(absent, self.out / "missing.txt", "have no features")
        return [only(split, there) for split in splits]

    def _stream(
        self, stream: Stream, splits: "list[Annotations]", videos: tuple[str, ...]
    ) -> "list[Fold]":
        from twostream.feature_folder import Features
        from twostream.svm import train_and_score

        features = Features.load(self.features / stream, videos)
        return [train_and_score(features, split, self.c, self.inner_folds) for split in splits]

    def _save(self, name: str, folds: "list[Scores]") -> "Scores":
        """Write the scores of each fold, and of all; gives those of all."""
        from twostream.scores import join

        if len(folds) > 1:
            for fold in folds:
                fold.save(self._folder(fold.source.split) / name / "scores.npz")
        joined = join(folds, self.split)
        joined.save(self.out / name / "scores.npz")
        return joined

    def _save_held_out(self, stream: Stream, folds: "list[Fold]") -> None:
        for fold in folds:
            several = len(folds) > 1
            folder = self._folder(fold.scores.source.split) if several else self.out
            fold.held_out.save(folder / stream / "held_out.npz")

    def _folder(self, split: str) -> Path:
        from twostream.runs import split_folder

        return self.out / split_folder(split)

    def _report(
        self, scores: "list[Scores]", fused: "list[Scores]", videos: "dict[str, Video]"
    ) -> None:
        from twostream.statistics import answers, bootstrap_accuracy, compare

        source = scores[0].source
        print(f"{source.dataset}, split {source.split}: {len(scores[0].video_ids)} test videos")
        groups = set(answers(scores[0], videos)[1])
        if len(groups) < 2:
            print("one group alone: its videos are not independent, and no interval can be told")
        for each in (*scores, *fused):
            right, group = answers(each, videos)
            line = f"{each.source.stream:10s} top-1 by video {right.mean():6.1%}"
            if len(groups) > 1:
                low, high = bootstrap_accuracy(right, group, self.resamples, self.seed)
                line += f"  [{low:.1%}, {high:.1%}]"
            print(line)
        for one, two in ((a, b) for a in fused for b in scores if len(groups) > 1):
            found = compare(one, two, videos, self.resamples, self.seed)
            low, high = found.interval
            print(
                f"{one.source.stream} less {two.source.stream}: {found.difference:+.1%} "
                f"[{low:+.1%}, {high:+.1%}], right alone {found.only_first} and "
                f"{found.only_second}, McNemar's p {found.p:.3f}"
            )


def _summary(choices: "list[Choice]") -> str:
    """What the training videos chose, over the folds."""
    cs = sorted({choice.c for choice in choices})
    factors = sorted(choice.factor for choice in choices)
    inner = sum(choice.inner_accuracy for choice in choices) / len(choices)
    return (
        f"C {', '.join(f'{c:g}' for c in cs)}, decision values times {factors[0]:.2g} to "
        f"{factors[-1]:.2g}, {inner:.1%} of the training videos right in inner folds"
    )
