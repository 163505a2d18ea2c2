"""Published weights as a run: oracle (features and the file's last layer), refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from network_states import State, published_state
from training_runs import untrained
from twostream.__main__ import main
from twostream.data.annotations import load
from twostream.feature_folder import Features
from twostream.runs import Checkpoint, Data
from twostream.scores import Scores

CLASSES = 12
DEPTHS = (3, 4, 6, 3)
SMALL = ["--clips", "2", "--resize", "48", "64", "--crop", "32", "32"]
HERE = ["--workers", "0", "--device", "cpu"]


def state(in_channels: int) -> State:
    return published_state(DEPTHS, 64, in_channels, CLASSES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """P3D-63 of both streams with random values, as the published files hold theirs."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {"rgb": folder / "rgb.pth.tar", "flow": folder / "flow.pth.tar"}
    for path, channels in zip(paths.values(), (3, 2), strict=True):
        content = {f"module.{name}": value for name, value in state(channels).items()}
        torch.save({"state_dict": content}, path)
    return paths


def adopt(file: Path, data: Path, run: Path, stream: str, *more: str) -> int:
    paths = ["--lists", str(data / "annotations.csv"), "--store", str(data / "store")]
    made = ["--run", str(run), "--stream", stream, "--model", "p3d63"]
    return main(["adopt", str(file), *paths, *made, *more])


def score(run: Path, stream: str) -> Scores:
    assert main(["score", str(run), "--streams", stream, *SMALL, *HERE]) == 0
    return Scores.load(run / stream / "scores.npz")


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_scores_are_the_last_layer_of_the_file_on_its_features(
    stream: str,
    channels: int,
    weights: dict[str, Path],
    demo_data: Path,
    tmp_path: Path,
) -> None:
    assert adopt(weights[stream], demo_data, tmp_path / "run", stream) == 0
    scores = score(tmp_path / "run", stream)
    assert scores.classes == load("csv", demo_data / "annotations.csv", "column").classes
    source = ["--weights", str(weights[stream]), "--model", "p3d63", "--streams", stream]
    out = tmp_path / "features"
    command = ["features", str(demo_data / "store"), str(out), *source, "--no-mirror"]
    assert main([*command, *SMALL, *HERE]) == 0
    features = Features.load(out / stream, scores.video_ids).values[:, 0]
    file = state(channels)
    expected = features @ file["fc.weight"].numpy().T + file["fc.bias"].numpy()
    np.testing.assert_allclose(scores.clip_logits, expected, rtol=0, atol=1e-4 * expected.std())


def test_outputs_in_another_order_are_told_by_their_names(
    weights: dict[str, Path], demo_data: Path, tmp_path: Path
) -> None:
    names = load("csv", demo_data / "annotations.csv", "column").classes
    order = np.random.default_rng(0).permutation(CLASSES)
    told = tmp_path / "names.txt"
    told.write_text("\n".join([*(names[place] for place in order), ""]))
    assert adopt(weights["rgb"], demo_data, tmp_path / "a", "rgb") == 0
    assert adopt(weights["rgb"], demo_data, tmp_path / "b", "rgb", "--classes", str(told)) == 0
    as_they_are, by_name = (score(tmp_path / run, "rgb") for run in "ab")
    assert by_name.classes == as_they_are.classes == names
    np.testing.assert_array_equal(by_name.logits[:, order], as_they_are.logits)


def test_an_adopted_run_is_fused_evaluated_asked_and_started_from(
    weights: dict[str, Path],
    demo_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    for stream, file in weights.items():
        assert adopt(file, demo_data, run, stream, "--split", "all") == 0
        assert len(score(run, stream).video_ids) == 36  # none was trained on
    printed = capsys.readouterr().out
    assert "dense_flow codes" in printed  # what the published flow network takes
    assert "last layer" not in printed
    assert main(["fuse", str(run)]) == 0
    assert main(["evaluate", str(run), "--report", str(tmp_path / "report")]) == 0
    assert Scores.load(run / "fused.npz").source.split == "all"
    video = next((demo_data / "videos").rglob("*.avi"))
    assert main(["predict", str(video), "--run", str(run), "--device", "cpu"]) == 0
    assert f"{video.name}: 20 frames" in capsys.readouterr().out


def test_what_cannot_be_adopted_is_refused_in_a_sentence(
    weights: dict[str, Path],
    demo_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(file: Path, run: Path, *more: str) -> str:
        assert adopt(file, demo_data, run, "rgb", *more) == 2
        return capsys.readouterr().err

    new = tmp_path / "new"
    other = tmp_path / "other.pth.tar"
    torch.save(published_state(DEPTHS, 64, classes=7), other)
    assert "has no last layer of 12 classes" in refused(other, new)
    assert "does not fit the model" in refused(weights["rgb"], new, "--model", "p3d131")
    names = tmp_path / "names.txt"
    names.write_text("left\n")
    assert "The 1 names of the outputs are not the 12" in refused(
        weights["rgb"], new, "--classes", str(names)
    )
    names.write_text("")
    assert "names no class" in refused(weights["rgb"], new, "--classes", str(names))
    assert not new.exists()

    data = Data(demo_data / "annotations.csv", demo_data / "store")
    trained = untrained(tmp_path / "run" / "rgb", data, model="p3d63")
    before = trained.read_bytes()
    assert "is of a network that was trained" in refused(weights["rgb"], tmp_path / "run")
    assert trained.read_bytes() == before
    assert "is of a run" in refused(trained, new)
    assert not new.exists()


def test_adopting_again_changes_nothing(
    weights: dict[str, Path], demo_data: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert adopt(weights["rgb"], demo_data, tmp_path, "rgb") == 0
    checkpoint = Checkpoint.load(tmp_path / "rgb" / "checkpoint.pt")
    assert (checkpoint.trained_on, checkpoint.step) == ((), 0)


def test_no_run_trains_where_all_videos_are_tested(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["--lists", str(demo_data / "annotations.csv"), "--store", str(demo_data / "store")]
    assert main(["train", "demo", *paths, "--split", "all", "--run", str(tmp_path)]) == 2
    assert "has no train videos" in capsys.readouterr().err
