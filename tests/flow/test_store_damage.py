"""Damaged store files. Kinds: known answer (faults are told), property (any flip, any cut)."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from flow.errors import InputError
from flow.store import StoreFile, read_meta, verify
from store_files import FRAMES, rewrite


@pytest.fixture
def whole(store: Path) -> Path:
    """A store file that no test may change."""
    return store / "flat.zip"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "video.zip"))


def test_a_whole_file_has_no_faults(whole: Path) -> None:
    assert verify(whole) == []


FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "a frame is missing": (lambda m: m.pop("img_00003.jpg"), "no member img_00003.jpg"),
    "a flow is missing": (lambda m: m.pop("flow_x_00004.jpg"), "no member flow_x_00004.jpg"),
    "one frame too many": (lambda m: m.update({"img_00006.jpg": m["img_00005.jpg"]}), "img_00006"),
    "one flow too many": (lambda m: m.update({"flow_y_00005.jpg": b""}), "flow_y_00005"),
    "a foreign member": (lambda m: m.update({"../../evil": b"x"}), "'../../evil'"),
    "no image": (lambda m: m.update({"flow_y_00001.jpg": b"no image"}), "decoded in flow_y_00001"),
    "an empty image": (lambda m: m.update({"img_00001.jpg": b""}), "decoded in img_00001"),
    "another size": (
        lambda m: m.update(
            {"img_00002.jpg": cv2.imencode(".jpg", np.zeros((8, 9, 3), np.uint8))[1].tobytes()}
        ),
        "9 x 8 pixels in img_00002.jpg",
    ),
    "more frames stated": (
        lambda m: m.update({"meta.json": m["meta.json"].replace(b'"frames": 5', b'"frames": 99')}),
        "14 members for 99 frames",
    ),
    "other meta data": (
        lambda m: m.update({"meta.json": m["meta.json"].replace(b'"bound": 20', b'"bound": -2')}),
        "bound",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told(copy: Path, name: str) -> None:
    change, word = FAULTS[name]
    rewrite(copy, change)
    (fault,) = verify(copy)
    assert word in fault
    assert str(copy) in fault
    assert fault.endswith(".")


def test_all_faults_are_told(copy: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        del members["img_00003.jpg"], members["flow_x_00001.jpg"]
        members["flow_y_00002.jpg"] = b"no image"

    rewrite(copy, change)
    assert len(verify(copy)) == 3


def test_a_member_twice(copy: Path) -> None:
    with (
        zipfile.ZipFile(copy, "a") as file,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        file.writestr("img_00001.jpg", file.read("img_00001.jpg"))
    (fault,) = verify(copy)
    assert "2 members 'img_00001.jpg'" in fault


def test_a_flipped_byte_in_any_image_is_found(copy: Path) -> None:
    content = copy.read_bytes()
    with zipfile.ZipFile(copy) as file:
        entries = file.infolist()
    rng = np.random.default_rng(3)
    for entry in entries:
        start = entry.header_offset + 30 + len(entry.filename)
        position = start + int(rng.integers(entry.file_size))
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        copy.write_bytes(damaged)
        (fault,) = verify(copy)
        assert entry.filename in fault


def test_any_flipped_byte_is_found_or_harmless(copy: Path, whole: Path) -> None:
    """Not every byte of a zip file matters: its dates do not. Nothing else may pass."""
    with StoreFile(whole) as store:
        frames, flows = store.frames(np.arange(FRAMES)), store.flow_images(np.arange(FRAMES - 1))
    content = whole.read_bytes()
    rng = np.random.default_rng(4)
    directory = content.index(b"PK\x01\x02")
    found = 0
    for position in np.unique(rng.integers(directory, len(content), 300)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        copy.write_bytes(damaged)
        if verify(copy):
            found += 1
            continue
        with StoreFile(copy) as store:
            assert store.meta == read_meta(copy) == read_meta(whole)
            assert np.array_equal(store.frames(np.arange(FRAMES)), frames)
            assert np.array_equal(store.flow_images(np.arange(FRAMES - 1)), flows)
    assert found > 100


def test_a_cut_file_is_found_at_any_length(copy: Path) -> None:
    content = copy.read_bytes()
    for length in range(0, len(content), 97):
        copy.write_bytes(content[:length])
        (fault,) = verify(copy)
        assert str(copy) in fault
        with pytest.raises(InputError):
            read_meta(copy)


def test_reading_a_damaged_image(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[content.index(b"flow_x_00001.jpg") + 100] ^= 1
    copy.write_bytes(content)
    with StoreFile(copy) as store:
        store.frames([0, 1])
        with pytest.raises(InputError, match=r"damaged in flow_x_00001\.jpg"):
            store.flow_images([0])
