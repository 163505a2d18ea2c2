"""The demo data set: videos whose class needs both streams, with the true flow of every frame.

A disc with one of three textures makes one of four motions over a textured, still background; the
class is texture and motion together. A frame shows the texture and not the motion (each motion is
another one played backwards, so that no single frame tells them apart); the flow shows the motion
and not the texture. All videos of a group share one background, and whole groups are held out for
testing.

    python -m twostream.demo make FOLDER     writes FOLDER/videos, FOLDER/truth, annotations.csv,
                                             and motions.csv: the motion alone as the class
    python -m twostream.demo check FOLDER    compares FOLDER/store with the true flow
"""

import csv
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.encoding import decode
from flow.errors import InputError
from flow.files import write_atomically
from flow.store import StoreFile, store_path

SIDE = 80
FRAMES = 20
RADIUS = 20.0
GROUPS = 20
TEST_GROUPS = 5

Field = NDArray[np.float64]

TEXTURES: dict[str, Callable[[Field, Field], Field]] = {
    "checks": lambda x, y: np.tanh(3 * np.sin(x / 2.5) * np.sin(y / 2.5)),
    "rings": lambda x, y: np.sin(np.hypot(x, y) / 1.5),
    "stripes": lambda x, y: np.sin(x / 1.5),
}


@dataclass(frozen=True)
class Motion:
    """Displacement of the disc's centre in pixels a frame, and its growth: log(radius) a frame."""

    velocity: tuple[float, float]
    growth: float


MOTIONS: dict[str, Motion] = {
    "left": Motion((-1.0, 0.0), 0.0),
    "right": Motion((1.0, 0.0), 0.0),
    "grow": Motion((0.0, 0.0), 1.0),
    "shrink": Motion((0.0, 0.0), -1.0),
}
PIXELS_A_FRAME = (0.35, 0.5)
GROWTH_A_FRAME = (0.013, 0.018)


@dataclass(frozen=True)
class Clip:
    """One generated video.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        flow: The true flow, float32 (T - 1, H, W, 2), pixels; see ``flow.tvl1`` for the convention.
    """

    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]


def make_clip(texture: str, motion: str, group: int, seed: int = 0) -> Clip:
    """Draw the one video of a class in a group; the same arguments give the same pixels."""
    place = (list(TEXTURES).index(texture), list(MOTIONS).index(motion))
    rng = np.random.default_rng([seed, group, *place])
    background = _background(np.random.default_rng([seed, group]))
    tint = rng.uniform(0.75, 1.0, 3)
    angle = rng.uniform(0, 2 * np.pi)
    middle = SIDE / 2 + rng.uniform(-9, 9, 2)
    speed = rng.uniform(*PIXELS_A_FRAME)
    velocity = np.array(MOTIONS[motion].velocity) * speed
    growth = MOTIONS[motion].growth * rng.uniform(*GROWTH_A_FRAME)

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    flow = np.zeros((FRAMES - 1, SIDE, SIDE, 2), np.float32)
    for t in range(FRAMES):
        time = t - (FRAMES - 1) / 2  # odd around the middle: backwards is the opposite motion
        scale = np.exp(growth * time)
        dx, dy = x - middle[0] - velocity[0] * time, y - middle[1] - velocity[1] * time
        distance = np.hypot(dx, dy)
        u, v = dx / scale, dy / scale
        pattern = TEXTURES[texture](
            u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        )
        disc = np.clip(RADIUS * scale - distance + 0.5, 0, 1)[..., None]
        sprite = (130 + 100 * pattern)[..., None] * tint
        frames[t] = np.rint(np.clip(background * (1 - disc) + sprite * disc, 0, 255))
        if t < FRAMES - 1:
            moved = np.stack([dx, dy], axis=-1) * (np.exp(growth) - 1) + velocity
            flow[t] = np.where(disc > 0.5, moved, 0)
    return Clip(frames, flow)


