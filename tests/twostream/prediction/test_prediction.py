"""Oracle: predictions are what ``score`` and ``fuse`` give for the same clips. Property: the same
again, however the video is cut into parts, with memory that does not grow. Known answer: windows,
time lines, words. Every way in which a video or a run is refused."""

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import video_files
from flow.errors import InputError
from flow.extract import extract
from flow.settings import Settings
from twostream.__main__ import main
from twostream.experiments import demo as demo_experiment
from twostream.fusion import fuse
from twostream.prediction import Predictor, parts
from twostream.prediction.following import Clips
from twostream.prediction.network import StreamNetwork
from twostream.prediction.result import Prediction, Window, top
from twostream.runs import Checkpoint, Data
from twostream.scores import Scores, softmax
from twostream.scoring import score

LENGTH = 4
JPEG_NOISE = 0.02
"""Of probabilities; over the 12 test videos of such a run at most 0.0081 was measured."""


@pytest.fixture(scope="module")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both streams, trained for two steps."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    small = ["--steps", "2", "--batch", "8", "--clip-length", str(LENGTH), "--crop", "48", "48"]
    data = ["--lists", str(demo_data / "annotations.csv"), "--store", str(demo_data / "store")]
    assert main(["train", "demo", *data, "--run", str(folder), *small, "--workers", "0"]) == 0
    return folder


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run)


@pytest.fixture(scope="module")
def tested(run: Path) -> str:
    """The id of a test video."""
    data = Checkpoint.load(run / "rgb" / "checkpoint.pt").run.data
    return data.annotations("test")[0].test[0].id


@pytest.fixture(scope="module")
def video(demo_data: Path, tested: str) -> Path:
    (path,) = (demo_data / "videos").glob(f"{tested}.*")
    return path


def scores_of(run: Path, stream: str, store: Path) -> Scores:
    """What ``score`` says of what is in a store, on the run's own lists."""
    path = run / stream / "checkpoint.pt"
    data: Data = Checkpoint.load(path).run.data
    return score(path, replace(data, store=store, allow_missing=True), workers=0, device="cpu")


def one_video(video: Path, videos: Path, to: Path) -> Path:
    """A folder of videos that holds this one, under its id."""
    target = to / video.relative_to(videos)
    target.parent.mkdir(parents=True)
    target.symlink_to(video)
    return to


def test_equals_score_and_fuse_where_the_images_are_equal(
    run: Path, demo_data: Path, video: Path, predictor: Predictor, tmp_path: Path
) -> None:
    """RGB from the video itself and flow from a lossless store: to the bit."""
    videos = one_video(video, demo_data / "videos", tmp_path / "videos")
    extract(videos, tmp_path / "store", Settings(bound=3, codec="png"), workers=1, progress=False)
    rgb, flow = scores_of(run, "rgb", videos), scores_of(run, "flow", tmp_path / "store")
    assert len(rgb.video_ids) == len(flow.video_ids) == 1
    prediction = predictor(video)
    np.testing.assert_array_equal(prediction.streams["rgb"], softmax(rgb.logits[0]))
    np.testing.assert_array_equal(prediction.streams["flow"], softmax(flow.logits[0]))
    np.testing.assert_array_equal(prediction.probabilities, softmax(fuse([rgb, flow]).logits[0]))


def test_equals_score_of_a_jpeg_store_to_the_noise_of_jpeg(
    run: Path, demo_data: Path, tested: str, video: Path, predictor: Predictor
) -> None:
    alone = predictor(video).streams
    for stream in ("rgb", "flow"):
        stored = scores_of(run, stream, demo_data / "store")
        expected = softmax(stored.logits[stored.video_ids.index(tested)])
        assert not np.array_equal(alone[stream], expected)
        np.testing.assert_allclose(alone[stream], expected, atol=JPEG_NOISE)


def test_a_second_call_and_frames_in_memory_give_the_same(
    predictor: Predictor, video: Path
) -> None:
    first, again = predictor(video), predictor(video)
    frames = video_files.read(video)
    of_frames = predictor(frames, fps=first.fps)
    for other in (again, of_frames):
        np.testing.assert_array_equal(first.probabilities, other.probabilities)
        assert first.top(5) == other.top(5)
        assert first.timeline() == other.timeline()
    assert first.frames == len(frames)
    assert first.video == str(video)


