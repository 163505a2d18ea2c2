"""Features: oracle (the network itself, clip by clip), identity (resume), and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flow.__main__ import main as flow_main
from flow.errors import InputError
from training_runs import train_command
from twostream import feature_folder, features
from twostream.__main__ import main
from twostream.commands.features import Features as Command
from twostream.commands.svm import SVM
from twostream.data import clips as data_clips
from twostream.data.annotations import Video
from twostream.data.transforms import Geometry
from twostream.feature_folder import FeatureMeta, Features
from twostream.features import Clips, Network, take_features
from twostream.models import p3d_small
from twostream.runs import sha256 as file_hash
from twostream.streams import Stream

CLIPS = Clips("flow", 2, 4, Geometry((48, 60), (40, 56)), "repeat", True)


def network(in_channels: int = 2) -> Network:
    torch.manual_seed(0)
    return Network(p3d_small(num_classes=5, in_channels=in_channels).eval(), "p3d_small", "w" * 64)


@pytest.fixture(scope="module")
def videos(demo_data: Path) -> tuple[str, ...]:
    """Six of the 36."""
    found = sorted((demo_data / "store").rglob("*.zip"))[::6]
    return tuple(str(path.relative_to(demo_data / "store").with_suffix("")) for path in found)


def take(
    demo_data: Path, videos: tuple[str, ...], folder: Path, clips: Clips = CLIPS, **others: str
) -> int:
    return take_features(
        network(2 if clips.stream == "flow" else 3),
        clips,
        demo_data / "store",
        videos,
        folder,
        workers=0,
        device="cpu",
        **others,
    )


def clips_of(demo_data: Path, video: str, stream: Stream, mirror: bool) -> torch.Tensor:
    listed = (Video(video, 0, "g"),)
    geometry = CLIPS.geometry
    return data_clips.TestClips(demo_data / "store", listed, stream, 4, 2, geometry, mirror=mirror)[
        0
    ][0]


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_they_are_what_the_network_gives_for_each_clip_and_its_mirror_image(
    stream: Stream, demo_data: Path, videos: tuple[str, ...], tmp_path: Path
) -> None:
    assert take(demo_data, videos, tmp_path, replace(CLIPS, stream=stream)) == 6
    taken = Features.load(tmp_path, videos[::-1])
    assert taken.values.shape == (6, 2, 2, 512)
    assert taken.meta.flow == ("bound 3, symmetric codes" if stream == "flow" else "")
    model = network(2 if stream == "flow" else 3).model
    for row, video in enumerate(taken.video_ids):
        for mirror in (False, True):
            with torch.inference_mode():
                expected = model.features(clips_of(demo_data, video, stream, mirror)).numpy()
            got = taken.values[row, int(mirror)]
            # The folded network differs from the model by 2e-6 of the largest value.
            np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * expected.max())


def test_without_mirror_images_there_is_one_set(
    demo_data: Path, videos: tuple[str, ...], tmp_path: Path
) -> None:
    take(demo_data, videos[:1], tmp_path / "both")
    take(demo_data, videos[:1], tmp_path / "one", replace(CLIPS, mirror=False))
    both, one = (Features.load(tmp_path / name, videos[:1]).values for name in ("both", "one"))
    assert one.shape == (1, 1, 2, 512)
    np.testing.assert_array_equal(one, both[:, :1])


def test_any_layer_can_be_taken(demo_data: Path, videos: tuple[str, ...], tmp_path: Path) -> None:
    """The last stage averaged is pool5, the last layer gives the logits."""
    model = network().model
    clips = clips_of(demo_data, videos[0], "flow", mirror=False)
    with torch.inference_mode():
        expected = {"res5": model.features(clips), "res5.0": model.features(clips)}
        expected["fc"] = model(clips)
    for layer, values in expected.items():
        take(demo_data, videos[:1], tmp_path / layer, layer=layer)
        got = Features.load(tmp_path / layer, videos[:1])
        np.testing.assert_allclose(got.values[0, 0], values.numpy(), rtol=1e-5, atol=1e-6)
        assert got.meta.layer == layer
    take(demo_data, videos[:1], tmp_path / "res3", layer="res3")
    assert Features.load(tmp_path / "res3", videos[:1]).values.shape == (1, 2, 2, 128)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("res9", "'res9' is unknown; give pool5, conv1, "), ("", "'' is unknown")],
)
def test_a_layer_that_there_is_not_is_refused_before_anything_is_written(
    layer: str, message: str, demo_data: Path, videos: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        take(demo_data, videos, tmp_path / "f", layer=layer)
    assert not (tmp_path / "f").exists()


def test_what_was_interrupted_goes_on_and_what_is_there_stays(
    demo_data: Path, videos: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(demo_data, videos, tmp_path / "whole")
    written: list[str] = []

    def interrupted(folder: Path, video: str, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(video)
        feature_folder.write(folder, video, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(features, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            take(demo_data, videos, tmp_path / "cut")
    with pytest.raises(InputError, match="4 of 6 videos have no features"):
        Features.load(tmp_path / "cut", videos)
    assert take(demo_data, videos, tmp_path / "cut") == 4
    assert take(demo_data, videos, tmp_path / "cut") == 0
    whole, cut = (Features.load(tmp_path / name, videos) for name in ("whole", "cut"))
    np.testing.assert_array_equal(cut.values, whole.values)
    assert (cut.meta, cut.store) == (whole.meta, whole.store)


def test_a_video_that_was_extracted_anew_is_taken_anew(
    demo_data: Path, videos: tuple[str, ...], tmp_path: Path
) -> None:
    take(demo_data, videos, tmp_path)
    before = Features.load(tmp_path, videos)
    feature_folder.write(tmp_path, videos[1], 0 * before.values[1], "of another store file")
    assert Features.load(tmp_path, videos).store != before.store
    assert take(demo_data, videos, tmp_path) == 1
    after = Features.load(tmp_path, videos)
    np.testing.assert_array_equal(after.values, before.values)
    assert after.store == before.store


def test_a_folder_of_other_features_is_refused(
    demo_data: Path, videos: tuple[str, ...], tmp_path: Path
) -> None:
    take(demo_data, videos[:1], tmp_path)
    with pytest.raises(InputError, match=r"holds features with clips '2 even clips.*not '3 even"):
        take(demo_data, videos, tmp_path, replace(CLIPS, count=3))
    with pytest.raises(InputError, match="with layer 'pool5', not 'res3'"):
        take(demo_data, videos, tmp_path, layer="res3")


def test_flow_of_two_bounds_is_refused(demo_data: Path, tmp_path: Path) -> None:
    source = sorted((demo_data / "videos").rglob("*.*"))[0]
    for name, bound in (("a", "3"), ("b", "4")):
        (tmp_path / name).mkdir()
        shutil.copy(source, tmp_path / name / f"{name}{source.suffix}")
        command = ["extract", str(tmp_path / name), str(tmp_path / f"store_{name}")]
        assert flow_main([*command, "--bound", bound]) == 0
    shutil.copy(tmp_path / "store_b" / "b.zip", tmp_path / "store_a" / "b.zip")
    with pytest.raises(InputError, match=r"has bound 3, .* and bound 4, .*; extract all videos"):
        take_features(network(), CLIPS, tmp_path / "store_a", ("a", "b"), tmp_path / "f", workers=0)


META = FeatureMeta("rgb", "c", "pool5", "p3d63", "w", "i", "float32", "", ())


def test_files_that_hold_no_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"meta\.json is not there"):
        Features.load(tmp_path, ("a",))
    feature_folder.claim(tmp_path, META)
    values = np.ones((1, 2, 3), np.float32)
    feature_folder.write(tmp_path, "a.b/c", values, "s")
    assert Features.load(tmp_path, ("a.b/c",)).values.shape == (1, 1, 2, 3)
    path = tmp_path / "a.b" / "c.npz"
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], b"text" + whole[4:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"c\.npz is no file of features"):
            Features.load(tmp_path, ("a.b/c",))
    np.savez(path, features=np.array([{"a": 1}], dtype=object), stored=np.array("s"))
    with pytest.raises(InputError, match=r"no file of features .ValueError: Object arrays"):
        Features.load(tmp_path, ("a.b/c",))
    with pytest.raises(InputError, match="no id of a video"):
        Features.load(tmp_path, ("../c",))
    with pytest.raises(InputError, match="list of videos is empty"):
        Features.load(tmp_path, ())
    (tmp_path / "meta.json").write_text('{"stream": "rgb"}')
    with pytest.raises(InputError, match=r"meta\.json does not describe features"):
        Features.load(tmp_path, ("a.b/c",))


def test_features_that_differ_in_shape_or_are_not_finite_are_refused(tmp_path: Path) -> None:
    feature_folder.claim(tmp_path, META)
    feature_folder.write(tmp_path, "a", np.ones((1, 2, 3), np.float32), "s")
    feature_folder.write(tmp_path, "b", np.ones((1, 3, 3), np.float32), "s")
    with pytest.raises(InputError, match="differ in shape"):
        Features.load(tmp_path, ("a", "b"))
    with pytest.raises(InputError, match="NaN or infinity"):
        Features(("a",), np.full((1, 1, 1, 2), np.nan, np.float32), META, "s")


def test_weights_by_the_command(
    demo_data: Path, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.pt"
    model = p3d_small(num_classes=400, in_channels=2)
    torch.save({"model": model.state_dict()}, weights)
    for video in videos[:4]:
        copy = tmp_path / "store" / f"{video}.zip"
        copy.parent.mkdir(parents=True)
        shutil.copy(demo_data / "store" / f"{video}.zip", copy)
    lists = tmp_path / "lists.csv"
    lists.write_text(f"video,label\n{videos[1]}.avi,x\n{videos[2]}.avi,y\n")
    command = Command(
        tmp_path / "store",
        tmp_path / "out",
        weights=weights,
        model="p3d_small",
        streams=("flow",),
        lists=lists,
        clips=2,
        length=4,
        resize=(48, 60),
        workers=0,
        device="cpu",
    )
    assert command() == 0
    assert "2 videos, 2 of them new: 8 clips" in capsys.readouterr().out
    meta = FeatureMeta.load(tmp_path / "out" / "flow")
    assert meta.weights == file_hash(weights)
    assert meta.clips.startswith("2 even clips of 4 and their mirror images, 48x60, centre crop")
    assert len(list((tmp_path / "out" / "flow").rglob("*.npz"))) == 2
    # Without lists: all of the store.
    assert replace(command, lists=None)() == 0
    assert "4 videos, 2 of them new" in capsys.readouterr().out


def test_a_trained_network_by_the_command(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows which videos it was trained on, and takes the clips that it is scored on."""
    small = ["--steps", "1", "--batch", "4", "--clip-length", "4", "--crop", "48", "48"]
    more = ["--device", "cpu", "--streams", "flow"]
    assert main(train_command(demo_data, tmp_path / "run", *small, *more)) == 0
    command = Command(
        demo_data / "store",
        tmp_path / "out",
        run=tmp_path / "run",
        streams=("flow",),
        workers=0,
        device="cpu",
    )
    assert command() == 0
    taken = FeatureMeta.load(tmp_path / "out" / "flow")
    assert len(taken.trained_on) == 24
    # The demo is trained without mirror images, as they turn left into right.
    assert taken.clips == "2 even clips of 4, own size, centre crop 48x48, short videos repeat"
    assert "72 clips" in capsys.readouterr().out
    lists = demo_data / "annotations.csv"
    assert SVM(tmp_path / "out", tmp_path / "svm", lists, streams=("flow",))() == 0
    fold = SVM(tmp_path / "out", tmp_path / "s", lists, streams=("flow",), split="groups")
    with pytest.raises(InputError, match="trained on 12 of the test videos"):
        fold()


@pytest.mark.parametrize("both", [False, True])
def test_neither_or_both_networks_are_refused(both: bool, tmp_path: Path) -> None:
    given = {"run": tmp_path, "weights": tmp_path} if both else {}
    with pytest.raises(InputError, match="either by --run or by --weights"):
        Command(tmp_path, tmp_path, **given)()
