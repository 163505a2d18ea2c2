"""Known answer: what features separate is separated, and the features stay."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from twostream.data import clips as data_sets
from twostream.data.annotations import Video
from twostream.distributed import World
from twostream.experiments import demo
from twostream.linear_head import Fit, Known, fit_last_layer
from twostream.linear_layer import best_layer
from twostream.models import P3D
from twostream.runs import Data, Run
from twostream.scores import softmax


def fitted(
    demo_data: Path, classes: int, mirror: bool = False, known: Known | None = None
) -> tuple[P3D, Run, Fit]:
    experiment = replace(demo(), clip_length=4, crop=(48, 48), test_clips=2, mirror=mirror)
    data = Data(demo_data / "annotations.csv", demo_data / "store")
    run = Run(experiment, data, "rgb")
    torch.manual_seed(0)
    model = run.build(classes)
    listed = replace(data.annotations("train")[0], classes=tuple(map(str, range(classes))))
    return model, run, fit_last_layer(model, run, listed, 0, World(torch.device("cpu")), known)


@torch.no_grad()
def test_it_is_the_best_layer_for_the_features_as_they_are(demo_data: Path) -> None:
    model, run, fit = fitted(demo_data, classes=12)
    torch.manual_seed(0)
    untouched = run.build(12).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, untouched[name]) == (name not in ("fc.weight", "fc.bias")), name
    videos = run.data.annotations("train")[0].train
    clips = data_sets.TestClips(
        run.data.store,
        videos,
        "rgb",
        length=4,
        clips=2,
        geometry=run.experiment.geometry(),
    )
    right = sum(
        int((model.eval()(model.input.of_p3d(clip)).argmax(1) == label).sum())
        for clip, label, _ in clips
    )
    share = right / (2 * len(videos))
    assert share > 0.7
    assert f"{2 * len(videos)} clips, {share:.1%} of them right" in fit.said


def test_mirror_images_count_where_training_mirrors(demo_data: Path) -> None:
    videos = 24
    assert f" {2 * videos} clips" in fitted(demo_data, 12)[2].said
    assert f" {4 * videos} clips" in fitted(demo_data, 12, mirror=True)[2].said


def test_what_another_split_has_found_is_used_and_changes_nothing(
    demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same network, stream and clips alone."""
    read: list[str] = []
    item = data_sets.TestClips.__getitem__

    def counted(clips: data_sets.TestClips, key: Any) -> Any:
        read.append(clips.videos[key[0]].id)
        return item(clips, key)

    monkeypatch.setattr(data_sets.TestClips, "__getitem__", counted)
    data = Data(demo_data / "annotations.csv", demo_data / "store")
    run = Run(replace(demo(), clip_length=4, crop=(48, 48), mirror=True), data, "rgb")
    listed = data.annotations("train")[0]
    videos = listed.train
    known: Known = {}

    def fc(run: Run, some: tuple[Video, ...], known: Known, seed: int = 0) -> Tensor:
        torch.manual_seed(seed)
        model = run.build(12)
        read.clear()
        fit_last_layer(
            model, run, replace(listed, train=some), 0, World(torch.device("cpu")), known
        )
        return model.fc.weight

    fc(run, videos[:16], known)
    assert set(read) == {video.id for video in videos[:16]}
    again = fc(run, videos[8:], known)
    assert set(read) == {video.id for video in videos[16:]}
    assert torch.equal(again, fc(run, videos[8:], {}))
    flow = replace(run, stream="flow")
    longer = replace(run, experiment=replace(run.experiment, clip_length=5))
    for other, seed in ((flow, 0), (longer, 0), (run, 1)):
        fc(other, videos[:16], known, seed)
        assert set(read) == {video.id for video in videos[:16]}


def test_scores_of_the_videos_themselves_by_layers_that_have_not_seen_their_group(
    demo_data: Path,
) -> None:
    """Mirror images are fitted to and not scored; a video has the mean of its clips."""
    _, run, plain = fitted(demo_data, 12)
    known: Known = {}
    model, run, both = fitted(demo_data, 12, mirror=True, known=known)
    listed = run.data.annotations("train")[0]
    videos = listed.train
    for fit in (plain, both):
        assert fit.unseen is not None
        assert fit.unseen.video_ids == tuple(video.id for video in videos)
        assert fit.unseen.clip_logits.shape == (len(videos), 2, 12)
        source = fit.unseen.source
        assert (source.stream, source.split, source.checkpoint) == ("rgb", "column", "")
        mean = softmax(fit.unseen.clip_logits).mean(axis=1)
        np.testing.assert_allclose(softmax(fit.unseen.logits), mean, rtol=1e-5)
    features = {key[-1]: value for key, value in known.items()}
    groups = np.array([video.group for video in videos])
    labels = np.array([video.label for video in videos])
    _, expected = best_layer([features[video.id] for video in videos], labels, groups, 12)
    assert expected is not None
    assert both.unseen is not None
    clips = [
        each[:2] for each in expected.logits
    ]  # of each video two clips, and then their mirror images
    np.testing.assert_allclose(both.unseen.clip_logits, clips, rtol=1e-5, atol=1e-5)
    of_one_group = replace(listed, train=tuple(replace(v, group="g") for v in videos))
    world = World(torch.device("cpu"))
    assert fit_last_layer(model, run, of_one_group, 0, world).unseen is None
