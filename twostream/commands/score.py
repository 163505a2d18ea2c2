"""python -m twostream score: the test videos by trained streams."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from flow.errors import InputError
from twostream.protocols import Crops, Protocol, ProtocolName
from twostream.readers import READERS
from twostream.runs import Data, Run, folds_of, load_run, together
from twostream.streams import Stream

if TYPE_CHECKING:
    from twostream.distributed import World
    from twostream.scores import Scores

TEST, HELD_OUT = "scores.npz", "held_out.npz"


@dataclass(frozen=True)
class Score:
    """Score the test videos by trained streams; writes RUN/<stream>/scores.npz.

    Of a run of several folds also RUN/<split>/<stream>/scores.npz; the former then holds every
    video, each scored by the fold that was not trained on it. Videos that training held out are
    scored into held_out.npz, for fusion to choose on. What is interrupted goes on.

    Attributes:
        run: Folder of the run.
        streams: Which to score.
        store: Another store than the run was trained with.
        lists: Other lists than the run was trained with.
        split: Another split than the run was trained with.
        allow_missing: Go on without the test videos that are not in the store.
        protocol: "paper": 20 even clips. "dense": 10 even clips of 3 crops. "full": consecutive
            clips that cover all of the video. The experiment's own test clips where not given.
            What follows changes one thing of it; sizes are the experiment's unless given.
        clips: Evenly spread clips a video.
        crops: 1: the centre. 3: along the longer side. 10: corners, centre, and their mirror
            images.
        mirror: The mirror image of each crop as well; not of a run that was trained without.
        resize: Height and width that frames are resized to.
        short_side: Shorter side that frames are resized to, their shape kept.
        crop: Height and width of a crop.
        workers: Processes that read clips, for each process that scores.
        device: "auto", "cpu", "cuda" or "cuda:N".
    """

    run: Positional[Path]
    streams: tuple[Stream, ...] = ("rgb", "flow")
    store: Path | None = None
    lists: Path | None = None
    split: str | None = None
    allow_missing: bool = False
    protocol: ProtocolName | None = None
    clips: int | None = None
    crops: Crops | None = None
    mirror: bool = False
    resize: tuple[int, int] | None = None
    short_side: int | None = None
    crop: tuple[int, int] | None = None
    workers: int = READERS
    device: str = "auto"

    def __call__(self) -> int:
        from twostream.distributed import joined
        from twostream.score_parts import Parts

        folds = {stream: folds_of(self.run, stream) for stream in self.streams}
        with joined(self.device) as world:
            written: list[Path] = []
            for stream, folders in folds.items():
                each = list(folders.values()) or [self.run / stream]
                scores = [self._score(folder, world) for folder in each]
                written += [folder / name for folder in each for name in (TEST, HELD_OUT)]
                if folders and world.main:
                    _join(scores, together(next(iter(folders))), self.run / stream / TEST)
            if world.main:  # not before: an interrupted command goes on with the other folds
                for path in written:
                    Parts(path).remove()
        return 0

    def _score(self, folder: Path, world: "World") -> "Scores":
        """Score one stream of one split."""
        from twostream.checkpoints import to_test
        from twostream.scoring import Scorer

        path = to_test(folder)
        if not path.is_file():
            raise InputError(f"{path} is not there; write it with: python -m twostream train")
        run = load_run(folder)
        scorer = Scorer(path, self._data(run), self._protocol(run), self.workers, world)
        scores = scorer.test(folder / TEST)
        scorer.held_out(folder / HELD_OUT)
        return scores

    def _protocol(self, run: Run) -> Protocol:
        """The named one, or the experiment's own, with what else is given."""
        from twostream.protocols import PROTOCOLS, own

        protocol = (PROTOCOLS[self.protocol] if self.protocol else own)(run.experiment)
        if self.clips is not None and protocol.clips is None:
            raise InputError(
                f"Protocol full takes as many clips as cover the video, not {self.clips}; "
                "leave out --clips, or give another protocol."
            )
        if self.resize is not None and self.short_side is not None:
            raise InputError("Frames cannot be resized both ways; give --resize or --short-side.")
        geometry = protocol.geometry
        resize = self.resize if self.short_side is None else self.short_side
        geometry = replace(
            geometry,
            resize=geometry.resize if resize is None else resize,
            crop=geometry.crop if self.crop is None else self.crop,
        )
        return replace(
            protocol,
            clips=protocol.clips if self.clips is None else self.clips,
            crops=protocol.crops if self.crops is None else self.crops,
            mirror=self.mirror,
            geometry=geometry,
        )

    def _data(self, run: Run) -> Data:
        trained = run.data
        return replace(
            trained,
            store=self.store or trained.store,
            lists=self.lists or trained.lists,
            split=self.split or trained.split,
            allow_missing=self.allow_missing or trained.allow_missing,
        )


def _join(scores: "list[Scores]", split: str, path: Path) -> None:
    """Write the scores of all folds as one file, where each video is tested once."""
    from twostream.scores import join

    if split == "all":  # official splits test videos more than once
        return
    joint = join(scores, split)
    joint.save(path)
    print(f"{joint.source.stream}, {split}: {len(joint.video_ids)} videos; {path}")
