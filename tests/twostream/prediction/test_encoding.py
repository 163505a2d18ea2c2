"""Round trip: the annotated video is read again; nothing is left where writing fails. And the
command: text, JSON lines, exit status, refusals."""

import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest

import video_files
from flow.errors import InputError
from flow.video import Video
from twostream.__main__ import main
from twostream.prediction import Predictor, encoding
from twostream.prediction.encoding import annotate, choose_codec
from twostream.prediction.words import clock


@pytest.fixture(scope="module")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both streams, trained for one step."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    small = ["--steps", "1", "--batch", "4", "--clip-length", "4", "--crop", "48", "48"]
    data = ["--lists", str(demo_data / "annotations.csv"), "--store", str(demo_data / "store")]
    assert main(["train", "demo", *data, "--run", str(folder), *small, "--workers", "0"]) == 0
    return folder


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 frames, upright as of a phone."""
    path = tmp_path_factory.mktemp("clips") / "phone clip.mp4"
    return video_files.write(path, video_files.sliding(23, 96, 64), "libx264", rate=30)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_picture_a_frame_at_the_rate_of_the_video(
    predictor: Predictor, clip: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"a:b{suffix}"
    prediction = annotate(predictor, clip, out)
    np.testing.assert_array_equal(prediction.probabilities, predictor(clip).probabilities)
    written = Video(out)
    pictures = np.stack(list(written))
    assert len(pictures) == 23
    assert written.fps == 30
    # The frame is at the upper left, three times as large.
    frames = video_files.read(clip)
    margin = (pictures.shape[2] - 2 * 3 * 64) // 2
    assert margin >= 0
    shown = pictures[:, : 3 * 96, margin : margin + 3 * 64]
    shown = shown.reshape(23, 96, 3, 64, 3, 3).mean(axis=(2, 4))
    assert np.abs(shown - frames).mean() < 12
    assert files_in(tmp_path) == [out.name]


def test_a_video_that_a_phone_has_turned_is_shown_upright(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = video_files.write(tmp_path / "v.mov", video_files.sliding(6, 64, 96), "mpeg4", rate=30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    # tkhd, version 0: the matrix stands 44 bytes behind the tag.
    video_files.patch(path, path.read_bytes().index(b"tkhd") + 44, quarter)
    shown = list(predictor.follow(path))
    assert {each.frame.shape for each in shown} == {(96, 64, 3)}
    assert {each.flow.shape for each in shown if each.flow is not None} == {(96, 64, 2)}
    annotate(predictor, path, tmp_path / "out.mp4")
    height, width = Video(tmp_path / "out.mp4").size
    assert height > 3 * 96
    assert width >= 2 * 3 * 64


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_each_encoder_writes_what_can_be_read(
    predictor: Predictor,
    clip: Path,
    tmp_path: Path,
    codec: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = encoding.CODECS
    monkeypatch.setattr(encoding, "CODECS", {"none such": {}, codec: known[codec]})
    assert choose_codec() == codec
    annotate(predictor, clip, tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == {"libx264": "h264"}.get(
            codec, codec
        )
    assert len(video_files.read(tmp_path / "a.mp4")) == 23


def test_without_an_encoder_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CODECS", {"none such": {}})
    with pytest.raises(InputError, match="cannot write videos"):
        choose_codec()


def test_frames_in_memory_and_two_of_them(predictor: Predictor, tmp_path: Path) -> None:
    annotate(predictor, video_files.sliding(2, 72, 96), tmp_path / "two.mkv")
    assert len(video_files.read(tmp_path / "two.mkv")) == 2


def test_what_fails_on_the_way_leaves_nothing(
    predictor: Predictor, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.mp4"
    out.write_bytes(b"as it was")
    calls = []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise InputError("a reason")

    monkeypatch.setattr(encoding.Painter, "_draw_bars", fail)
    with pytest.raises(InputError, match="a reason"):
        annotate(predictor, clip, out)
    assert out.read_bytes() == b"as it was"
    assert files_in(tmp_path) == ["a.mp4"]


def test_files_that_cannot_be_written(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give one that ends in"):
        annotate(predictor, clip, tmp_path / "a.avi")
    with pytest.raises(InputError, match="written over itself"):
        annotate(predictor, clip, clip)
    with pytest.raises(InputError, match="cannot be written"):
        annotate(predictor, clip, tmp_path / "none" / "a.mp4")


def test_text_names_the_best_classes_and_the_time_line(
    run: Path, clip: Path, predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(clip), "--run", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{clip}: 23 frames, 0.8 s"
    best = predictor(clip).top(5)
    assert [line.split() for line in lines[1:6]] == [
        [f"{each.probability:.1%}", each.label] for each in best
    ]
    assert lines[6] == "  over time, in 6 windows:"
    assert lines[7].startswith("    0:00.0 to ")
    assert lines[-1].split()[2] == "0:00.8"


def test_json_lines_alone_are_on_stdout(
    run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    videos = [str(text), str(clip), str(sound), str(tmp_path / "gone.mp4")]
    out = tmp_path / "out"
    command = ["predict", *videos, "--run", str(run), "--json", "--out", str(out)]
    assert main(command) == 1
    printed = capsys.readouterr()
    values = [json.loads(line) for line in printed.out.splitlines()]
    assert [value["kind"] for value in values] == ["window"] * 6 + ["video"]
    assert values[0]["start"] == 0
    assert values[-2]["end"] == 22
    last = values[-1]
    assert last["video"] == str(clip)
    assert last["frames"] == 23
    assert sum(last["probabilities"].values()) == pytest.approx(1)
    assert set(last["streams"]) == {"rgb", "flow"}
    assert last["timeline"][0]["start_seconds"] == 0
    assert last["timeline"][-1]["end_seconds"] == pytest.approx(23 / 30)
    assert last["top"][0]["probability"] == max(last["probabilities"].values())
    for path in (text, sound, tmp_path / "gone.mp4"):
        assert sum(str(path) in line for line in printed.err.splitlines()) == 1
    assert "3 of 4 videos failed" in printed.err
    assert files_in(out) == ["phone clip.mp4"]


def test_what_was_written_does_not_come_out_of_the_input(
    run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = [str(clip)], [str(clip), str(clip.with_suffix(".avi"))]
    cases = [
        ([*one, "--out", str(clip.parent)], "would be written over itself"),
        ([*two, "--out", str(tmp_path)], "2 of the videos would be written as"),
        ([*two, "--out", str(tmp_path / "a.mp4")], "one file for 2 videos"),
        ([*one, "7", "--out", str(tmp_path)], "camera 7"),
        ([], "No video is given"),
    ]
    before = clip.read_bytes()
    for arguments, message in cases:
        assert main(["predict", *arguments, "--run", str(run)]) == 2
        assert message in capsys.readouterr().err
    assert clip.read_bytes() == before
    assert main(["predict", "123456", "--run", str(run)]) == 1
    assert "Camera 123456 cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("frame", "fps", "told"),
    [
        (0, 25, "0:00.0"),
        (1499, 25, "1:00.0"),
        (31, 25, "0:01.2"),
        (90_000, 25, "1:00:00.0"),
        (7, 0, "frame 7"),
    ],
)
def test_times_are_told_as_on_a_clock(frame: int, fps: float, told: str) -> None:
    assert clock(frame, fps) == told
