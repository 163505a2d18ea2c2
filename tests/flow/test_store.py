"""The store. Kinds: round trip, known answer (names, bytes, refusals), property (any indices)."""

import dataclasses
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flow.errors import InputError
from flow.meta import Codec
from flow.store import (
    StoreFile,
    StoreWriter,
    encode_flow,
    encode_frame,
    find_store_files,
    read_meta,
    store_path,
    verify,
    video_id,
)
from store_files import FRAMES, HEIGHT, META, WIDTH, rewrite, smooth


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    return smooth(np.random.default_rng(1), FRAMES, 3)


@pytest.fixture(scope="module")
def flows() -> NDArray[np.uint8]:
    return smooth(np.random.default_rng(2), FRAMES - 1, 2)


def write(path: Path, frames: NDArray[np.uint8], flows: NDArray[np.uint8]) -> Path:
    with StoreWriter(path) as writer:
        writer.add_frame(frames[0])
        for frame, flow in zip(frames[1:], flows, strict=True):
            writer.add_frame(frame)
            writer.add_flow(flow)
        writer.finish(META)
    return path


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, frames: NDArray[np.uint8], flows: NDArray[np.uint8]
) -> Path:
    """A store file that no test may change."""
    return write(tmp_path_factory.mktemp("store") / "video.zip", frames, flows)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "video.zip"))


def test_images_come_back(whole: Path, frames: NDArray[np.uint8], flows: NDArray[np.uint8]) -> None:
    with StoreFile(whole) as store:
        assert store.meta == META
        assert store.meta.flows == FRAMES - 1
        read = store.frames(np.arange(FRAMES))
        read_flows = store.flow_images(range(FRAMES - 1))
    assert read.dtype == read_flows.dtype == np.uint8
    assert read.shape == frames.shape
    assert read_flows.shape == flows.shape
    # JPEG at quality 95: about one grey value on the mean, more in colour, whose chroma is halved.
    assert np.abs(read.astype(int) - frames).mean() < 3
    assert np.abs(read_flows.astype(int) - flows).mean() < 1
    # Channels and indices are not exchanged: any other pairing is far away.
    assert np.abs(read[..., ::-1].astype(int) - frames).mean() > 30
    assert np.abs(read_flows[..., ::-1].astype(int) - flows).mean() > 30
    assert np.abs(read_flows[1:].astype(int) - flows[:-1]).mean() > 30


def test_any_tool_opens_it(whole: Path, flows: NDArray[np.uint8]) -> None:
    with zipfile.ZipFile(whole) as file:
        images = [f"img_{k:05d}.jpg" for k in range(1, FRAMES + 1)]
        flow_images = [f"flow_{c}_{k:05d}.jpg" for k in range(1, FRAMES) for c in "xy"]
        assert sorted(file.namelist()) == sorted([*images, *flow_images, "meta.json"])
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(file.read("meta.json")) == dataclasses.asdict(META)
        jpeg = np.frombuffer(file.read("flow_y_00002.jpg"), np.uint8)
    image = cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED)
    assert image.shape == (HEIGHT, WIDTH)  # grey
    assert np.abs(image.astype(int) - flows[1, ..., 1]).mean() < 1


def test_the_same_input_gives_the_same_bytes(
    whole: Path, tmp_path: Path, frames: NDArray[np.uint8], flows: NDArray[np.uint8]
) -> None:
    again = write(tmp_path / "another name.zip", frames, flows)
    assert again.read_bytes() == whole.read_bytes()


def test_quality(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    sizes = []
    for quality in (50, 95):
        path = tmp_path / f"{quality}.zip"
        with StoreWriter(path, quality) as writer:
            writer.add_frame(frames[0])
            writer.add_frame(frames[1])
            writer.add_flow(np.ascontiguousarray(frames[0, ..., :2]))
            writer.finish(dataclasses.replace(META, frames=2, quality=quality))
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1]


@given(data=st.data())
def test_any_run_of_indices(whole: Path, data: st.DataObject) -> None:
    with StoreFile(whole) as store:
        for read, total in ((store.frames, FRAMES), (store.flow_images, FRAMES - 1)):
            indices = data.draw(st.lists(st.integers(0, total - 1), max_size=12))
            run = read(indices)
            assert run.shape[:3] == (len(indices), HEIGHT, WIDTH)
            assert np.array_equal(run, read(np.arange(total))[np.array(indices, int)])


