"""python -m twostream fuse: the scores of several streams into one."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Fuse:
    """Fuse score files of the same videos: the weighted mean of their softmax.

    Attributes:
        scores: Score files, one a stream.
        out: The file to write.
        weights: One a score file; equal where not given.
    """

    scores: Positional[tuple[Path, ...]]
    out: Path
    weights: tuple[float, ...] | None = None

    def __call__(self) -> int:
        from twostream.fusion import fuse
        from twostream.scores import Scores

        fused = fuse([Scores.load(path) for path in self.scores], self.weights)
        fused.save(self.out)
        print(f"{fused.source.stream}: {len(fused.video_ids)} videos; {self.out}")
        return 0
