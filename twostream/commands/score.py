"""python -m twostream score: the test videos by trained streams."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from twostream.runs import Data, folds_of, load_run, together
from twostream.streams import Stream

if TYPE_CHECKING:
    from twostream.scores import Scores


@dataclass(frozen=True)
class Score:
    """Score the test videos by trained streams; writes RUN/<stream>/scores.npz.

    Of a run of several folds also RUN/<split>/<stream>/scores.npz; the former then holds every
    video, each scored by the fold that was not trained on it.

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

    run: Positional[Path]
    streams: tuple[Stream, ...] = ("rgb", "flow")
    store: Path | None = None
    lists: Path | None = None
    split: str | None = None
    allow_missing: bool = False
    workers: int = 2
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.scores import join

        for stream in self.streams:
            folds = folds_of(self.run, stream)
            if not folds:
                self._score(self.run / stream)
                continue
            scores = [self._score(folder) for folder in folds.values()]
            name = together(next(iter(folds)))
            if name != "all":  # official splits test videos more than once
                path = self.run / stream / "scores.npz"
                path.parent.mkdir(exist_ok=True)
                joined = join(scores, name)
                joined.save(path)
                print(f"{stream}, {name}: {len(joined.video_ids)} videos; {path}")
        return 0

    def _score(self, folder: Path) -> "Scores":
        """Score one stream of one split."""
        from twostream.checkpoints import to_test
        from twostream.scoring import score

        checkpoint = to_test(folder)
        scores = score(checkpoint, self._data(folder), self.workers, self.device)
        path = folder / "scores.npz"
        scores.save(path)
        print(f"{folder.name}: {len(scores.video_ids)} videos; {path}")
        return scores

    def _data(self, folder: Path) -> Data | None:
        if not (folder / "run.json").is_file():
            return None
        trained = load_run(folder).data
        return replace(
            trained,
            store=self.store or trained.store,
            lists=self.lists or trained.lists,
            split=self.split or trained.split,
            allow_missing=self.allow_missing or trained.allow_missing,
        )