def make(folder: Path, groups: int = GROUPS, test_groups: int = TEST_GROUPS, seed: int = 0) -> int:
    """Write ``videos/<class>/<class>_gNN.avi``, ``truth/`` alike, and both lists.

    Returns:
        The number of videos.
    """
    rows = []
    for texture in TEXTURES:
        for motion in MOTIONS:
            label = f"{texture}_{motion}"
            for group in range(1, groups + 1):
                name = f"{label}/{label}_g{group:02d}"
                clip = make_clip(texture, motion, group, seed)
                write_video(folder / "videos" / f"{name}.avi", clip.frames)
                _write_truth(folder / "truth" / f"{name}.npz", clip.flow)
                split = "test" if group > groups - test_groups else "train"
                rows.append([f"{name}.avi", label, f"g{group:02d}", split])
    motions = [[video, label.rpartition("_")[2], *rest] for video, label, *rest in rows]
    _write_list(folder / "motions.csv", motions)
    _write_list(folder / "annotations.csv", rows)
    return len(rows)


def _write_list(path: Path, rows: list[list[str]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["video", "label", "group", "split"], *rows])
    write_atomically(path, table.getvalue().encode())


def write_video(path: Path, frames: NDArray[np.uint8], fps: float = 25.0) -> None:
    """Write RGB frames (T, H, W, 3) as Motion JPEG in AVI."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial.avi")  # OpenCV picks the format by the suffix
    size = frames.shape[2], frames.shape[1]
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 98)
    if not writer.isOpened():
        raise InputError(f"{path} cannot be written as a video; give another folder.")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    partial.replace(path)


@dataclass(frozen=True)
class FlowError:
    """Average end-point errors of the stored flow, pixels: everywhere, on the disc, of no flow."""

    everywhere: float
    moving: float
    zero_flow: float
    videos: int


def check(folder: Path) -> FlowError:
    """Compare the flow in ``folder/store`` with the truth, as it is decoded from the images."""
    sums = np.zeros(5)
    truths = sorted((folder / "truth").rglob("*.npz"))
    if not truths:
        raise InputError(f"{folder} has no truth/; run: python -m twostream.demo make {folder}")
    for truth in truths:
        true = np.load(truth)["flow"].astype(np.float32)
        video_id = truth.relative_to(folder / "truth").with_suffix("").as_posix()
        with StoreFile(store_path(folder / "store", video_id)) as stored:
            image = stored.flow_images(np.arange(len(true)))
            measured = decode(image, stored.meta.bound, stored.meta.encoding)
        error = np.linalg.norm(measured - true, axis=-1)
        length = np.linalg.norm(true, axis=-1)
        moving = length > 0
        sums += [error.sum(), error.size, error[moving].sum(), moving.sum(), length.sum()]
    return FlowError(sums[0] / sums[1], sums[2] / sums[3], sums[4] / sums[1], len(truths))


def _background(rng: np.random.Generator) -> Field:
    """Smooth coloured noise (H, W, 3) around mid-grey."""
    import cv2

    grain = rng.uniform(1.5, 3.5)
    noise = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE, 3)), (0, 0), grain)
    return np.asarray(120 + 40 * noise / noise.std())


def _write_truth(path: Path, flow: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, flow=flow.astype(np.float16))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def main(arguments: list[str]) -> int:
    """``make FOLDER`` or ``check FOLDER``; see the module's docstring."""
    if len(arguments) != 2 or arguments[0] not in ("make", "check"):
        print("usage: python -m twostream.demo make|check FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[1])
    try:
        if arguments[0] == "make":
            print(f"{make(folder)} videos, with their true flow, in {folder}")
        else:
            error = check(folder)
            print(
                f"Flow against the truth on {error.videos} videos: average end-point error "
                f"{error.everywhere:.3f} px ({error.moving:.2f} px where something moves); "
                f"no flow at all would give {error.zero_flow:.3f} px"
            )
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
