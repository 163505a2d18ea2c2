"""Export to other tools' layouts. Kinds: round trip, known answer (names, refusals), deaths."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from flow import decode, encode
from flow.errors import InputError
from flow.layouts import LAYOUTS, Layout, export_store, inside
from flow.status import verify_store
from flow.store import StoreFile, find_store_files, read_meta, store_path, verify
from layout_files import contents, export, jpeg, jpegs, members, take, take_tsn, tree
from store_files import FRAMES, VIDEOS, write_store

pytestmark = pytest.mark.usefixtures("in_process")

EXPECTED: dict[Layout, tuple[str, ...]] = {
    "tsn": (
        *("{}/img_00001.jpg", "{}/img_00005.jpg", "{}/flow_x_00001.jpg", "{}/flow_y_00004.jpg"),
        "{}/flow.json",
    ),
    "mmaction2": (
        *("{}/img_00001.jpg", "{}/img_00005.jpg", "{}/x_00001.jpg", "{}/y_00004.jpg"),
        "{}/flow.json",
    ),
    "uv": (
        *("jpegs_256/{}/frame000001.jpg", "jpegs_256/{}/frame000005.jpg"),
        *("u/{}/frame000001.jpg", "v/{}/frame000004.jpg", "u/{}/flow.json"),
    ),
    "mars": (
        *("{}/00001.jpg", "{}/00005.jpg", "{}/TVL1jpg_x_00001.jpg", "{}/TVL1jpg_y_00004.jpg"),
        *("{}/flow.json", "{}/done"),
    ),
}


@pytest.mark.parametrize(
    ("layout", "first"), [*((layout, 1) for layout in LAYOUTS), ("mmaction2", 0)]
)
def test_a_store_comes_back(store: Path, tmp_path: Path, layout: Layout, first: int) -> None:
    folder, again = tmp_path / "images", tmp_path / "again"
    done = export(store, folder, layout, first=first)
    assert (done.done, done.present, done.failures) == (3, 0, ())
    assert str(done).startswith("3 videos copied, 0 already there, 0 failed: ")
    assert "as it was stored: encoding symmetric, bound 20" in str(done)

    written = tree(folder)
    extra = 2 if layout == "mars" else 1
    assert len(written) == len(VIDEOS) * (FRAMES + 2 * (FRAMES - 1) + extra)
    if first == 1:
        assert {name.format(video) for name in EXPECTED[layout] for video in VIDEOS} <= set(written)
    else:
        assert {"flat/img_00000.jpg", "flat/y_00003.jpg"} <= set(written)
        assert "flat/y_00004.jpg" not in written

    back = take(folder, again, layout)
    assert (back.done, back.present, back.failures) == (3, 0, ())
    assert contents(again) == contents(store)  # the JPEG files bit by bit, and the meta data
    assert verify_store(again, workers=1, progress=False) == []
    for video in VIDEOS:
        with StoreFile(store_path(store, video)) as one, StoreFile(store_path(again, video)) as two:
            assert np.array_equal(one.frames(range(FRAMES)), two.frames(range(FRAMES)))
            flows = range(FRAMES - 1)
            assert np.array_equal(one.flow_images(flows), two.flow_images(flows))

    for copy, source, target in ((export, store, folder), (take, folder, again)):
        before = {path: path.stat().st_mtime_ns for path in target.rglob("*.[jz]*")}
        more = {"first": first} if copy is export else {}
        summary = copy(source, target, layout, **more)  # type: ignore[operator]
        assert (summary.done, summary.present, summary.files) == (0, 3, 0)
        assert before == {path: path.stat().st_mtime_ns for path in target.rglob("*.[jz]*")}


def test_other_values_are_compressed_anew(store: Path, tmp_path: Path) -> None:
    folder, again = tmp_path / "images", tmp_path / "again"
    summary = export(store, folder, "tsn", encoding="dense_flow", bound=15.0, quality=90)
    (note,) = summary.notes
    assert note == "The flow was compressed anew, quality 90: encoding dense_flow, bound 15."
    assert export(store, folder, "tsn", encoding="dense_flow", bound=15.0, quality=90).present == 3
    take(folder, again)
    for video in VIDEOS:
        with StoreFile(store_path(store, video)) as one, StoreFile(store_path(again, video)) as two:
            assert np.array_equal(one.frames(range(FRAMES)), two.frames(range(FRAMES)))
            flow = decode(one.flow_images(range(FRAMES - 1)))
            images = encode(flow, 15.0, "dense_flow")
            for found, image in zip(two.flow_images(range(FRAMES - 1)), images, strict=True):
                for c in (0, 1):
                    content = np.frombuffer(jpeg(np.ascontiguousarray(image[..., c]), 90), np.uint8)
                    assert np.array_equal(found[..., c], np.asarray(cv2.imdecode(content, 0)))
            clipped = float(np.mean(np.abs(flow) > 15))
            expected = replace(one.meta, encoding="dense_flow", bound=15.0, quality=90)
            assert two.meta == replace(expected, clipped=two.meta.clipped)
            assert two.meta.clipped == pytest.approx(clipped)


def test_a_lossless_store_is_compressed(tmp_path: Path) -> None:
    store, folder = write_store(tmp_path / "store", codec="png"), tmp_path / "images"
    summary = export(store, folder, "tsn", quality=90)
    (note,) = summary.notes
    assert "compressed anew, quality 90: encoding symmetric, bound 20" in note
    declared = json.loads((folder / "flat" / "flow.json").read_text())
    assert (declared["codec"], declared["quality"]) == ("jpeg", 90)
    with StoreFile(store / "flat.zip") as stored:
        image = stored.flow_images([1])[0]
    assert (folder / "flat" / "flow_y_00002.jpg").read_bytes() == jpeg(
        np.ascontiguousarray(image[..., 1]), 90
    )
    frame = members(store / "flat.zip")["img_00003.jpg"]
    assert (folder / "flat" / "img_00003.jpg").read_bytes() == frame


@pytest.mark.parametrize("declared", [True, False])
def test_flow_alone_goes_and_comes_back(tmp_path: Path, declared: bool) -> None:
    store, folder = write_store(tmp_path / "store", rgb=False), tmp_path / "images"
    summary = export(store, folder, "uv")
    assert any("no frames" in note for note in summary.notes)
    assert not list(folder.rglob("*frame*/img*"))
    back = tmp_path / "back"
    if declared:
        assert take(folder, back, "uv").failures == ()
        assert contents(back) == contents(store)
    else:
        for note in folder.rglob("flow.json"):
            note.unlink()
        assert take(folder, back, "uv", encoding="symmetric", bound=20.0).failures == ()
        assert jpegs(back) == jpegs(store)
        assert {read_meta(path).rgb for path in find_store_files(back).values()} == {False}
    assert verify_store(back, 1, progress=False) == []


def test_what_lies_in_the_way_is_left(store: Path, tmp_path: Path) -> None:
    ours = tmp_path / "flat" / "flow_x_00002.jpg"
    more = tmp_path / VIDEOS[0] / "img_00006.jpg"
    for path in (ours, more):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"another's")
    summary = export(store, tmp_path, "tsn")
    assert summary.done == 1
    (_, first), (_, second) = summary.failures
    assert f"{more} is no image of this video" in first
    assert f"{ours} is there with another content" in second
    assert ours.read_bytes() == more.read_bytes() == b"another's"


def test_a_damaged_store_file_fails_alone(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    content = bytearray((store / "flat.zip").read_bytes())
    content[content.index(b"flow_x_00001.jpg") + 100] ^= 1
    (store / "flat.zip").write_bytes(content)
    summary = export(store, tmp_path / "images", "tsn")
    assert summary.done == 2
    ((video, reason),) = summary.failures
    assert video == "flat"
    assert "damaged in flow_x_00001.jpg" in reason


@pytest.mark.parametrize("video", ["../x", "a/../../x", "/etc", "", ".", "a//b"])
def test_no_id_leads_outside(tmp_path: Path, video: str) -> None:
    with pytest.raises(InputError, match="no id of a video"):
        inside(tmp_path, video)
    assert inside(tmp_path, "a/..b") == tmp_path / "a/..b"


def test_no_link_leads_outside(store: Path, exported: Path, tmp_path: Path) -> None:
    for target in ("images", "store"):
        outside = tmp_path / f"outside of {target}"
        outside.mkdir()
        (tmp_path / target).mkdir()
        (tmp_path / target / "Class").symlink_to(outside)
    out = export(store, tmp_path / "images", "tsn")
    back = take_tsn(exported, tmp_path / "store")
    for summary, name in ((out, "images"), (back, "store")):
        assert summary.done == 2
        ((video, reason),) = summary.failures
        assert video == VIDEOS[0]
        assert "leads outside" in reason
        assert list((tmp_path / f"outside of {name}").iterdir()) == []


def test_what_is_missing_is_completed(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    export(store, folder, "mars")
    whole = tree(folder)
    for name in ("done", "flow.json", "TVL1jpg_y_00004.jpg", "00005.jpg"):
        (folder / "flat" / name).unlink()
    (folder / "flat" / ".00005.jpg.partial").write_bytes(b"half")
    summary = export(store, folder, "mars")
    assert (summary.done, summary.present, summary.files) == (1, 2, 4)
    assert tree(folder) == whole


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_killed_run_is_completed(store: Path, tmp_path: Path, command: str) -> None:
    count, many, folder, again = 40, tmp_path / "many", tmp_path / "images", tmp_path / "again"
    many.mkdir()
    for number in range(count):
        shutil.copy(store / "flat.zip", many / f"{number:02d}.zip")
    if command == "import":
        export(many, folder, "tsn")
    source, target = (many, folder) if command == "export" else (folder, again)
    name = "layouts.export_store" if command == "export" else "layouts_import.import_folder"
    code = (
        "import sys; from pathlib import Path; from flow import layouts, layouts_import\n"
        f"if __name__ == '__main__': {name}(Path(sys.argv[1]), Path(sys.argv[2]), 'tsn', workers=1)"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, script, source, target], stderr=subprocess.DEVNULL, start_new_session=True
    )

    def begun() -> list[Path]:
        return [path for path in target.rglob("*") if path.suffix in (".jpg", ".zip")]

    deadline = time.monotonic() + 60
    while not begun() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < len(begun()) < (count * 13 if command == "export" else count)
    for path in begun():  # nothing is half written
        assert path.read_bytes().endswith(b"\xff\xd9") or verify(path) == []

    run = export if command == "export" else take
    summary = run(source, target, "tsn")  # type: ignore[operator]
    assert summary.done + summary.present == count
    assert summary.done > 0
    if command == "export":
        take(folder, again)
    assert contents(again) == contents(many)
    assert not list(tmp_path.rglob("*.partial"))


def test_wrong_arguments(exported: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "file").write_text("no folder")
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: export(store, out, "other"), "Layout 'other' is unknown"),  # type: ignore[arg-type]
        (lambda: export(store, out, "tsn", first=0), "tsn does not start at 0"),
        (lambda: export(store, out, "mmaction2", first=2), "does not start at 2"),
        (lambda: export(store, out, "tsn", quality=0), "quality is 0"),
        (lambda: export(store, out, "tsn", bound=0.0), "bound is 0"),
        (lambda: export(store, out, "tsn", encoding="other"), "'other' is unknown"),
        (lambda: export(tmp_path, out, "tsn"), "no store files"),
        (lambda: export(store, tmp_path / "file", "tsn"), "cannot be written"),
        (lambda: export_store(store, out, "tsn", workers=0), "workers is 0"),
        (lambda: take(tmp_path / "absent", out), "no folder"),
        (lambda: take(exported, out, "mars"), "no videos in the layout mars.*TVL1jpg_x_00001"),
        (lambda: take(exported / "flat", out), "outside of a video's folder"),
        (lambda: take(exported, tmp_path / "file"), "cannot be written"),
        (lambda: take(exported, out, bound=-1.0), "bound is -1"),
        (lambda: take(exported, out, encoding="other"), "'other' is unknown"),
        (lambda: take(exported, out, extra_flow="both"), "extra flow is 'both'"),
    ]
    for call, word in wrong:
        with pytest.raises(InputError, match=word):
            call()
