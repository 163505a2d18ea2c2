"""The data set doctor on whole data sets: known answers on a sound one, one with every fault, real
ones; and what wrong usage says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.__main__ import main as flow_main
from store_files import rewrite
from twostream.__main__ import main
from twostream.doctor import diagnose
from twostream.doctor.findings import Diagnosis
from video_files import write

FRAMES = 12
CLIP = ["--clip-length", "8", "--workers", "1"]


def clip(seed: int, count: int = FRAMES, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Frames (count, H, W, 3) RGB: a texture of its own for each seed, that moves to the left."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width + 2 * count, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([texture[:, 2 * k : 2 * k + width] for k in range(count)])


def rows_of(*more: str) -> str:
    """The list of a sound data set, and further rows."""
    rows = [
        f"{label}/{label} {number}.avi,{label},g{number},{'test' if number > 3 else 'train'}"
        for label in ("run", "jump & turn", "wälk")
        for number in range(1, 6)
    ]
    return "\n".join(["video,label,group,split", *rows, *more, ""])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos/, list.csv and store/, where nothing is wrong."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "list.csv").write_text(rows_of())
    for seed, row in enumerate(rows_of().splitlines()[1:]):
        write(folder / "videos" / row.split(",")[0], clip(seed))
    command = ["extract", str(folder / "videos"), str(folder / "store"), "--farneback"]
    assert flow_main([*command, "--workers", "1"]) == 0
    return folder


@pytest.fixture
def copied(sound: Path, tmp_path: Path) -> Path:
    """The same to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


def looked_at(folder: Path, **more: object) -> Diagnosis:
    known = {"store": folder / "store", "lists": folder / "list.csv", "clip_length": 8}
    return diagnose(folder / "videos", **known | {"workers": 1, "progress": False} | more)  # type: ignore[arg-type]