@pytest.mark.parametrize("pairs", [1, 3, 64])
def test_how_a_video_is_cut_into_parts_changes_nothing(
    predictor: Predictor, video: Path, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predictor(video)
    monkeypatch.setattr(parts, "CPU_PART", (pairs, 1 << 40))
    monkeypatch.setattr(parts, "usable_processors", lambda: 1)
    found = predictor(video)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    for one, other in zip(found.windows, expected.windows, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_window_alone_is_the_one_in_a_video(predictor: Predictor, video: Path) -> None:
    prediction = predictor(video)
    assert prediction.long
    frames = video_files.read(video)
    for window in prediction.windows:
        alone = predictor.window(frames[window.start : window.end + 1], window.start)
        assert (alone.start, alone.end) == (window.start, window.end)
        np.testing.assert_array_equal(alone.probabilities, window.probabilities)
    with pytest.raises(InputError, match="There are 3 frames; give 5"):
        predictor.window(frames[:3])


def test_frames_come_in_order_with_their_flow_and_the_nearest_window(
    predictor: Predictor, video: Path
) -> None:
    following = predictor.follow(video)
    shown = list(following)
    prediction = following.prediction()
    assert [each.index for each in shown] == list(range(prediction.frames))
    np.testing.assert_array_equal(np.stack([each.frame for each in shown]), video_files.read(video))
    assert all(each.flow is not None for each in shown[:-1])
    assert shown[-1].flow is None
    for each in shown:
        distances = [abs((w.start + w.end - 1) / 2 - each.index) for w in prediction.windows]
        middle = (each.window.start + each.window.end - 1) / 2
        assert abs(middle - each.index) == min(distances)


@given(count=st.integers(1, 300), length=st.integers(1, 20), clips=st.integers(1, 8))
def test_windows_cover_the_video_and_are_the_test_clips_where_these_do(
    count: int, length: int, clips: int
) -> None:
    experiment = replace(demo_experiment(), clip_length=length, test_clips=clips)
    chosen = Clips.of(count, experiment)
    assert chosen.tested.shape == (clips, length)
    assert set(chosen.windows.ravel().tolist()) == set(range(count))
    assert chosen.long == (count > length * clips)
    assert chosen.long or chosen.windows is chosen.tested
    starts = list(chosen.distinct())
    assert starts == sorted(starts)
    ends = [int(run.max()) for run in chosen.distinct().values()]
    assert ends == sorted(ends)


def test_two_frames_are_a_video_and_one_is_not(predictor: Predictor, tmp_path: Path) -> None:
    frames = video_files.sliding(2, 72, 96)
    prediction = predictor(video_files.write(tmp_path / "two.avi", frames))
    assert prediction.frames == 2
    assert math.isclose(prediction.probabilities.sum(), 1, rel_tol=1e-12)
    with pytest.raises(InputError, match=r"one\.avi has one frame; give a video of two or more"):
        predictor(video_files.write(tmp_path / "one.avi", frames[:1]))
    with pytest.raises(InputError, match="frames has one frame"):
        predictor(frames[:1])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((3, 72, 96), np.uint8), r"uint8 \(3, 72, 96\); give uint8 \(T, H, W, 3\)"),
        (np.zeros((3, 72, 96, 3), np.float32), "The frames are float32"),
        (np.zeros((0, 72, 96, 3), np.uint8), r"\(0, 72, 96, 3\)"),
    ],
)
def test_other_arrays_are_refused(predictor: Predictor, frames: "np.ndarray", message: str) -> None:
    with pytest.raises(InputError, match=message):
        predictor(frames)


def test_what_is_no_video_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all")
    with pytest.raises(InputError, match=r"notes\.mp4"):
        predictor(text)
    with pytest.raises(InputError, match=r"gone\.mp4 is not a file"):
        predictor(tmp_path / "gone.mp4")


