"""One trained stream, ready to answer clip by clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twostream.checkpoints import to_test
from twostream.data.transforms import test_view
from twostream.experiments import Experiment
from twostream.image_settings import images_of
from twostream.models.inference import InferenceModel, for_inference
from twostream.runs import Checkpoint
from twostream.streams import Stream


@dataclass(frozen=True)
class StreamNetwork:
    """A network that answers as ``python -m twostream score`` lets it.

    Attributes:
        path: Its checkpoint.
        stream: "rgb" or "flow".
        experiment: What it was trained by.
        classes: Names, in the order of the logits.
        images: How the images were made that it was trained on, as
            ``twostream.image_settings.describe`` tells it.
        model: Prepared for inference.
        device: Where that computes.
    """

    path: Path
    stream: Stream
    experiment: Experiment
    classes: tuple[str, ...]
    images: Mapping[str, Any]
    model: InferenceModel
    device: torch.device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "StreamNetwork":
        """The network of a run's folder RUN/<stream>.

        Raises:
            InputError: No checkpoint, a damaged one, or one of which nobody knows how its images
                were made.
        """
        path = to_test(folder)
        checkpoint = Checkpoint.load(path)
        run = checkpoint.run
        network = run.build(len(checkpoint.classes))
        network.load_state_dict(checkpoint.model)
        fast = for_inference(network, device, precision=run.experiment.precision)
        images = images_of(checkpoint, path)
        return cls(path, run.stream, run.experiment, checkpoint.classes, images, fast, device)

    def views(self, images: NDArray[np.uint8]) -> Tensor:
        """What it sees of frames (T, H, W, 3) or flow images (T, H, W, 2).

        Returns:
            float32 (C, T, height, width), the centre crop.
        """
        return test_view(images, self.stream, self.experiment.geometry())

    @torch.inference_mode()
    def logits(self, clip: Tensor) -> NDArray[np.float32]:
        """Float32 (classes,) of a clip (C, T, height, width)."""
        answer = self.model(self.model.input.of_p3d(clip[None].to(self.device)))
        return np.asarray(answer[0].cpu().numpy())