@pytest.mark.parametrize("indices", [[-1], [0, FRAMES], [1, -FRAMES, 2]])
def test_indices_that_are_not_there(whole: Path, indices: list[int]) -> None:
    with StoreFile(whole) as store:
        for read in (store.frames, store.flow_images):
            with pytest.raises(InputError, match=r"video\.zip.* index from 0 to"):
                read(indices)
        with pytest.raises(InputError, match="from 0 to 3"):
            store.flow_images([FRAMES - 1])


@pytest.mark.parametrize("indices", [[0.5], [[0]], [True], 1, ["a"]])
def test_what_are_no_indices(whole: Path, indices: Any) -> None:
    with StoreFile(whole) as store:
        for read in (store.frames, store.flow_images):
            with pytest.raises(InputError, match="whole numbers"):
                read(indices)


def test_it_pickles_as_its_path(whole: Path) -> None:
    with StoreFile(whole) as store:
        pickled = pickle.dumps(store)
        with pickle.loads(pickled) as other:
            assert np.array_equal(other.frames([3, 1]), store.frames([3, 1]))
    assert len(pickled) < 1000


def test_nothing_is_left_of_what_was_not_finished(
    tmp_path: Path, frames: NDArray[np.uint8]
) -> None:
    path = tmp_path / "video.zip"
    with StoreWriter(path) as writer:
        writer.add_frame(frames[0])
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []

    def fail() -> None:
        with StoreWriter(path) as writer:
            writer.add_frame(frames[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_meta_data_must_be_that_of_the_images(
    tmp_path: Path, frames: NDArray[np.uint8], flows: NDArray[np.uint8]
) -> None:
    def wrong(**changes: Any) -> None:
        with StoreWriter(tmp_path / "video.zip") as writer:
            for frame in frames:
                writer.add_frame(frame)
            for flow in flows:
                writer.add_flow(flow)
            writer.finish(dataclasses.replace(META, **changes))

    for changes in ({"frames": FRAMES + 1}, {"width": WIDTH + 1}, {"height": WIDTH}):
        with pytest.raises(ValueError, match="not those of"):
            wrong(**changes)
    assert list(tmp_path.iterdir()) == []
    wrong()
    assert verify(tmp_path / "video.zip") == []


def write_png(path: Path, flows: NDArray[np.uint8]) -> Path:
    """Flow alone, without loss."""
    with StoreWriter(path, codec="png") as writer:
        for flow in flows:
            writer.add_flow(flow)
        writer.finish(dataclasses.replace(META, codec="png", rgb=False))
    return path


def test_flow_without_loss_and_without_frames(tmp_path: Path, flows: NDArray[np.uint8]) -> None:
    flows = np.concatenate([np.random.default_rng(0).integers(0, 256, flows[:1].shape), flows[1:]])
    path = write_png(tmp_path / "video.zip", flows.astype(np.uint8))
    assert verify(path) == []
    with StoreFile(path) as store:
        assert np.array_equal(store.flow_images([2, 0, 1, 3, 0]), flows[[2, 0, 1, 3, 0]])
        with pytest.raises(InputError, match="holds flow alone"):
            store.frames([0])
    with zipfile.ZipFile(path) as file:
        images = [f"flow_{k:05d}.png" for k in range(1, FRAMES)]
        assert file.namelist() == [*images, "meta.json"]
        # The 13th to 16th bytes are the width; then the height, 8 bits, and colour type 4.
        header = file.read(images[0])[16:26]
    assert header == struct.pack(">IIBB", WIDTH, HEIGHT, 8, 4)  # grey and alpha


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_other_channels_is_a_fault(
    tmp_path: Path, flows: NDArray[np.uint8], channels: int
) -> None:
    path = write_png(tmp_path / "video.zip", flows)
    image = np.zeros((HEIGHT, WIDTH, channels), np.uint8)
    image[..., -1] = 255 if channels == 4 else 9
    png = cv2.imencode(".png", image)[1].tobytes()
    rewrite(path, lambda members: members.update({"flow_00002.png": png}))
    (fault,) = verify(path)
    assert "flow_00002.png" in fault


def test_encoded_images_are_added_as_they_are(
    tmp_path: Path, whole: Path, frames: NDArray[np.uint8], flows: NDArray[np.uint8]
) -> None:
    path = tmp_path / "video.zip"
    with StoreWriter(path) as writer:
        writer.add_encoded_frame(encode_frame(frames[0]))
        for frame, flow in zip(frames[1:], flows, strict=True):
            writer.add_encoded_frame(encode_frame(frame))
            writer.add_encoded_flow(encode_flow(flow))
        writer.finish(META)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("codec", "rgb"), [("png", True), ("jpeg", False)])
def test_what_was_written_must_be_what_the_meta_data_says(
    tmp_path: Path,
    frames: NDArray[np.uint8],
    flows: NDArray[np.uint8],
    codec: Codec,
    rgb: bool,
) -> None:
    with StoreWriter(tmp_path / "video.zip") as writer:
        for frame in frames:
            writer.add_frame(frame)
        for flow in flows:
            writer.add_flow(flow)
        with pytest.raises(ValueError, match="not those of"):
            writer.finish(dataclasses.replace(META, codec=codec, rgb=rgb))


def test_images_must_be_of_one_size_and_kind(
    tmp_path: Path, frames: NDArray[np.uint8], flows: NDArray[np.uint8]
) -> None:
    with StoreWriter(tmp_path / "video.zip") as writer:
        writer.add_frame(frames[0])
        for frame in (frames[0, 1:], frames[0, ..., 0], frames[0].astype(np.float32), flows[0]):
            with pytest.raises(ValueError, match="not uint8"):
                writer.add_frame(frame)
        for flow in (flows[0, :, 1:], flows[0].astype(np.float32), frames[0]):
            with pytest.raises(ValueError, match="not uint8"):
                writer.add_flow(flow)


def test_what_is_no_store_file(tmp_path: Path, copy: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    rewrite(copy, lambda members: members.pop("meta.json"))
    for path, word in ((tmp_path / "absent.zip", "not there"), (text, "zip"), (copy, "meta.json")):
        for read in (StoreFile, read_meta):
            with pytest.raises(InputError, match=word):
                read(path)
        (fault,) = verify(path)
        assert word in fault
        assert str(path) in fault


def test_meta_data_alone(copy: Path) -> None:
    assert read_meta(copy) == META
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b"0f0f0f", b"0f0f0e", 1))
    with pytest.raises(InputError, match=r"meta\.json"):
        read_meta(copy)
    copy.write_bytes(content)
    rewrite(copy, lambda members: members.update(first=members.pop("meta.json")))
    with pytest.raises(InputError, match=r"meta\.json"):
        read_meta(copy)


