"""Videos looked at one by one: known answers on made ones, and on real ones whose headers lie."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flow import engines
from twostream.doctor.videos import MOMENTS, SIDE, Examined, by_content, examine, find
from video_files import pictures, write


def seen(folder: Path, *, quick: bool = False) -> dict[str, Examined]:
    videos = examine(folder, find(folder)[0], quick=quick, workers=2, progress=False)
    assert [video.path for video in videos] == find(folder)[0]
    return {video.source: video for video in videos}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    videos = tmp_path / "videos"
    write(videos / "a" / "whole.avi", pictures(16))
    shutil.copy(videos / "a" / "whole.avi", videos / "copy.avi")
    (videos / "empty.mp4").touch()
    content = (videos / "copy.avi").read_bytes()
    (videos / "cut.avi").write_bytes(content[: len(content) // 2])
    return videos


def test_whole_and_damaged_videos(folder: Path) -> None:
    videos = seen(folder)
    whole = videos["a/whole.avi"]
    assert (whole.id, whole.height, whole.width, whole.fps) == ("a/whole", 40, 48, 12.5)
    assert (whole.frames, whole.reason, whole.bytes) == (16, None, whole.path.stat().st_size)
    assert whole.sha256 == hashlib.sha256(whole.path.read_bytes()).hexdigest()
    cut, empty = videos["cut.avi"], videos["empty.mp4"]
    assert cut.reason is not None
    assert "is cut short" in cut.reason
    assert (cut.frames, cut.print, cut.sha256 != "") == (None, None, True)
    assert (empty.reason, empty.sha256) == (
        f"{folder / 'empty.mp4'} is empty; copy it again from its source.",
        "",
    )
    assert by_content(list(videos.values())) == [[whole, videos["copy.avi"]]]


def test_a_print_holds_eight_moments(folder: Path) -> None:
    print_ = seen(folder)["copy.avi"].print
    assert print_ is not None
    assert (print_.shape, print_.dtype) == ((MOMENTS, SIDE, SIDE), np.uint8)
    lower = np.linspace(40, 220, 16)[1::2]  # of the frames 1, 3, ... 15
    assert np.abs(print_[:, 12:, :].mean(axis=(1, 2)) - lower).max() < 3


def test_a_quick_look_reads_only_what_may_be_equal(folder: Path) -> None:
    (folder / "other.avi").write_bytes(b"\0" + (folder / "copy.avi").read_bytes()[1:])
    write(folder / "single.avi", pictures(5))
    videos = seen(folder, quick=True)
    assert {source for source, video in videos.items() if video.sha256} == {
        "a/whole.avi",
        "copy.avi",
        "other.avi",
    }
    assert videos["single.avi"].height == 40
    assert all(video.frames is None for video in videos.values())
    assert [len(group) for group in by_content(list(videos.values()))] == [2]


def test_real_videos_have_as_many_frames_as_are_there(shared: Path, tmp_path: Path) -> None:
    shutil.copytree(shared / "data/ut_interaction/videos/handshake", tmp_path / "handshake")
    shutil.copytree(shared / "data/hmdb51/videos/wave", tmp_path / "wave")
    videos = seen(tmp_path)
    assert all(video.reason is None for video in videos.values())
    wave = sorted(video.frames or 0 for name, video in videos.items() if name.startswith("wave"))
    assert wave == [48, 74]


def test_a_video_that_brings_its_process_down_is_unreadable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: object, tasks: list[object], workers: int) -> Iterator[object]:
        yield from (engines.Failed(task, "its process crashed") for task in tasks)

    monkeypatch.setattr(engines, "run", run)
    video = seen(folder)["cut.avi"]
    assert (video.id, video.reason) == ("cut", "its process crashed")
