"""python -m twostream evaluate: accuracies and the report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tyro.conf import Positional

from flow.errors import InputError
from twostream.runs import Data, split_folder

if TYPE_CHECKING:
    from twostream.data.annotations import Annotations
    from twostream.fusion_study import Study
    from twostream.report.results import Result
    from twostream.report.splits import ScoreFile

    Splits = Mapping[str, tuple[ScoreFile, ...]]
    Results = Mapping[str, tuple[Result, ...]]


@dataclass(frozen=True)
class Evaluate:
    """Print the accuracies of score files and write the report.

    Give score files, or the folder of a run. Of several splits each one is evaluated, with mean and
    standard deviation over them, and has a page in REPORT/<split>.

    Attributes:
        scores: Score files, the fused one last: it gets the confusion matrix and is compared with
            the others. Or the folder of a run.
        report: Folder for the page and the tables.
        lists: The lists, where they are not those of the run that the score files lie in.
        dataset: Of these lists: "ucf101", "hmdb51" or "csv".
        store: The store to show videos from, where it is not that of the run.
        allow_missing: Evaluate although not all test videos are scored.
    """

    scores: Positional[tuple[Path, ...]]
    report: Path
    lists: Path | None = None
    dataset: str = "csv"
    store: Path | None = None
    allow_missing: bool = False

    def __call__(self) -> int:
        from twostream.data.annotations import load
        from twostream.report.results import judge
        from twostream.report.splits import by_split, study_beside

        splits = by_split(self._files())
        trained = self._trained()
        data = self._data(trained)
        store = self.store or (trained.store if trained else None)
        lists = {split: load(data.dataset, data.lists, split) for split in splits}
        results = {
            split: judge([file.scores for file in files], lists[split], data.allow_missing)
            for split, files in splits.items()
        }
        studies = {split: study_beside(files) for split, files in splits.items()}
        if len(splits) > 1:
            return self._several(splits, lists, results, studies, store)
        ((split, found),) = results.items()
        title = f"{lists[split].name}, split {split}"
        page = _write(self.report, title, found, studies[split], store)
        print(f"{title}: {_counted(found, lists[split])}")
        _tell(found)
        print(f"report: {page}")
        return 0

    def _several(
        self,
        splits: "Splits",
        lists: "Mapping[str, Annotations]",
        results: "Results",
        studies: "Mapping[str, Study | None]",
        store: Path | None,
    ) -> int:
        """Each split, mean and deviation over them, and where no video is in two, all as one."""
        from twostream.report import text_splits
        from twostream.report.results import judge
        from twostream.report.splits import pooled, read_study, title

        name = next(iter(lists.values())).name
        pages = {}
        for split, found in results.items():
            folder = split_folder(split)
            _write(self.report / folder, f"{name}, split {split}", found, studies[split], store)
            pages[split] = f"{quote(folder)}/index.html"
            print(f"{name}, split {split}: {_counted(found, lists[split])}")
        scores = {split: [file.scores for file in files] for split, files in splits.items()}
        whole = pooled(scores, lists)
        together = () if whole is None else judge(*whole, allow_missing=True)
        study = read_study(self.scores[0] / "fused.json") if self._is_run() else None
        heading = f"{name}, {len(splits)} splits: {title(list(splits))}"
        page = _write(self.report, heading, together, study, store, results, pages)
        print(text_splits(results))
        if together:
            print("\nall splits together")
            _tell(together)
        print(f"report: {page}")
        return 0

    def _files(self) -> tuple[Path, ...]:
        from twostream.report.splits import files_of_run

        if not self.scores:
            raise InputError("No score file is given; give those that twostream score wrote.")
        return files_of_run(self.scores[0]) if self._is_run() else self.scores

    def _is_run(self) -> bool:
        return len(self.scores) == 1 and self.scores[0].is_dir()

    def _trained(self) -> Data | None:
        """What the run was trained on that the scores lie in; None where they lie in none."""
        from twostream.fusion_files import data_of_file, data_of_run

        of = data_of_run if self._is_run() else data_of_file
        for path in self.scores:
            try:
                return of(path)
            except InputError:
                # Fused scores lie beside the streams; another file of them tells the run.
                continue
        return None

    def _data(self, trained: Data | None) -> Data:
        """The lists to evaluate by."""
        if self.lists is not None:
            here = Data(self.lists, self.lists, self.dataset)
        elif trained is not None:
            here = trained
        else:
            raise InputError(
                f"{self.scores[0]} lies in no run that tells its lists; give --lists and --dataset."
            )
        return replace(here, allow_missing=self.allow_missing or here.allow_missing)


def _write(
    folder: Path,
    title: str,
    results: "tuple[Result, ...]",
    study: "Study | None",
    store: Path | None,
    splits: "Results | None" = None,
    pages: Mapping[str, str] | None = None,
) -> Path:
    """Write a page with pictures of its worst videos."""
    from twostream.report import Report, write_report
    from twostream.report.strips import make_strips
    from twostream.report.worst import worst_videos

    worst = [each.video for each in worst_videos(results)] if results else []
    strips = make_strips(store, worst)
    report = Report(title, results, study, strips, splits or {}, pages or {})
    return write_report(folder, report)


def _tell(results: "tuple[Result, ...]") -> None:
    from twostream.report import text_summary

    print(text_summary(results))


def _counted(results: "tuple[Result, ...]", annotations: "Annotations") -> str:
    scored = len(results[-1].scores.video_ids)
    return f"{scored:,} of {len(annotations.test):,} test videos"
