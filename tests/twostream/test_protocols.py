"""Protocols of scoring: oracle (a plain loop in PyTorch), law of the mirror, memory, refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flow.encoding import flip
from flow.errors import InputError
from flow.store import StoreFile, StoreWriter, store_path
from store_files import META
from training_runs import untrained
from twostream.data.transforms import BGR_MEAN, Geometry
from twostream.models import P3D
from twostream.protocols import Protocol, dense, full, own, paper
from twostream.runs import Checkpoint, Data
from twostream.scores import softmax
from twostream.scoring import score
from twostream.streams import Stream

# Of the largest logit; the folded network was measured to differ from the plain one by 8e-7.
FOLDED = 5e-6
LENGTH = 8
SMALL: dict[str, Any] = {"clip_length": LENGTH, "crop": (32, 32), "mirror": True}
WIDE, HIGH = (48, 64), (72, 40)


def write(
    store: Path, video: str, size: tuple[int, int], frames: int, mirror: bool = False
) -> None:
    """A store file of waves that differ over space and time; its flow is lossless."""
    t, y, x, c = np.ogrid[:frames, : size[0], : size[1], :3]
    waves = 128 + 50 * np.sin(x / 5 + t / 3 + c) + 50 * np.cos(y / 4 - t / 7 + 2 * c)
    images = np.rint(waves).astype(np.uint8)
    flow = np.ascontiguousarray(images[:-1, ..., :2])
    flow = flip(flow) if mirror else flow
    height, width = size
    meta = replace(META, frames=frames, height=height, width=width, codec="png", rgb=True)
    path = store_path(store, video)
    path.parent.mkdir(parents=True, exist_ok=True)
    with StoreWriter(path, codec="png") as writer:
        for image in images:
            writer.add_frame(image)
        for image in flow:
            writer.add_flow(image)
        writer.finish(meta)


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Two test videos of 300 frames, wide and high, and a training video."""
    folder = tmp_path_factory.mktemp("long")
    write(folder / "store", "a/wide", WIDE, 300)
    write(folder / "store", "a/high", HIGH, 300)
    write(folder / "store", "b/trained", WIDE, 5)
    rows = ["a/wide.avi,a,1,test", "a/high.avi,a,1,test", "b/trained.avi,b,2,train"]
    (folder / "lists.csv").write_text("\n".join(["video,label,group,split", *rows]) + "\n")
    return Data(folder / "lists.csv", folder / "store")


def network(path: Path) -> P3D:
    """The network of a checkpoint, as plain as it was trained."""
    known = Checkpoint.load(path)
    model = known.run.build(len(known.classes)).eval()
    model.load_state_dict(known.model)
    return model


Place = tuple[int, int]


def resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Frames or flow images (T, H, W, C) as values around zero, at another size."""
    height, width = images.shape[1:3]
    given = images if images.shape[3] == 3 else images.astype(np.float32) - 128
    bigger = np.stack([cv2.resize(image, size[::-1]) for image in given]).astype(np.float32)
    if images.shape[3] == 3:
        return bigger[..., ::-1] - np.float32(BGR_MEAN)
    return bigger * np.float32([size[1] / width, size[0] / height])


@torch.no_grad()
def plain_loop(
    model: P3D,
    images: NDArray[np.float32],
    starts: list[int],
    places: list[Place],
    mirror: bool,
    crop: int = 32,
) -> NDArray[np.float64]:
    """The softmax of every clip, crop and side: (clips, crops * sides, classes)."""
    found = []
    for start in starts:
        for top, left in places:
            shown = images[start : start + LENGTH, top : top + crop, left : left + crop]
            clip = torch.from_numpy(np.ascontiguousarray(shown.transpose(3, 0, 1, 2)))[None]
            found.append(model(clip).double().softmax(1))
            if mirror:
                turned = clip.flip(-1)
                if clip.shape[1] == 2:
                    turned = turned * torch.tensor([-1.0, 1.0]).reshape(1, 2, 1, 1, 1)
                found.append(model(turned).double().softmax(1))
    return torch.cat(found).reshape(len(starts), -1, model.fc.out_features).numpy()


def even(clips: int) -> list[int]:
    """Starts in 299 positions; none of these counts gives a half."""
    return [round(place * 291 / max(clips - 1, 1)) for place in range(clips)]


# Protocol; size of the wide and of the high video; starts; crops of each of them.
CENTRE: tuple[list[Place], list[Place]] = ([(8, 16)], [(20, 4)])
CASES: dict[str, tuple[Callable[[Any], Protocol], Any, Any, list[int], Any]] = {
    "own": (own, WIDE, HIGH, even(2), CENTRE),
    "paper": (paper, WIDE, HIGH, even(20), CENTRE),
    "full": (full, WIDE, HIGH, even(38), CENTRE),  # 38 clips of 8 cover 299 positions
    "dense": (
        dense,
        WIDE,
        HIGH,
        even(10),
        ([(8, 0), (8, 16), (8, 32)], [(0, 4), (20, 4), (40, 4)]),
    ),
    "ten crops": (
        lambda e: replace(own(e), crops=10),
        WIDE,
        HIGH,
        even(2),
        (
            [(0, 0), (0, 32), (16, 0), (16, 32), (8, 16)],
            [(0, 0), (0, 8), (40, 0), (40, 8), (20, 4)],
        ),
    ),
    "mirrored": (lambda e: replace(own(e), mirror=True), WIDE, HIGH, even(2), CENTRE),
    "short side": (
        lambda e: replace(own(e), clips=4, geometry=Geometry(36, (32, 32))),
        (36, 48),
        (65, 36),
        even(4),
        ([(2, 8)], [(16, 2)]),
    ),
    "resized": (
        lambda e: replace(own(e), geometry=Geometry((40, 50), (32, 32))),
        (40, 50),
        (40, 50),
        even(2),
        ([(4, 9)], [(4, 9)]),
    ),
}


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("case", CASES)
def test_a_protocol_is_a_plain_loop(
    case: str, stream: Stream, long_videos: Data, tmp_path: Path
) -> None:
    make, wide, high, starts, places = CASES[case]
    path = untrained(tmp_path, long_videos, stream, **SMALL, clips_at_once=7)
    protocol = make(Checkpoint.load(path).run.experiment)
    scores = score(path, workers=0, device="cpu", protocol=protocol)
    assert scores.video_ids == ("a/wide", "a/high")
    assert scores.source.protocol == str(protocol)
    model = network(path)
    for row, (video, size) in enumerate(zip(scores.video_ids, (wide, high), strict=True)):
        with StoreFile(store_path(long_videos.store, video)) as file:
            read = file.frames if stream == "rgb" else file.flow_images
            images = resized(read(range(299)), size)
        both = case in ("ten crops", "mirrored")
        expected = plain_loop(model, images, starts, places[row], both)
        np.testing.assert_allclose(
            softmax(scores.logits[row]), expected.mean(axis=(0, 1)), rtol=0, atol=FOLDED
        )
        by_clip = expected.mean(axis=1)
        if protocol.clips is None:
            by_clip = by_clip.mean(axis=0, keepdims=True)
        np.testing.assert_allclose(softmax(scores.clip_logits[row]), by_clip, rtol=0, atol=FOLDED)


def test_a_video_mirrored_has_the_same_scores_with_its_mirror_image(tmp_path: Path) -> None:
    """Flow of PNG, which mirrors without loss; the room around the crop is even."""
    for name, mirror in (("one", False), ("other", True)):
        write(tmp_path / name, "a/v", WIDE, 20, mirror)
        write(tmp_path / name, "b/w", WIDE, 5)
    lists = tmp_path / "l.csv"
    lists.write_text("video,label,group,split\na/v.avi,a,1,test\nb/w.avi,b,2,train\n")
    path = untrained(tmp_path / "r", Data(lists, tmp_path / "one"), "flow", **SMALL)
    experiment = Checkpoint.load(path).run.experiment
    for protocol in (
        replace(own(experiment), mirror=True),
        replace(dense(experiment), mirror=True),
        replace(own(experiment), crops=10),
    ):
        found = [
            score(path, Data(lists, tmp_path / name), 0, "cpu", protocol).logits
            for name in ("one", "other")
        ]
        # The same numbers are added up in another order.
        np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=0)
    plain = [
        score(path, Data(lists, tmp_path / name), 0, "cpu").logits for name in ("one", "other")
    ]
    assert np.abs(plain[0] - plain[1]).max() > 1e-3


def test_a_protocol_checks_itself() -> None:
    geometry = Geometry(None, (8, 8))
    with pytest.raises(InputError, match="number of crops is 5; give 1, 3 or 10"):
        Protocol(1, 4, geometry, crops=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="clip length is 0"):
        Protocol(None, 0, geometry)
    with pytest.raises(InputError, match="'mirror' is unknown"):
        Protocol(1, 4, geometry, short="mirror")  # type: ignore[arg-type]
    assert str(Protocol(3, 4, geometry, short="loop")) == (
        "3 even clips of 4, own size, centre crop 8x8, short videos loop, mean of softmax"
    )


def test_all_of_a_long_video_is_never_in_memory_at_once(
    long_videos: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 7 clips of 8 frames at once, 56 frames at most are read together."""
    read = []
    frames = StoreFile.frames

    def counted(file: StoreFile, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        read.append(np.asarray(indices))
        return frames(file, indices)

    monkeypatch.setattr(StoreFile, "frames", counted)
    path = untrained(tmp_path, long_videos, **SMALL, clips_at_once=7)
    protocol = full(Checkpoint.load(path).run.experiment)
    score(path, workers=0, device="cpu", protocol=protocol)
    assert max(map(len, read)) <= 56
    assert set(np.concatenate(read).tolist()) == set(range(299))
