"""Known answer: the temporal kernels learn the order of time, without which it cannot be told.

A texture moves to the left or to the right; each clip of one class is one of the other backwards,
so that a network that sees every frame alone can do no better than chance.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from twostream.models import P3D, p3d_small, start_temporal

FRAMES, SIDE, STEPS, BATCH = 8, 32, 400, 16


def clips(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clips (count, 2, FRAMES, SIDE, SIDE) of textures, 2 pixels a frame, and labels."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(count, 2, SIDE, SIDE + 2 * FRAMES, generator=generator)
    smooth = 500 * F.avg_pool2d(wide, 9, stride=1, padding=4)
    moving = torch.stack([smooth[..., 2 * t : 2 * t + SIDE] for t in range(FRAMES)], dim=2)
    labels = torch.randint(2, (count,), generator=generator)
    moving[labels == 1] = moving[labels == 1].flip(2)
    return moving, labels


def trained(inert: bool) -> P3D:
    torch.manual_seed(0)
    model = p3d_small(2, 2, dropout=0.0)
    start_temporal(model, "identity")
    for block in model.pseudo3d_blocks() if inert else []:
        for unit in block.temporals():
            unit.requires_grad_(False)
            unit.bn.freeze()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=0.02, momentum=0.9)
    for step in range(STEPS):
        images, labels = clips(BATCH, seed=step)
        optimizer.zero_grad()
        F.cross_entropy(model.train()(images), labels).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def answers(model: P3D) -> tuple[float, float]:
    """The share of new clips that are right, and of those whose answer changes backwards."""
    images, labels = clips(100, seed=10_000)
    best = model(images).argmax(dim=1)
    backwards = model(images.flip(2)).argmax(dim=1)
    return float((best == labels).float().mean()), float((best != backwards).float().mean())


def test_the_order_of_time_is_learned() -> None:
    right, changed = answers(trained(inert=False))
    assert right > 0.9
    assert changed > 0.9


def test_not_by_frames_alone() -> None:
    right, _ = answers(trained(inert=True))
    assert right < 0.65
