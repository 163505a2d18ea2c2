"""The demo data: known answers (the flow is true), laws (time reversal), and sameness by seed."""

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from flow.errors import InputError
from twostream import demo
from twostream.data.annotations import load


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        demo.make(tmp_path / name, groups=2, test_groups=1, seed=seed)
    one, two, other = (digest(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert len(one) == 2 * 24 + 2
    changed = [name for name in one if one[name] != other[name]]
    assert len(changed) == 2 * 24  # only the lists stay


def test_train_and_test_share_no_group(tmp_path: Path) -> None:
    demo.make(tmp_path, groups=3, test_groups=1)
    annotations = load("csv", tmp_path / "annotations.csv", "column")
    assert len(annotations.classes) == 12
    assert (len(annotations.train), len(annotations.test)) == (24, 12)
    assert not annotations.shared_groups()
    with (tmp_path / "annotations.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert (tmp_path / "videos" / row["video"]).is_file()
    motions = load("csv", tmp_path / "motions.csv", "column")
    assert motions.classes == ("grow", "left", "right", "shrink")
    assert [video.id for video in motions.test] == [video.id for video in annotations.test]
    for video in motions.train:
        assert video.id.split("/")[0].endswith(motions.classes[video.label])


def test_a_group_shares_its_background_and_groups_differ() -> None:
    corner = (slice(None), slice(0, 6), slice(0, 6))  # no disc ever gets there
    one = demo.make_clip("checks", "left", 1).frames[corner]
    same = demo.make_clip("rings", "grow", 1).frames[corner]
    other = demo.make_clip("checks", "left", 2).frames[corner]
    np.testing.assert_array_equal(one, same)
    assert np.abs(one.astype(int) - other).mean() > 10


@pytest.mark.parametrize("texture", demo.TEXTURES)
@pytest.mark.parametrize("motion", demo.MOTIONS)
def test_the_true_flow_carries_a_frame_to_the_next(texture: str, motion: str) -> None:
    """Warping frame t + 1 back by the truth gives frame t, but for the disc's soft edge."""
    clip = demo.make_clip(texture, motion, 3)
    t = demo.FRAMES // 2
    y, x = np.mgrid[: demo.SIDE, : demo.SIDE].astype(np.float32)
    warped = cv2.remap(
        clip.frames[t + 1], x + clip.flow[t, ..., 0], y + clip.flow[t, ..., 1], cv2.INTER_CUBIC
    )
    inside = cv2.erode((np.abs(clip.flow[t]).max(axis=-1) > 0).astype(np.uint8), np.ones((7, 7)))
    difference = np.abs(warped.astype(int) - clip.frames[t])[inside > 0].mean()
    unmoved = np.abs(clip.frames[t + 1].astype(int) - clip.frames[t])[inside > 0].mean()
    assert inside.sum() > 100
    assert difference < 0.35 * unmoved


def test_left_and_right_shrinking_and_growing_are_each_other_backwards() -> None:
    means = {
        motion: np.mean([demo.make_clip("rings", motion, g).flow for g in range(1, 5)], axis=(0, 1))
        for motion in demo.MOTIONS
    }
    assert means["left"][..., 0].sum() < 0 < means["right"][..., 0].sum()
    y, x = np.mgrid[: demo.SIDE, : demo.SIDE] - demo.SIDE / 2
    outwards = {name: (flow[..., 0] * x + flow[..., 1] * y).sum() for name, flow in means.items()}
    assert outwards["shrink"] < 0 < outwards["grow"]


def test_the_disc_stays_inside() -> None:
    for motion in demo.MOTIONS:
        for group in range(1, demo.GROUPS + 1):
            moving = np.abs(demo.make_clip("stripes", motion, group).flow).max(axis=(0, 3)) > 0
            edges = (moving[0], moving[-1], moving[:, 0], moving[:, -1])
            assert not np.concatenate(edges).any()


def test_check_without_data_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="demo make"):
        demo.check(tmp_path)
