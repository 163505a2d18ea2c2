"""Where a training starts: identity with what it starts from, laws of transfer, leaks refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flow.errors import InputError
from twostream.data.annotations import Annotations, Video
from twostream.experiments import Experiment, demo
from twostream.initialisation import Start, initialise, weights_file
from twostream.models import P3D, start_temporal
from twostream.runs import Checkpoint, Data, Run

CLASSES = ("fall", "run", "walk")
TRAIN = tuple(Video(f"{name}/1", label, "g1") for label, name in enumerate(CLASSES))
TEST = tuple(Video(f"{name}/2", label, "g2") for label, name in enumerate(CLASSES))
ANNOTATIONS = Annotations("d/l", "column", CLASSES, TRAIN, TEST)
SMALL = replace(demo(), freeze_batchnorm=False)


def new_run(experiment: Experiment = SMALL, stream: Any = "rgb") -> Run:
    return Run(experiment, Data(Path("l"), Path("s")), stream)


def build(run: Run, seed: int, classes: int = 3) -> P3D:
    torch.manual_seed(seed)
    model = run.build(classes)
    for block in model.pseudo3d_blocks():  # as if trained
        for temporal in block.temporals():
            torch.nn.init.normal_(temporal.conv.weight, std=0.5)
    return model


def save(path: Path, run: Run, model: P3D, **changes: Any) -> None:
    ids = tuple(video.id for video in TRAIN)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(run, "d/l", CLASSES, ids, (), "", 9, model.state_dict(), {})
    replace(checkpoint, **changes).save(path)


def begin(
    experiment: Experiment,
    stream: Any = "rgb",
    annotations: Annotations = ANNOTATIONS,
    validation: tuple[Video, ...] = (),
) -> tuple[P3D, Start]:
    run = new_run(experiment, stream)
    model = build(run, seed=1, classes=len(annotations.classes))
    return model, initialise(model, run, annotations, validation)


def differing(one: P3D, two: P3D) -> set[str]:
    states = one.state_dict(), two.state_dict()
    return {name for name, value in states[0].items() if not torch.equal(value, states[1][name])}


def temporal_weights(model: P3D) -> list[torch.Tensor]:
    return [t.conv.weight.detach() for b in model.pseudo3d_blocks() for t in b.temporals()]


def test_from_scratch_temporal_kernels_start_as_the_experiment_says() -> None:
    inert, start = begin(replace(SMALL, temporal_start="identity"))
    expected = build(new_run(), seed=1)
    start_temporal(expected, "identity")
    assert differing(inert, expected) == set()
    small, _ = begin(replace(SMALL, temporal_start="gaussian"))
    assert all(0 < weight.std() < 0.002 for weight in temporal_weights(small))
    assert start == Start()


def test_frozen_batchnorms_need_weights() -> None:
    with pytest.raises(InputError, match="cannot learn from scratch; give --weights"):
        begin(replace(SMALL, freeze_batchnorm=True))


def test_a_run_on_clips_is_taken_whole(tmp_path: Path) -> None:
    before = build(new_run(), seed=2)
    save(tmp_path / "c.pt", new_run(), before)
    model, start = begin(replace(SMALL, weights=tmp_path / "c.pt"))
    assert differing(model, before) == set()
    assert start.seen == {video.id for video in TRAIN}
    assert "P3D checkpoint" in start.notes


@pytest.mark.parametrize("how", ["identity", "gaussian"])
def test_after_a_run_on_frames_temporal_kernels_start_anew(tmp_path: Path, how: Any) -> None:
    """It has held them still, whatever is in them."""
    frames = new_run(replace(SMALL, clip_length=1))
    before = build(frames, seed=2)
    save(tmp_path / "c.pt", frames, before)
    model, start = begin(replace(SMALL, weights=tmp_path / "c.pt", temporal_start=how))
    start_temporal(before, how)
    assert all(".temporal" in name for name in differing(model, before))
    assert f"temporal kernels: {how}" in start.notes
    if how == "identity":
        assert differing(model, before) == set()
    else:
        assert all(0 < weight.std() < 0.002 for weight in temporal_weights(model))


def test_other_classes_get_a_new_last_layer(tmp_path: Path) -> None:
    before = build(new_run(), seed=2)
    save(tmp_path / "c.pt", new_run(), before, dataset="other/l")
    renamed = replace(ANNOTATIONS, classes=("jump", "run", "walk"))
    more = replace(ANNOTATIONS, classes=(*CLASSES, "jump"))
    for annotations in (renamed, more):
        model, start = begin(replace(SMALL, weights=tmp_path / "c.pt"), annotations=annotations)
        fresh = build(new_run(), seed=1, classes=len(annotations.classes))
        torch.testing.assert_close(model.fc.weight, fresh.fc.weight, rtol=0, atol=0)
        assert torch.equal(model.res5[0].restore.conv.weight, before.res5[0].restore.conv.weight)
        assert start.seen == frozenset()
    assert "last layer" not in begin(replace(SMALL, weights=tmp_path / "c.pt"))[1].notes


def test_an_rgb_stream_gives_the_flow_stream_its_averaged_stem(tmp_path: Path) -> None:
    before = build(new_run(), seed=2)
    save(tmp_path / "c.pt", new_run(), before)
    model, _ = begin(replace(SMALL, weights=tmp_path / "c.pt"), stream="flow")
    stem = before.conv1.conv.weight.mean(dim=1, keepdim=True).expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(model.conv1.conv.weight, stem)
    assert torch.equal(model.res2[0].reduce.conv.weight, before.res2[0].reduce.conv.weight)


def test_weights_that_saw_a_test_video_are_refused(tmp_path: Path) -> None:
    """What trained on split 1 knows the test videos of split 2."""
    save(tmp_path / "c.pt", new_run(), build(new_run(), 2), trained_on=("run/1", "walk/2"))
    with pytest.raises(InputError, match="trained on 1 of the test videos, 'walk/2' first"):
        begin(replace(SMALL, weights=tmp_path / "c.pt"))
    save(tmp_path / "c.pt", new_run(), build(new_run(), 2), trained_on=("walk/2",), dataset="o/l")
    begin(replace(SMALL, weights=tmp_path / "c.pt"))


def test_weights_that_saw_a_validation_video_are_told(tmp_path: Path) -> None:
    save(tmp_path / "c.pt", new_run(), build(new_run(), 2), held_out=("run/1",))
    experiment = replace(SMALL, weights=tmp_path / "c.pt")
    assert "1 validation videos" in begin(experiment, validation=TRAIN[:2])[1].notes
    assert "validation" not in begin(experiment, validation=TRAIN[1:2])[1].notes


def test_weights_alone_are_no_run(tmp_path: Path) -> None:
    before = build(new_run(), seed=2)
    torch.save(before.state_dict(), tmp_path / "w.pt")
    model, start = begin(replace(SMALL, weights=tmp_path / "w.pt"))
    assert differing(model, before) == set()
    assert start.seen == frozenset()


def test_a_folder_gives_each_split_and_stream_its_own(tmp_path: Path) -> None:
    for name in ("rgb/checkpoint.pt", "flow/checkpoint.pt", "flow/best.pt"):
        save(tmp_path / "one" / name, new_run(), build(new_run(), 2))
        save(tmp_path / "all" / "fold-2of5" / name, new_run(), build(new_run(), 2))
    one, all_folds = tmp_path / "one", tmp_path / "all"
    assert weights_file(one, "column", "rgb") == one / "rgb" / "checkpoint.pt"
    assert weights_file(one, "fold:1/5", "flow") == one / "flow" / "best.pt"
    assert weights_file(all_folds, "fold:2/5", "flow") == all_folds / "fold-2of5/flow/best.pt"
    assert weights_file(one / "rgb", "column", "flow") == one / "rgb" / "checkpoint.pt"
    with pytest.raises(InputError, match=r"holds no rgb/checkpoint\.pt"):
        weights_file(all_folds, "fold:1/5", "rgb")


def test_imagenet_weights_start_both_streams(shared: Path) -> None:
    weights = shared / "weights" / "resnet50_imagenet_caffe.safetensors"
    for stream in ("rgb", "flow"):
        run = new_run(
            replace(SMALL, model="p3d63", weights=weights, temporal_start="gaussian"), stream
        )
        model = run.build(3)
        start = initialise(model, run, ANNOTATIONS)
        assert "2D ResNet, inflated" in start.notes
        assert all(0 < weight.std() < 0.002 for weight in temporal_weights(model))
