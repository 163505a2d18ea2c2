"""python -m twostream score: the test videos by trained streams."""

from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from twostream.runs import Checkpoint, Data
from twostream.streams import Stream


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

    run: Positional[Path]
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