@pytest.mark.parametrize("how", ["reordered", "deflated", "commented"])
def test_meta_data_of_a_file_that_another_tool_wrote(copy: Path, how: str) -> None:
    with zipfile.ZipFile(copy) as file:
        members = {name: file.read(name) for name in sorted(file.namelist())}
    kind = zipfile.ZIP_DEFLATED if how == "deflated" else zipfile.ZIP_STORED
    order = list(members) if how == "reordered" else sorted(members, key="meta.json".__eq__)
    with zipfile.ZipFile(copy, "w", kind) as file:
        for name in order:
            file.writestr(name, members[name])
        file.comment = b"a comment" if how == "commented" else b""
    assert read_meta(copy) == META
    assert verify(copy) == []


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("bend/daria_bend.avi", "bend/daria_bend"),
        ("a.b.avi", "a.b"),
        ("dotted.folder/a.MP4", "dotted.folder/a"),
        ("-x 'y\"\n.avi", "-x 'y\"\n"),
    ],
)
def test_the_id_and_the_file_of_a_video(tmp_path: Path, video: str, expected: str) -> None:
    assert video_id(PurePosixPath(video)) == expected
    path = store_path(tmp_path, expected)
    assert path == tmp_path / f"{expected}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert find_store_files(tmp_path) == {expected: path}


@pytest.mark.parametrize(
    "video", ["/etc/x", "../x", "a/../../x", "a/..", "..", ".", "", "a//b", "./a", "a/", "a/./b"]
)
def test_an_id_never_leads_outside(tmp_path: Path, video: str) -> None:
    with pytest.raises(InputError, match="no id of a video"):
        store_path(tmp_path, video)


def test_store_files_are_found_sorted_and_not_the_hidden_ones(tmp_path: Path) -> None:
    for name in (
        "b.zip",
        "a/z.zip",
        "a/b.c.zip",
        ".b.zip",
        ".x/a.zip",
        "c.txt",
        ".b.zip.partial",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_store_files(tmp_path)) == ["a/b.c", "a/z", "b"]
