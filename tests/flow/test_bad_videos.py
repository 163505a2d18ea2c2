"""A folder of good, strange and bad videos, extracted in one go. Kind: known answer.

Each bad one fails alone, and is told once, with a reason that a person understands.
"""

import csv
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from flow.store import find_store_files, read_meta
from video_files import Images, mux, packets, patch, sliding, write

QUICK = ["--params.scales", "2", "--params.warps", "1", "--params.inner-iterations", "2"]
QUICK += ["--params.outer-iterations", "1", "--workers", "2"]
HEIGHT, WIDTH, FRAMES = 32, 48, 6

# Root may read what it likes; a process without these capabilities (capabilities(7)) may not.
BOUND = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python where permissions bind, if that can be had."""
    command = [sys.executable, "-c", BOUND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def frames(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Images:
    return sliding(count, height, width)


def write_images(folder: Path, numbers: Iterable[int], suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number, image in zip(numbers, frames(), strict=False):
        cv2.imwrite(str(folder / f"img_{number:05d}{suffix}"), image)
    return folder


def write_good(folder: Path) -> set[str]:
    """Sound videos with what may trip over them; returns their ids."""
    names = [
        "a b",
        'it\'s "quoted"',
        "new\nline",
        "-dash",
        "日本é",
        "http:x",
        "%05d",
        "a, b",
        "é.b",
    ]
    for name in names:
        write(folder / f"{name}.avi", frames())
    write(folder / "dotted.folder" / "c.d.mp4", frames(), "mpeg4")
    write(folder / "odd.MKV", frames(height=25, width=33), "mjpeg")
    write(folder / "narrow.avi", frames(height=40, width=17), "ffv1")
    write(folder / "real.name.avi", frames()).rename(folder / ("n" * 200 + ".avi"))
    write_images(folder / "images.1", range(7, 20))
    write_images(folder / "two" / "images", [0, 1], ".JPG")
    (folder / "link.avi").symlink_to(folder / "a b.avi")
    (folder / "dotted.folder" / "loop").symlink_to(folder)
    (folder / "notes.txt").write_text("no video")
    return {
        *names,
        *("dotted.folder/c.d", "odd", "narrow", "n" * 200, "images.1", "two/images", "link"),
    }


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))


def write_bad(folder: Path) -> dict[str, str]:
    """Videos that cannot be stored; returns words of the reason for each."""
    folder.mkdir(parents=True)
    sound = write(folder / "sound.avi", frames()).read_bytes()
    (folder / "sound.avi").unlink()
    (folder / "empty.avi").touch()
    (folder / "cut.avi").write_bytes(sound[: len(sound) // 2])
    (folder / "cut header.avi").write_bytes(sound[:40])
    mp4 = write(folder / "cut too.mp4", frames(30), "mpeg4")
    mp4.write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    hole = write(folder / "hole.mp4", frames(30), "mpeg4")
    patch(hole, hole.stat().st_size // 2, bytes(400))
    (folder / "random.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "text.avi").write_text("no video\n" * 99)
    (folder / "picture.avi").write_bytes(cv2.imencode(".jpg", frames(1)[0])[1].tobytes())
    (folder / "list.avi").write_text("ffconcat version 1.0\nfile '../good/a b.avi'\n")
    (folder / "stream.ts").write_text("#EXTM3U\n#EXTINF:1,\n../good/odd.MKV\n#EXT-X-ENDLIST\n")
    write_sound(folder / "audio.avi")
    write(folder / "one frame.avi", frames(1))
    no_frame = write(folder / "no frame.avi", frames(2))
    content = no_frame.read_bytes()
    start, end = content.index(b"movi") + 4, content.index(b"idx1")
    patch(no_frame, start, bytes(end - start))
    huge = write(folder / "huge.avi", frames(2), "ffv1")
    patch(huge, huge.read_bytes().index(b"strf") + 12, struct.pack("<2i", 60_000, 60_000))
    small, large = (packets(frames(3, *size), "mjpeg", "yuvj420p") for size in ((32, 48), (48, 64)))
    mux(folder / "sizes.avi", small + large, "mjpeg", "yuvj420p", (HEIGHT, WIDTH))
    codec = write(folder / "codec.avi", frames(2))
    codec.write_bytes(codec.read_bytes().replace(b"MJPG", b"????"))
    (folder / "itself.avi").symlink_to(folder / "itself.avi")
    (folder / "nowhere.avi").symlink_to(folder / "absent.avi")
    os.mkfifo(folder / "pipe.avi")
    (folder / os.fsdecode(b"caf\xe9.avi")).write_bytes(sound)
    write_images(folder / "gap.images", [1, 2, 4])
    write_images(folder / "one image", [1])
    write_images(folder / "series", [1, 2])
    cv2.imwrite(str(folder / "series" / "flow_x_00001.png"), frames(1)[0])
    (write_images(folder / "damaged", [1, 2, 3]) / "img_00002.png").write_bytes(b"no image")
    cv2.imwrite(
        str(write_images(folder / "of sizes", [1, 2]) / "img_00003.png"), frames(1, 9, 9)[0]
    )
    return {
        "empty.avi": "is empty",
        "cut.avi": "is cut short",
        "cut header.avi": "is cut short",
        "cut too.mp4": "is cut short",
        "hole.mp4": "cannot be decoded after frame",
        "random.avi": "is no video, or its header is damaged",
        "text.avi": "is no video, or its header is damaged",
        "picture.avi": "is no video, or its header is damaged",
        "list.avi": "is no video, or its header is damaged",
        "stream.ts": "is no video, or its header is damaged",
        "audio.avi": "has no video in it, only sound or pictures",
        "one frame.avi": "has one frame",
        "no frame.avi": "does not begin with a frame that can be decoded",
        "huge.avi": "one of more than 67,108,864 pixels",
        "sizes.avi": "changes its resolution from 48 x 32 to 64 x 48 at frame 4",
        "codec.avi": "is in a codec that cannot be decoded",
        "itself.avi": "is not a file",
        "nowhere.avi": "is not a file",
        "pipe.avi": "is not a file",
        "caf\\udce9.avi": "has a name that is not UTF-8",
        "gap.images": "lacks img_00003.png",
        "one image": "has one frame",
        "series": "has 2 series of images (flow_x_#, img_#)",
        "damaged": "has a damaged image, img_00002.png",
        "of sizes": "has 9 x 9 pixels and img_00001.png has 48 x 32",
    }


@dataclass(frozen=True)
class Run:
    """An extraction: the folder of videos, the ids of the good ones, words on the bad ones."""

    videos: Path
    store: Path
    good: set[str]
    bad: dict[str, str]
    status: int
    printed: str

    def failures(self) -> list[tuple[str, str]]:
        with (self.store / "failures.csv").open(newline="", encoding="utf-8") as file:
            return [(row["video"], row["reason"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    videos = tmp_path_factory.mktemp("corpus") / "videos"
    store = videos.parent / "store"
    good = {f"good/{video}" for video in write_good(videos / "good")}
    bad = {f"bad/{source}": words for source, words in write_bad(videos / "bad").items()}
    done = python("-m", "flow", "extract", str(videos), str(store), "--solver", "cpu", *QUICK)
    return Run(videos, store, good, bad, done.returncode, done.stdout + done.stderr)


def test_some_failed(run: Run) -> None:
    assert run.status == 1, run.printed
    assert "Traceback" not in run.printed


def test_every_good_video_is_stored(run: Run) -> None:
    stored = find_store_files(run.store)
    assert set(stored) == run.good
    for video, path in stored.items():
        assert read_meta(path).frames == (2 if video.endswith("two/images") else FRAMES)


def test_every_bad_video_is_told_once_with_its_reason(run: Run) -> None:
    told = run.failures()
    assert sorted(source for source, _ in told) == sorted(run.bad)
    for source, reason in told:
        assert run.bad[source] in reason, (source, reason)
        assert reason.endswith(".")
        assert not re.search(r"unexpected|Traceback|\w(Error|Exception)\b|Errno|\n", reason), reason


def test_the_store_is_clean(run: Run) -> None:
    done = python("-m", "flow", "verify", str(run.store))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout


def test_what_may_not_be_read(tmp_path: Path) -> None:
    """A file and a folder that are closed to the user fail alone."""
    videos, store = tmp_path / "videos", tmp_path / "store"
    write(videos / "good.avi", frames(2))
    closed = [
        write(videos / "closed.avi", frames(2)),
        write_images(videos / "closed images", [1, 2]),
    ]
    sealed = write(videos / "closed folder" / "inside.avi", frames(2)).parent
    image = write_images(videos / "closed image", [1, 2]) / "img_00002.png"
    closed += [sealed, image]
    modes = [path.stat().st_mode for path in closed]
    for path in closed:
        path.chmod(0)
    try:
        if python("-c", f"open({str(closed[0])!r})").returncode == 0:
            pytest.skip("needs a user who is bound by permissions: this one reads any file")
        done = python("-m", "flow", "extract", str(videos), str(store), "--solver", "cpu", *QUICK)
    finally:
        for path, mode in zip(closed, modes, strict=True):
            path.chmod(mode)
    assert done.returncode == 1, done.stderr
    assert list(find_store_files(store)) == ["good"]
    with (store / "failures.csv").open(newline="", encoding="utf-8") as file:
        told = {row["video"]: row["reason"] for row in csv.DictReader(file)}
    assert set(told) == {"closed.avi", "closed images", "closed folder", "closed image"}
    for source, reason in told.items():
        assert "cannot be read: Permission denied" in reason, source
