"""Import of other tools' images. Kinds: known answer (values, refusals), round trip."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flow import encode
from flow.encoding import Scheme
from flow.errors import InputError
from flow.layouts_import import refuse_truncated
from flow.manifest import read_manifest
from flow.store import StoreFile, find_store_files, store_path
from layout_files import contents, export, jpeg, jpegs, take, take_tsn
from store_files import FRAMES, HEIGHT, META, VIDEOS, WIDTH

pytestmark = pytest.mark.usefixtures("in_process")


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


def test_a_video_without_frames_among_others_fails(images: Path, tmp_path: Path) -> None:
    for path in (images / "flat").glob("img_*"):
        path.unlink()
    ((video, reason),) = take_tsn(images, tmp_path / "store").failures
    assert video == "flat"
    assert "has no img_00001.jpg" in reason


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
