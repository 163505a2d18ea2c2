"""What rows are measured by.

Known answers: counts of the networks by hand, ratios of times, accuracies of scores made
for it. Oracle: scikit-learn's top-k accuracy. Refusals in a sentence.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reproduce_measure import (
    NETWORKS,
    answered,
    mebibytes,
    of_network,
    of_results,
    ratio,
    resnet50,
    time_networks,
)
from reproduce_published import Row, load
from sklearn.metrics import top_k_accuracy_score

from flow.errors import InputError
from twostream.data.annotations import load as load_lists
from twostream.models import p3d63
from twostream.scores import Scores, Source

SIZES = {row.name: row for row in load().tables["p3d_sizes"].rows}
ROW = Row("r", "video_top1", plan="p", result="{split}.npz", dataset="csv", split="column")
# ResNet-50 without its last layer (He et al., CVPR 2016): convolutions, and two for each BatchNorm.
RESNET50_TRUNK = 23_508_032
RESNET50_STATISTICS = 53_120


def test_resnet50_has_the_known_parameters() -> None:
    trunk = sum(p.numel() for name, p in resnet50(7).named_parameters() if "fc" not in name)
    assert trunk == RESNET50_TRUNK
    whole = RESNET50_TRUNK + RESNET50_STATISTICS + 101 * 2049
    assert mebibytes(resnet50()) == pytest.approx(4 * whole / 2**20)


def test_resnet50_is_p3d_63_without_temporal_convolutions() -> None:
    spatial = {n: p.shape for n, p in p3d63(101).named_parameters() if "temporal" not in n}
    assert {n: p.shape for n, p in resnet50().named_parameters()} == spatial


@pytest.mark.parametrize("name", ["P3D-199 RGB, parameters", "P3D-199 flow, multiply-adds"])
def test_published_counts_come_out(name: str) -> None:
    row = SIZES[name]
    assert of_network(row, {}).value == pytest.approx(row.published, abs=row.tolerance)


def test_sizes_are_of_the_temporal_convolutions() -> None:
    found = of_network(SIZES["P3D mixed less ResNet-50, size"], {}).value
    kernels = sum(blocks * 3 * width**2 for blocks, width in ((3, 64), (4, 128), (6, 256)))
    norms = 4 * sum(blocks * width for blocks, width in ((3, 64), (4, 128), (6, 256)))
    assert found == pytest.approx(4 * (kernels + norms) / 2**20)


def test_every_network_has_the_input_that_it_is_timed_with() -> None:
    for make, shape in NETWORKS.values():
        with torch.device("meta"):
            model = make()
        assert model.in_channels == shape[0]


def test_ratios_are_of_times_in_one_round() -> None:
    own = np.linspace(1, 2, 9)
    found = ratio(0.5 * own, own)
    assert (found.value, found.interval, found.noisy) == (0.5, (0.5, 0.5), True)
    noisy = ratio(own * np.tile([0.4, 0.5, 0.6], 3), own)
    assert noisy.value == pytest.approx(0.5)
    assert noisy.interval[0] < 0.5 < noisy.interval[1]
    speeds = {"P3D-A": [2.0, 2.0], "ResNet-50": [1.0, 1.0]}
    assert of_network(SIZES["P3D-A, clips/s over ResNet-50's frames/s"], speeds).value == 0.5


def test_networks_are_timed_in_turn() -> None:
    seconds = time_networks(["ResNet-50"], rounds=2)
    assert len(seconds["ResNet-50"]) == 2
    assert min(seconds["ResNet-50"]) > 0


@pytest.mark.parametrize("k", [1, 5])
def test_answers_are_scikit_learns(k: int) -> None:
    rng = np.random.default_rng(k)
    clips = rng.standard_normal((60, 3, 9)).astype(np.float32)
    logits = clips.mean(axis=1)
    labels = rng.integers(0, 9, 60)
    by_video = answered(f"video_top{k}", clips, logits, labels)
    every = range(9)
    assert by_video.mean() == pytest.approx(top_k_accuracy_score(labels, logits, k=k, labels=every))
    by_clip = answered(f"clip_top{k}", clips, logits, labels)
    flat = top_k_accuracy_score(labels.repeat(3), clips.reshape(-1, 9), k=k, labels=every)
    assert by_clip.mean() == pytest.approx(flat)


def test_ties_go_to_the_first_class_as_argmax_has_it() -> None:
    logits = np.zeros((3, 4), np.float32)
    right = answered("video_top1", logits[:, None], logits, np.array([0, 1, 3]))
    assert right.tolist() == [1, 0, 0]


def listed(path: Path, videos: int, classes: Sequence[str], side: str = "test") -> None:
    """A list of videos v0, v1, ... whose labels take turns, two videos a group."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "label", "group", "split"))
        for video in range(videos):
            label = classes[video % len(classes)]
            writer.writerow((f"v{video}.avi", label, f"g{video // 2}", side))
        for place, label in enumerate(classes):
            writer.writerow((f"t{place}.avi", label, f"train{place}", "train"))


