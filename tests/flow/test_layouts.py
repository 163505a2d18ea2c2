"""Other tools' layouts. Kinds: round trip, known answer (names, refusals), death of processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow import decode, encode
from flow.encoding import Scheme
from flow.errors import InputError
from flow.layouts import LAYOUTS, Layout, Summary, export_store, inside
from flow.layouts_import import import_folder, refuse_truncated
from flow.manifest import read_manifest
from flow.meta import Codec, Meta
from flow.status import verify_store
from flow.store import (
    StoreFile,
    StoreWriter,
    find_store_files,
    read_meta,
    store_path,
    verify,
)
from flow.tvl1 import TVL1Params

FRAMES, HEIGHT, WIDTH = 5, 24, 33
VIDEOS = ("Class/v_Bend_g01_c01", "brüsh hair/日本 a.b 1", "flat")
META = Meta(
    source="a.avi",
    source_bytes=1234,
    source_sha256="0f" * 32,
    frames=FRAMES,
    fps=25.0,
    width=WIDTH,
    height=HEIGHT,
    decoder="opencv 5.0.0",
    solver="opencv",
    params=asdict(TVL1Params()),
    bound=20.0,
    encoding="symmetric",
    clipped=0.0,
)


def smooth(rng: np.random.Generator, count: int, channels: int) -> NDArray[np.uint8]:
    noise = rng.integers(0, 256, (count, 4, 5, channels), dtype=np.uint8)
    return np.stack([cv2.resize(image, (WIDTH, HEIGHT)) for image in noise])


def write_store(store: Path, codec: Codec = "jpeg", rgb: bool = True) -> Path:
    for seed, video in enumerate(VIDEOS):
        path = store_path(store, video)
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        with StoreWriter(path, codec=codec) as writer:
            for frame in smooth(rng, FRAMES, 3):
                if rgb:
                    writer.add_frame(frame)
            for image in smooth(rng, FRAMES - 1, 2):
                writer.add_flow(image)
            writer.finish(replace(META, source=f"{seed}.avi", codec=codec, rgb=rgb))
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test may change."""
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def exported(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store in the layout tsn, as another tool would have written it; no test may change it."""
    folder = tmp_path_factory.mktemp("tsn")
    export(store, folder, "tsn")
    for note in folder.rglob("flow.json"):
        note.unlink()
    return folder


@pytest.fixture
def images(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "images"))


def export(store: Path, folder: Path, layout: Layout, **arguments: Any) -> Summary:
    return export_store(store, folder, layout, workers=1, progress=False, **arguments)


def take(folder: Path, store: Path, layout: Layout = "tsn", **arguments: Any) -> Summary:
    return import_folder(folder, store, layout, workers=1, progress=False, **arguments)


def take_tsn(folder: Path, store: Path, **arguments: Any) -> Summary:
    return take(folder, store, encoding="symmetric", bound=20.0, **arguments)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def contents(store: Path) -> dict[str, dict[str, bytes]]:
    return {video: members(path) for video, path in find_store_files(store).items()}


def jpegs(store: Path) -> dict[str, dict[str, bytes]]:
    return {
        video: {name: content for name, content in found.items() if name != "meta.json"}
        for video, found in contents(store).items()
    }


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def jpeg(image: NDArray[np.uint8], quality: int = 95) -> bytes:
    content: bytes = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return content


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


def test_what_is_not_known_of_imported_flow(exported: Path, store: Path, tmp_path: Path) -> None:
    summary = take(exported, tmp_path, encoding="dense_flow", bound=15)
    assert summary.notes == ("The flow's encoding is dense_flow with bound 15, as was given.",)
    assert jpegs(tmp_path) == jpegs(store)
    with StoreFile(store_path(tmp_path, VIDEOS[1])) as stored:
        meta = stored.meta
    assert (meta.bound, meta.encoding, meta.quality, meta.fps) == (15, "dense_flow", 95, 0)
    assert (meta.solver, meta.decoder, meta.source) == ("imported", "imported", "日本 a.b 1")
    assert meta.source_bytes == sum(map(len, jpegs(store)[VIDEOS[1]].values()))
    assert [row["status"] for row in read_manifest(tmp_path)] == ["stored"] * 3


@pytest.mark.parametrize("quality", [30, 75, 95, 100])
def test_the_quality_is_read_from_the_files(exported: Path, tmp_path: Path, quality: int) -> None:
    folder = Path(shutil.copytree(exported / "flat", tmp_path / "images" / "flat")).parent
    for path in folder.rglob("flow_*.jpg"):
        path.write_bytes(jpeg(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), quality))
    take_tsn(folder, tmp_path / "store")
    with StoreFile(store_path(tmp_path / "store", "flat")) as stored:
        assert stored.meta.quality == quality


def test_frames_from_1_and_flow_from_0_by_the_name_of_mmaction2s_documentation(
    images: Path, store: Path, tmp_path: Path
) -> None:
    for path in sorted(images.rglob("flow_?_*.jpg")):
        path.rename(path.with_name(f"{path.name[:7]}{int(path.name[7:12]) - 1:05d}.jpg"))
    take(images, tmp_path / "store", "mmaction2", encoding="symmetric", bound=20.0)
    assert jpegs(tmp_path / "store") == jpegs(store)


def test_the_published_folders_of_uv(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    export(store, folder, "uv")
    (folder / "tvl1_flow").mkdir()
    for name in "uv":
        (folder / name).rename(folder / "tvl1_flow" / name)
    (folder / "tvl1_flow" / "u" / "flat.bin").write_bytes(b"scales")
    take(folder, tmp_path / "store", "uv")
    assert contents(tmp_path / "store") == contents(store)


def rewrite_size(video: Path, name: str) -> None:
    (video / name).write_bytes(jpeg(np.zeros((HEIGHT, WIDTH + 1), np.uint8)))


def cut(video: Path) -> None:
    content = (video / "img_00002.jpg").read_bytes()
    (video / "img_00002.jpg").write_bytes(content[: len(content) // 2])


def without(*names: str) -> Callable[[Path], None]:
    def remove(video: Path) -> None:
        for name in names:
            (video / name).unlink()

    return remove


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a gap in the frames": (without("img_00003.jpg"), "has no img_00003.jpg but has img_00004.jpg"),
    "no first frame": (without("img_00001.jpg"), "has no img_00001.jpg but has img_00002.jpg"),
    "a gap in the flow": (
        without("flow_x_00002.jpg", "flow_y_00002.jpg"),
        "has no flow_x_00002.jpg but has flow_x_00003.jpg",
    ),
    "no y": (without("flow_y_00004.jpg"), "flow_x_00004.jpg has no flow_y_00004.jpg"),
    "no x": (without("flow_x_00004.jpg"), "flow_y_00004.jpg has no flow_x_00004.jpg"),
    "no frames": (without(*(f"img_{k:05d}.jpg" for k in range(1, 6))), "has no img_00001.jpg"),
    "no flow": (
        without(*(f"flow_{c}_{k:05d}.jpg" for k in range(1, 5) for c in "xy")),
        "has no flow_x_00001.jpg",
    ),
    "a flow less": (
        without("flow_x_00004.jpg", "flow_y_00004.jpg"),
        "3 flow images where 5 frames have 4; extract its video again",
    ),
    "a frame less": (without("img_00005.jpg"), "4 flow images where 4 frames have 3; say which"),
    "another size of a flow": (
        lambda video: rewrite_size(video, "flow_y_00002.jpg"),
        "flow_y_00002.jpg has 34 x 24 pixels, where others of the video have 33 x 24",
    ),
    "another size of a frame": (lambda video: rewrite_size(video, "img_00005.jpg"), "34 x 24"),
    "a cut image": (cut, "img_00002.jpg is no whole JPEG file"),
    "no image": (
        lambda video: (video / "flow_x_00001.jpg").write_bytes(b"text\xff\xd9"),
        "flow_x_00001.jpg cannot be decoded",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_video_that_is_not_whole_fails_alone(images: Path, tmp_path: Path, name: str) -> None:
    change, word = FAULTS[name]
    change(images / VIDEOS[0])
    summary = take_tsn(images, tmp_path / "store")
    assert summary.done == 2
    ((video, reason),) = summary.failures
    assert video == VIDEOS[0]
    assert word in reason
    assert str(images / VIDEOS[0]) in reason
    assert reason.endswith(".")
    assert list(find_store_files(tmp_path / "store")) == sorted(VIDEOS[1:])
    rows = {row["video"]: row["status"] for row in read_manifest(tmp_path / "store")}
    assert rows == {VIDEOS[0]: "failed", VIDEOS[1]: "stored", VIDEOS[2]: "stored"}
    assert word in (tmp_path / "store" / "failures.csv").read_text()


@pytest.mark.parametrize(("extra", "kept"), [("first", (2, 3, 4)), ("last", (1, 2, 3))])
def test_as_many_flows_as_frames(
    images: Path, store: Path, tmp_path: Path, extra: str, kept: tuple[int, ...]
) -> None:
    for video in VIDEOS:
        (images / video / "img_00005.jpg").unlink()
    assert len(take_tsn(images, tmp_path / "none").failures) == 3
    assert take_tsn(images, tmp_path / "store", extra_flow=extra).failures == ()
    for video, found in jpegs(tmp_path / "store").items():
        original = jpegs(store)[video]
        expected = {f"img_{k:05d}.jpg": original[f"img_{k:05d}.jpg"] for k in range(1, 5)}
        for k, source in enumerate(kept, 1):
            for c in "xy":
                expected[f"flow_{c}_{k:05d}.jpg"] = original[f"flow_{c}_{source:05d}.jpg"]
        assert found == expected


@pytest.mark.parametrize("kind", ["symmetric", "dense_flow", "truncated", "truncated, still"])
def test_zero_at_127_is_refused(images: Path, tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    for path in images.rglob("flow_*.jpg"):
        flow = rng.normal(0, 0 if "still" in kind else 0.04, (HEIGHT, WIDTH)).astype(np.float32)
        flow[:4] = 3.0
        if "truncated" in kind:
            image = ((flow + 20) / 40 * 255).astype(np.uint8)  # as mmaction2 and MARS do
        else:
            image = encode(flow, 20.0, kind)  # type: ignore[arg-type]
        path.write_bytes(jpeg(image))
    scheme: Scheme = "symmetric" if kind == "symmetric" else "dense_flow"
    if "truncated" not in kind:
        assert take(images, tmp_path / "store", encoding=scheme, bound=20.0).failures == ()
        return
    with pytest.raises(InputError, match=r"images holds flow whose zero is 127.*extract") as error:
        take(images, tmp_path / "store", encoding=scheme, bound=20.0)
    assert str(error.value).count(". ") == 0
    assert list(find_store_files(tmp_path / "store")) == []
    trusted = take(images, tmp_path / "store", encoding=scheme, bound=20.0, trust_zero=True)
    assert trusted.done == 3


def test_127_may_be_the_most_frequent_value_of_sound_flow(images: Path, tmp_path: Path) -> None:
    """As a camera makes it that moves slowly to one side."""
    rng = np.random.default_rng(6)
    for path in images.rglob("flow_*.jpg"):
        mean = -0.08 if "_x_" in path.name else -0.005
        flow = rng.normal(mean, 0.03, (HEIGHT, WIDTH)).astype(np.float32)
        image = encode(flow, 20.0, "dense_flow")
        assert np.bincount(image.ravel()).argmax() == 127
        path.write_bytes(jpeg(image))
    assert take(images, tmp_path / "store", encoding="dense_flow", bound=20.0).failures == ()


def test_nothing_to_sample_is_nothing_to_refuse(tmp_path: Path) -> None:
    refuse_truncated(tmp_path, [])


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


def test_a_video_without_frames_among_others_fails(images: Path, tmp_path: Path) -> None:
    for path in (images / "flat").glob("img_*"):
        path.unlink()
    ((video, reason),) = take_tsn(images, tmp_path / "store").failures
    assert video == "flat"
    assert "has no img_00001.jpg" in reason


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


def test_folders_behind_links_are_imported_but_never_in_a_circle(
    exported: Path, store: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "circle").symlink_to(folder)
    (folder / ".hidden").symlink_to(exported / "flat")
    take_tsn(folder, tmp_path / "store")
    assert jpegs(tmp_path / "store") == jpegs(store)


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
    count, many, folder, again = 80, tmp_path / "many", tmp_path / "images", tmp_path / "again"
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


def test_a_note_that_cannot_be_used_fails_its_video(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    export(store, folder, "tsn")
    notes = [folder / video / "flow.json" for video in VIDEOS]
    notes[0].write_text("{}")
    notes[1].write_text(replace(META, frames=FRAMES + 1).to_json())
    summary = take(folder, tmp_path / "store", encoding="symmetric")
    reasons = dict(summary.failures)
    assert summary.done == 1
    assert f"{notes[0]} cannot be used" in reasons[VIDEOS[0]]
    assert f"{notes[1]} tells of 6 frames" in reasons[VIDEOS[1]]
    other = take(folder, tmp_path / "store", encoding="dense_flow")
    assert "says encoding symmetric and bound 20" in dict(other.failures)["flat"]


def test_a_changed_source_is_imported_anew(images: Path, tmp_path: Path) -> None:
    take_tsn(images, tmp_path / "store")
    shutil.copy(images / "flat/img_00001.jpg", images / "flat/img_00003.jpg")
    summary = take_tsn(images, tmp_path / "store")
    assert (summary.done, summary.present) == (1, 2)
    found = jpegs(tmp_path / "store")["flat"]
    assert found["img_00001.jpg"] == found["img_00003.jpg"]


def test_a_store_holds_flow_of_one_kind(exported: Path, store: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(store, tmp_path / "mixed"))
    with pytest.raises(InputError, match=r"with solver imported and .* with solver opencv; give"):
        take_tsn(exported, mixed)
    assert contents(mixed) == contents(store)


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


@pytest.mark.parametrize("arguments", [{}, {"bound": 20.0}, {"encoding": "symmetric"}])
def test_the_meaning_of_values_is_never_guessed(
    store: Path, exported: Path, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"flow\.json is not there.* give encoding and bound"):
        take(exported, tmp_path / "store", **arguments)
    export(store, tmp_path / "images", "tsn")
    (tmp_path / "images" / "flat" / "flow.json").unlink()
    summary = take(tmp_path / "images", tmp_path / "store", **arguments)
    assert summary.done == 2
    assert "give encoding and bound" in dict(summary.failures)["flat"]
