"""python -m twostream export: a trained network as ONNX or torch.export file."""

from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from twostream.runs import Checkpoint


@dataclass(frozen=True)
class Export:
    """Write a trained network as one file for other programs, checked on a real clip.

    Attributes:
        checkpoint: What train wrote: RUN/<stream>/checkpoint.pt.
        out: The file to write; .onnx or .pt2 (torch.export).
        store: Another store to take the clip from than the run was trained with.
        lists: Other lists than the run was trained with.
    """

    checkpoint: Positional[Path]
    out: Path
    store: Path | None = None
    lists: Path | None = None

    def __call__(self) -> int:
        from twostream.export import export

        trained = Checkpoint.load(self.checkpoint).run.data
        data = replace(
            trained,
            store=self.store or trained.store,
            lists=self.lists or trained.lists,
            allow_missing=True,
        )
        exported = export(self.checkpoint, self.out, data)
        shape = " x ".join(map(str, exported.shape))
        print(
            f"{exported.path}: takes clips of {shape}, values 0 to 255; on {exported.video_id} its "
            f"logits differ from the network's by {exported.error:.1e} of the largest"
        )
        return 0