def told(diagnosis: Diagnosis) -> dict[str, tuple[str, list[str]]]:
    """Severity and cases of each finding by its check, each of which is there once."""
    checks = [finding.check for finding in diagnosis.findings]
    assert len(set(checks)) == len(checks), diagnosis.text()
    return {
        finding.check: (finding.severity, [str(case) for case in finding.cases])
        for finding in diagnosis.findings
    }


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sound_data_set_passes_and_is_left_as_it_is(
    sound: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = everything(sound)
    report = tmp_path / "report.json"
    known = ["--store", str(sound / "store"), "--lists", str(sound / "list.csv")]
    assert main(["doctor", str(sound / "videos"), *known, "--json", str(report), *CLIP]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{sound / 'videos'}: 15 videos in 3 folders, ")
    assert printed[1:4] == [
        "frames: 12 to 12 a video, 180 in all",
        "sizes: 64 x 48 (15)",
        "rates: 12.5 fps (15)",
    ]
    assert "9 of 9 to train on, 6 of 6 to test on; 3 classes, 5 groups" in printed[4]
    assert "15 store files, frames and flow: farneback (opencv), bound 20" in printed[5]
    assert printed[6:] == ["sound: no faults, no notes"]
    assert json.loads(report.read_text())["sound"] is True
    assert everything(sound) == before


def test_every_fault_is_named_once(
    copied: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    videos = copied / "videos"
    (videos / "run/run 1.avi").unlink()  # missing
    (videos / "run/run 2.avi").rename(videos / "run/Run_2.avi")  # names
    broken = (videos / "run/run 4.avi").read_bytes()
    (videos / "run/run 4.avi").write_bytes(broken[: len(broken) * 2 // 3])  # unreadable
    write(videos / "wälk/wälk 1.mp4", clip(30), "mpeg4")  # ids
    more = [
        "wälk/still.avi,wälk,h1,train",
        "wälk/short.avi,wälk,h2,train",
        "wälk/small.avi,wälk,h3,train",
        "run/other.avi,wälk,h4,train",  # folders
        "new/1.avi,Run,h5,train",  # labels, and only trained on
        "new/2.avi,hop,h6,test",  # only tested
        "new/3.avi,hop,g1,test",  # leak by groups
        "new/4.avi,run,h7,train",  # labels of copies
        "new/5.avi,wälk,h8,train",  # leak by copies: equal files
        "new/6.avi,wälk,h9,train",  # copies
    ]
    (copied / "list.csv").write_text(rows_of(*more))
    write(videos / "wälk/still.avi", clip(31, 1))
    write(videos / "wälk/short.avi", clip(32, 8))
    write(videos / "wälk/small.avi", clip(33, height=32, width=40), rate=25)
    for seed, name in enumerate(("run/other", "new/1", "new/2", "new/3"), start=34):
        write(videos / f"{name}.avi", clip(seed))
    shutil.copy(videos / "wälk/wälk 1.avi", videos / "new/4.avi")
    shutil.copy(videos / "wälk/wälk 5.avi", videos / "new/5.avi")
    shutil.copy(videos / "wälk/wälk 2.avi", videos / "new/6.avi")
    write(videos / "extra.mov", clip(50))  # unlisted
    (videos / "run.rar").write_bytes(b"Rar!")  # files
    _spoil(copied / "store")
    report = tmp_path / "report.json"
    known = ["--store", str(copied / "store"), "--lists", str(copied / "list.csv")]
    assert main(["doctor", str(videos), *known, "--json", str(report), *CLIP, "--shown", "0"]) == 1
    found = json.loads(report.read_text())
    cases = {
        finding["check"]: (finding["severity"], [tuple(c.values()) for c in finding["cases"]])
        for finding in found["findings"]
    }
    assert len(cases) == len(found["findings"])
    stale = f"is of a file of {len(broken):,} bytes, not of {len(broken) * 2 // 3:,}"
    unreadable = cases["unreadable"][1].pop()
    assert unreadable[0] == "run/run 4.avi"
    assert "is cut short" in unreadable[1]
    damaged = cases["store damaged"][1].pop()
    assert damaged[0] == "jump & turn/jump & turn 4.avi"
    assert "no whole zip file" in damaged[1]
    not_stored = [name for name, _ in cases["store missing"][1]]
    # All that was added, but not what is there under another name than listed.
    assert set(not_stored) == {
        *("jump & turn/jump & turn 5.avi", "wälk/still.avi", "wälk/short.avi", "wälk/small.avi"),
        *("run/other.avi", *(f"new/{number}.avi" for number in range(1, 7))),
    }
    del cases["store missing"]
    jump = "jump & turn/jump & turn"
    assert cases == {
        "missing": ("fault", [("run/run 1", "")]),
        "names": ("fault", [("run/run 2", "is there as run/Run_2.avi")]),
        "unreadable": ("fault", []),
        "ids": ("fault", [("wälk/wälk 1.mp4", "beside wälk/wälk 1.avi")]),
        "one frame": ("fault", [("wälk/still.avi", "")]),
        "short": ("note", [("wälk/short.avi", "8 frames")]),
        "sizes": ("note", [("wälk/small.avi", "40 x 32")]),
        "rates": ("note", [("wälk/small.avi", "25 fps")]),
        "folders": ("fault", [("run/other.avi", "listed as wälk")]),
        "labels": ("fault", []),
        "classes": ("fault", [("hop", "")]),
        "classes not tested": ("note", [("Run", "")]),
        "leak by groups": (
            "fault",
            [("g1", "split column: 3 to train on, 1 to test on")],
        ),
        "labels of copies": (
            "fault",
            [("wälk/wälk 1.avi", "(wälk, train) as new/4.avi (run, train)")],
        ),
        "leak by copies": (
            "fault",
            [("wälk/wälk 5.avi", "(wälk, test) as new/5.avi (wälk, train)")],
        ),
        "copies": ("note", [("wälk/wälk 2.avi", "(wälk, train) as new/6.avi (wälk, train)")]),
        "unlisted": ("note", [("extra.mov", "")]),
        "files": ("note", [("run.rar", "")]),
        "store damaged": ("fault", []),
        "store stale": (
            "fault",
            [
                (f"{jump} 1.avi", "is of a file of another hash"),
                ("run/run 4.avi", stale),
                ("wälk/wälk 1.mp4", "is of wälk 1.avi"),
            ],
        ),
        "store frames": ("fault", [(f"{jump} 2.avi", "has 11 frames, the video 12")]),
        "store settings": ("fault", [(f"{jump} 3", "bound 15.0, not 20.0")]),
        "store orphans": ("note", [("run/run 1", ""), ("run/run 2", "")]),
    }
    printed = capsys.readouterr().out
    assert printed.endswith("not sound: 16 faults, 8 notes\n")
    assert printed.count("\nfault  ") == 16


def _spoil(store: Path) -> None:
    """Five store files of one class, each in another way."""

    def change(number: int, edit: Callable[[dict[str, bytes]], object]) -> None:
        rewrite(store / f"jump & turn/jump & turn {number}.zip", edit)

    def meta(members: dict[str, bytes], **values: object) -> None:
        members["meta.json"] = json.dumps(json.loads(members["meta.json"]) | values).encode()

    def shorten(members: dict[str, bytes]) -> None:
        for name in ("img_00012.jpg", "flow_x_00011.jpg", "flow_y_00011.jpg"):
            del members[name]
        meta(members, frames=11)

    change(1, lambda members: meta(members, source_sha256="0" * 64))
    change(2, shorten)
    change(3, lambda members: meta(members, bound=15.0))
    whole = (store / "jump & turn/jump & turn 4.zip").read_bytes()
    (store / "jump & turn/jump & turn 4.zip").write_bytes(whole[: len(whole) // 2])
    (store / "jump & turn/jump & turn 5.zip").unlink()


def test_a_copy_that_was_encoded_anew_leaks_too(copied: Path) -> None:
    videos = copied / "videos"
    write(videos / "run/run 5.avi", clip(0), "mpeg4")  # run 1's pictures, on the other side
    found = told(looked_at(copied, store=None))
    assert found == {
        "leak by copies": (
            "fault",
            ["run/run 5.avi: (run, test) as run/run 1.avi (run, train)"],
        )
    }


def test_a_quick_look_sees_what_needs_no_decoding(copied: Path) -> None:
    videos = copied / "videos"
    shutil.copy(videos / "run/run 1.avi", videos / "run/run 5.avi")
    (videos / "wälk/wälk 3.avi").write_bytes(b"no video")
    found = told(looked_at(copied, store=None, quick=True))
    assert list(found) == ["unreadable", "leak by copies", "quick"]
    assert found["unreadable"][1][0].startswith("wälk/wälk 3.avi: is no video")


def test_a_folder_of_videos_without_lists(copied: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    (odd / "in side").mkdir(parents=True)
    (odd / "in side" / "a\nb; $(x) 日本.avi").symlink_to(copied / "videos/run/run 1.avi")
    (odd / "gone.avi").symlink_to(tmp_path / "nowhere.avi")
    (odd / "loop").symlink_to(odd)
    (odd / "more").symlink_to(copied / "videos/wälk")
    for number, frame in enumerate(clip(70)):
        cv2.imwrite(str(odd / "in side" / f"{number:03d}.png"), frame)
    (odd / "pictures").mkdir()
    for number, frame in enumerate(clip(71)):
        cv2.imwrite(str(odd / "pictures" / f"{number:03d}.png"), frame)
    diagnosis = diagnose(odd, clip_length=8, workers=1, progress=False)
    found = told(diagnosis)
    assert found["unreadable"] == ("fault", ["gone.avi: is not a file; give a video file."])
    assert found["images"][0] == "note"
    assert found["files"] == ("note", [f"in side/{number:03d}.png" for number in range(FRAMES)])
    assert set(found) == {"unreadable", "images", "files"}
    assert "8 videos in" in diagnosis.summary[0]
    assert all(line.isprintable() for line in diagnosis.text(100).splitlines())


def test_the_real_part_of_ucf101_in_a_few_lines(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shared / "data/ucf101"
    command = ["doctor", str(data / "videos"), "--lists", str(data / "splits")]
    assert main([*command, "--dataset", "ucf101", "--quick", "--workers", "1"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) < 16
    assert "UCF101: 66 of 13,320 videos are there, of 26 of 101 classes" in printed
    assert (
        "fault  missing: 13,254 of 13,320 listed videos are not there; "
        "of 75 of 101 classes there is none."
    ) in printed
    assert printed[-1] == "not sound: 1 fault, 1 note"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "nowhere is no folder; give the folder that holds the videos"),
        (["videos", "--lists", "nowhere.csv"], "nowhere.csv is no file; give the file"),
        (["videos", "--lists", "list.csv", "--dataset", "hmdb51"], "list.csv is no folder"),
        (["videos", "--lists", "list.csv", "--dataset", "kinetics"], "'kinetics' is unknown"),
        (["videos", "--lists", "list.csv", "--split", "group:nobody"], "no group 'nobody'"),
        (["videos", "--lists", "list.csv", "--split", "1"], "Split '1' of"),
        (["videos", "--lists", "videos", "--dataset", "ucf101", "--split", "4"], "Split '4' of"),
        (["videos", "--store", "nowhere"], "nowhere is no folder; give the folder of a store"),
        (["videos", "--split", "column"], "without its lists; give --lists"),
        (["videos", "--json", "nowhere/a.json"], "nowhere is no folder; give a file in one"),
        (["videos", "--workers", "0"], "too small"),
    ],
)
def test_wrong_usage(
    sound: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(sound)
    assert main(["doctor", *arguments]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.out == ""
