"""python -m twostream fuse: the scores of several streams into one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from flow.errors import InputError
from flow.files import write_atomically
from twostream.runs import Data

if TYPE_CHECKING:
    from twostream.fusion_choice import Split
    from twostream.fusion_study import Row, Study
    from twostream.scores import Scores


@dataclass(frozen=True)
class Fuse:
    """Fuse score files of the same videos, and study what the weights do.

    Give score files, or the folder of a run: then all its splits are fused, each by its own choice,
    into RUN/<split>/fused.npz, and splits that together test every video once into RUN/fused.npz.
    Where the labels are known, FUSED.json beside FUSED.npz holds the study.

    Attributes:
        scores: Score files, one a stream, or the folder of a run.
        out: The file to write; of a run RUN/fused.npz where not given.
        rule: "softmax" (mean of probabilities), "logits" (mean of logits), "log_probabilities"
            (geometric mean of probabilities), or "svm" (a linear SVM, trained on held_out.npz or
            unseen.npz).
        weights: One a stream; equal where not given.
        choose: Choose weights and temperatures on the held_out.npz beside each score file, or on
            the unseen.npz that training leaves where it fits the last layer first.
        lists: The lists, where they are not those of the run that the first score file lies in.
        dataset: Of these lists: "ucf101", "hmdb51" or "csv".
    """

    scores: Positional[tuple[Path, ...]]
    out: Path | None = None
    rule: Literal["softmax", "logits", "log_probabilities", "svm"] = "softmax"
    weights: tuple[float, ...] | None = None
    choose: bool = False
    lists: Path | None = None
    dataset: str = "csv"

    def __call__(self) -> int:
        if self.weights is not None and self._chosen():
            raise InputError("Give --weights, or have them chosen, but not both.")
        if not self.scores:
            raise InputError("There are 0 streams; give score files, or the folder of a run.")
        if len(self.scores) == 1 and self.scores[0].is_dir():
            self._run(self.scores[0])
        elif self.out is None:
            raise InputError("Give --out, the file to write, or the folder of a run alone.")
        else:
            self._files(self.out)
        return 0

    def _files(self, out: Path) -> None:
        """Fuse score files of one split, or of splits that were joined."""
        from twostream.fusion import fuse
        from twostream.fusion_files import data_of_file, load_split, with_lists

        test, held_out = load_split(self.scores, self._chosen())
        try:
            data = self._given() or data_of_file(self.scores[0])
            split = with_lists(data, test, held_out)
        except InputError as problem:
            # Who has it choose, or says where the lists are, wants them; others need none.
            if self._chosen() or self.lists is not None or self.rule == "svm":
                raise
            fused = fuse(test, self.weights, self.rule)
            _save(fused, None, out)
            print(f"{fused.source.stream}: {len(fused.video_ids):,} videos; {out}")
            print(f"no study of the weights: {problem}")
            return
        self._write([split], [out], out)

    def _run(self, run: Path) -> None:
        """Fuse all splits of a run."""
        from twostream.fusion_files import data_of_run, load_split, of_run, with_lists

        data = self._given() or data_of_run(run)
        files = of_run(run, data)
        loaded = [load_split(paths, self._chosen()) for paths in files.values()]
        out = self.out or run / "fused.npz"
        places = [out.parent / name / out.name for name in files]
        self._write([with_lists(data, *each) for each in loaded], places, out)

    def _write(self, splits: "Sequence[Split]", places: Sequence[Path], out: Path) -> None:
        """Write each split's fused scores and study, and those of all splits."""
        from twostream.fusion_curves import fuse_all, make_study, ways_to_fuse
        from twostream.runs import together
        from twostream.scores import join

        ways = ways_to_fuse(splits, self.weights)
        kind = "chosen" if self._chosen() else "equal" if self.weights is None else "given"
        written = f"{kind}, {self.rule}"
        fused = fuse_all(splits, ways, written)
        whole = together(fused[0].source.split)
        for row, place in enumerate(places):
            here = {name: way[row : row + 1] for name, way in ways.items()}
            one = slice(row, row + 1)
            _save(fused[row], make_study(splits[one], here, written, fused[one]), place)
        study = make_study(splits, ways, written, fused)
        if len(fused) > 1:
            # Official splits test videos more than once: they make no one list.
            _save(None if whole == "all" else join(fused, whole), study, out)
        print(_table(study))
        of = f" of {len(fused)} splits" if len(fused) > 1 else ""
        print(f"{'+'.join(study.streams)}: {study.videos:,} videos{of}; {out}")

    def _chosen(self) -> bool:
        return self.choose or self.rule == "svm"

    def _given(self) -> Data | None:
        return None if self.lists is None else Data(self.lists, self.lists, self.dataset)


def _save(fused: "Scores | None", study: "Study | None", out: Path) -> None:
    """Never a study beside scores that it is not of."""
    path = out.with_suffix(".json")
    path.unlink(missing_ok=True)
    if fused is not None:
        fused.save(out)
    if study is not None:
        write_atomically(path, study.to_json().encode())


def _table(study: "Study") -> str:
    """A line a row."""
    width = max(len(row.name) for row in study.rows)
    head = f"{'top-1 by video':{width + 8}s}"
    if len(study.streams) == 2:
        head += f"  share of {study.streams[1]}"
    lines = [head, *(_line(row, width, study.chosen) for row in study.rows)]
    if any(heat != 1 for row in study.rows for split in row.temperatures for heat in split):
        lines.append(
            "Chosen and best: of scores over temperatures, which held-out videos chose; equal: of "
            "scores as they are."
        )
    return "\n".join(lines)


def _line(row: "Row", width: int, written: str) -> str:
    line = f"{row.name:{width}s}  {row.top1:6.1%}"
    if row.shares:
        low, high = min(row.shares), max(row.shares)
        line += f"  {low:.2f}" + (f" to {high:.2f}" if high > low else "")
    marks = ["written"] * (row.name == written) + ["not to be reported"] * (not row.reportable)
    return f"{line}  ({', '.join(marks)})" if marks else line
