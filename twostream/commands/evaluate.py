"""python -m twostream evaluate: accuracies and the report."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from flow.errors import InputError
from twostream.runs import Data, load_run


@dataclass(frozen=True)
class Evaluate:
    """Print the accuracies of score files and write the report.

    Attributes:
        scores: Score files of the same split; the last one gets the confusion matrix.
        report: Folder for the page and the tables.
        lists: The lists, where they are not those of the run that the first score file lies in.
        dataset: Of these lists: "ucf101", "hmdb51" or "csv".
        allow_missing: Evaluate although not all test videos are scored.
    """

    scores: Positional[tuple[Path, ...]]
    report: Path
    lists: Path | None = None
    dataset: str = "csv"
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
        data = self._data()
        annotations = load(data.dataset, data.lists, source.split)
        allow_missing = self.allow_missing or data.allow_missing
        evaluations = [evaluate(one, annotations, allow_missing) for one in scores]
        title = f"{source.dataset}, split {source.split}"
        page = write_report(self.report, evaluations, title, source.protocol)
        listed = len(annotations.test)
        print(f"{title}: {len(scores[-1].video_ids):,} of {listed:,} test videos")
        print(text_summary(evaluations))
        print(f"report: {page}")
        return 0

    def _data(self) -> Data:
        """What the scores are of: as given, or that of the run, or of one of its folds."""
        folder = self.scores[0].parent
        if self.lists is not None:
            return Data(self.lists, folder, self.dataset)
        folds = sorted(folder.parent.glob(f"*/{folder.name}/run.json"))
        here = (folder / "run.json").is_file()
        return load_run(folder if here or not folds else folds[0].parent).data