@pytest.mark.parametrize("change", [-9, -1, 1, 9])
def test_a_video_that_changes_on_the_way(predictor: Predictor, tmp_path: Path, change: int) -> None:
    """One that has become shorter is refused, of one that is recorded still what was counted."""
    frames = video_files.sliding(29, 72, 96)
    path = video_files.write(tmp_path / "v.avi", frames[:20], "png")
    following = predictor.follow(path)
    video_files.write(path, frames[: 20 + change], "png")
    if change < 0:
        with pytest.raises(InputError, match="has become shorter"):
            list(following)
        return
    assert len(list(following)) == 20
    expected = predictor(frames[:20]).probabilities
    np.testing.assert_array_equal(following.prediction().probabilities, expected)


def test_memory_does_not_grow_with_the_length(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All arrays but the frames that are given; a network that answers at once stands in."""
    predictor = Predictor(run, ["rgb"])
    classes = len(predictor.classes)
    answer = np.zeros(classes, np.float32)
    monkeypatch.setattr(StreamNetwork, "logits", lambda *_: answer)
    picture = video_files.sliding(1, 72, 96)

    def peak(count: int) -> int:
        frames = np.broadcast_to(picture, (count, 72, 96, 3))
        tracemalloc.start()
        predictor(frames)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(200)
    short, long = peak(200), peak(2000)
    assert long - short < 2000 * 72 * 96 * 3 / 10  # all frames take ten times as much


def test_a_stream_alone_is_its_share_of_both(run: Path, predictor: Predictor, video: Path) -> None:
    both = predictor(video)
    for stream in ("rgb", "flow"):
        alone = Predictor(run, [stream])(video)
        np.testing.assert_allclose(alone.probabilities, both.streams[stream], rtol=1e-6)
    weighted = Predictor(run, weights=[1, 3])(video)
    mean = 0.25 * both.streams["rgb"] + 0.75 * both.streams["flow"]
    np.testing.assert_allclose(weighted.probabilities, mean, rtol=1e-6)


def test_a_short_side_scales_frames_first(run: Path, video: Path) -> None:
    height, width = video_files.read(video).shape[1:3]
    following = Predictor(run, ["rgb"], short_side=60).follow(video)
    assert {shown.frame.shape for shown in following} == {(60, 60 * width // height, 3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"streams": []}, r"The streams are \[\]"),
        ({"streams": ["rgb", "rgb"]}, "give rgb, flow, or both"),
        ({"weights": [1]}, "2 streams and 1 weights"),
        ({"weights": [0, 0]}, "not all of them 0"),
        ({"short_side": 0}, "The short side is 0"),
    ],
)
def test_arguments_that_do_not_fit(run: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Predictor(run, **arguments)


def test_runs_that_are_none_or_several(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint\.pt is not there"):
        Predictor(tmp_path)
    for name in ("group-a", "group-b"):
        (tmp_path / name).symlink_to(run)
    with pytest.raises(InputError, match=r"has 2 splits.*--run .*group-a$"):
        Predictor(tmp_path)
    assert Predictor(tmp_path / "group-b").classes


def test_the_best_classes_are_in_order_and_equal_ones_in_that_of_the_list() -> None:
    best = top(("a", "b", "c"), np.array([0.2, 0.4, 0.4]), 2)
    assert [(each.label, each.probability) for each in best] == [("b", 0.4), ("c", 0.4)]
    assert len(top(("a", "b"), np.array([0.5, 0.5]), 5)) == 2
    with pytest.raises(InputError, match="The 0 best classes"):
        top(("a",), np.ones(1), 0)


def test_a_timeline_joins_windows_of_one_class() -> None:
    shares = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]]
    windows = tuple(
        Window(start, start + 4, np.array(share))
        for start, share in zip((0, 4, 7, 11), shares, strict=True)
    )
    whole = Prediction("v", ("run", "walk"), np.array([0.6, 0.4]), {}, windows, 16, 8.0, True)
    spans = [(s.start, s.end, s.label, round(s.probability, 9)) for s in whole.timeline()]
    assert spans == [(0, 7, "run", 0.8), (7, 11, "walk", 0.8), (11, 16, "run", 0.6)]
    assert whole.seconds(4) == 0.5
    assert replace(whole, fps=0.0).seconds(4) is None