def scores(lists: Path, right: Sequence[bool], classes: tuple[str, ...]) -> Scores:
    labels = np.arange(len(right)) % len(classes)
    told = np.where(right, labels, (labels + 1) % len(classes))
    logits = np.eye(len(classes), dtype=np.float32)[told]
    name = f"{lists.resolve().parent.name}/{lists.stem}"
    source = Source(name, "column", "rgb", "p", "c", "s")
    ids = tuple(f"v{video}" for video in range(len(right)))
    return Scores(ids, classes, logits, logits[:, None], source)


def test_accuracy_is_in_percent_with_an_interval_over_groups(tmp_path: Path) -> None:
    lists = tmp_path / "l.csv"
    listed(lists, 40, ("a", "b"))
    right = [video % 4 != 0 for video in range(40)]
    scores(lists, right, ("a", "b")).save(tmp_path / "s.npz")
    found = of_results(ROW, [tmp_path / "s.npz"], lists, part=False)
    assert found.value == pytest.approx(75)
    assert found.interval[0] < 75 < found.interval[1]
    assert not found.noisy
    assert found.of == "20 groups of 40 videos"


def test_several_splits_weigh_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = tmp_path / "l.csv"
    listed(lists, 40, ("a", "b"))
    all_right = scores(lists, [True] * 40, ("a", "b"))
    all_right.save(tmp_path / "1.npz")
    for name, right in (("2", True), ("3", False)):
        few = scores(lists, [right] * 4, ("a", "b"))
        few.save(tmp_path / f"{name}.npz")
    monkeypatch.setattr("reproduce_measure.SPLITS", ("column",) * 3)
    paths = [tmp_path / f"{split}.npz" for split in "123"]
    found = of_results(ROW, paths, lists, part=True)
    assert found.value == pytest.approx(200 / 3)
    assert found.interval[0] <= found.value <= found.interval[1]


def test_missing_videos_are_refused_but_in_a_dry_run(tmp_path: Path) -> None:
    lists = tmp_path / "l.csv"
    listed(lists, 40, ("a", "b"))
    scores(lists, [True] * 6, ("a", "b")).save(tmp_path / "s.npz")
    with pytest.raises(InputError, match="34"):
        of_results(ROW, [tmp_path / "s.npz"], lists, part=False)
    assert of_results(ROW, [tmp_path / "s.npz"], lists, part=True).value == 100


def test_a_part_may_lack_classes(tmp_path: Path) -> None:
    lists = tmp_path / "l.csv"
    listed(lists, 4, ("a", "b", "c", "d"))
    logits = np.array([[1, 0]], np.float32)
    source = Source("a part", "column", "rgb", "p", "c", "s")
    part = Scores(("v1",), ("b", "d"), logits, logits[:, None], source)
    part.save(tmp_path / "s.npz")
    assert of_results(ROW, [tmp_path / "s.npz"], lists, part=True).value == 100


def test_lists_of_a_users_own_are_tested_as_a_whole(tmp_path: Path) -> None:
    lists = tmp_path / "k.csv"
    listed(lists, 4, ("a", "b"))
    row = replace(ROW, dataset="kinetics400", split="validation")
    annotations = load_lists("csv", lists, "all")
    ids = tuple(video.id for video in annotations.test)
    assert len(ids) == 6  # whatever the list calls them
    logits = np.array([[1, 0]] * 5 + [[0, 1]], np.float32)
    source = Source(annotations.name, "all", "rgb", "p", "c", "s")
    Scores(ids, annotations.classes, logits, logits[:, None], source).save(tmp_path / "s.npz")
    labels = [video.label for video in annotations.test]
    right = np.mean(logits.argmax(axis=1) == labels)
    assert of_results(row, [tmp_path / "s.npz"], lists, part=False).value == 100 * right
