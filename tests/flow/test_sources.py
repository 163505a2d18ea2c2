"""Which videos a folder holds, and what names them. Kinds: known answer, property."""

import hashlib
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from flow.errors import InputError
from flow.image_folder import ImageFolder
from flow.sources import find_videos, open_video, origin, source_bytes, source_id, take_shard
from flow.video import Video
from video_files import write


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_videos(folder)]


def test_files_and_folders_of_images_are_videos(tmp_path: Path) -> None:
    touch(tmp_path, "b.avi", "a/deep/er/c.MkV", "a/e.txt", "f.zip", "g/notes.txt")
    touch(tmp_path, "a/frames/1.jpg", "a/frames/2.jpg", "rgb/x.1/img_1.PNG", "rgb/x.1/times.txt")
    assert found(tmp_path) == ["a/deep/er/c.MkV", "a/frames", "b.avi", "rgb/x.1"]


def test_hidden_ones_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.avi", ".hidden.avi", ".folder/d.avi", ".frames/1.jpg", "b/.cover.jpg")
    assert found(tmp_path) == ["a.avi"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "a/deep/c.avi", "a/frames/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "frames" / "loop").symlink_to(tmp_path / "a" / "frames")
    (tmp_path / "itself.avi").symlink_to(tmp_path / "itself.avi")
    (tmp_path / "nowhere.avi").symlink_to(tmp_path / "absent")
    (tmp_path / "alias").symlink_to(tmp_path / "a" / "deep")
    (tmp_path / "frames").symlink_to(tmp_path / "a" / "frames")
    expected = ["a/deep/c.avi", "a/frames", "alias/c.avi", "frames", "itself.avi", "nowhere.avi"]
    assert found(tmp_path) == expected


@pytest.mark.parametrize(
    ("names", "videos", "left_out"),
    [
        (["v.avi", "v.jpg"], ["v.avi"], "The images in {} are"),
        (["figure.png", "Run/v.avi"], ["Run/v.avi"], "The images in {} are"),
        (["figure.png", "Run/v/1.jpg"], ["Run/v"], "The images in {} are"),
        (["1.jpg", "a/v.avi", "a/1.jpg", "b/w.avi", "b/x.png"], ["a/v.avi", "b/w.avi"], "more"),
    ],
)
def test_images_beside_or_above_videos_are_left_out_with_a_warning(
    tmp_path: Path, names: list[str], videos: list[str], left_out: str
) -> None:
    touch(tmp_path, *names)
    with pytest.warns(UserWarning, match="left out") as caught:
        assert found(tmp_path) == videos
    assert len(caught) == 1
    assert left_out.format(tmp_path) in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if (tmp_path / "Run").is_dir():
            find_videos(tmp_path / "Run")


def test_the_folder_may_be_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my.clip"
    touch(folder, "1.jpg", "2.jpg")
    assert find_videos(folder) == [folder]
    assert source_id(folder, folder) == "my.clip"
    monkeypatch.chdir(folder)
    assert find_videos(Path()) == [Path()]
    assert source_id(Path(), Path()) == "my.clip"
    assert origin(Path())[0] == "my.clip"
    (tmp_path / "link").symlink_to(folder)
    assert source_id(tmp_path / "link", tmp_path / "link") == "link"


def test_a_folder_without_videos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no videos.*\.avi.*\.png"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        find_videos(tmp_path / "absent")


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.avi", "closed/b.avi")
    iterdir = Path.iterdir

    def refuse(folder: Path) -> object:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert found(tmp_path) == ["a.avi", "closed"]
    closed = tmp_path / "closed"
    assert source_id(closed, tmp_path) == "closed"
    assert source_bytes(closed) == 0
    for look in (open_video, origin):
        with pytest.raises(InputError, match="closed cannot be read: Permission denied"):
            look(closed)
    with pytest.raises(InputError, match="closed cannot be read"):
        find_videos(closed)


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("a.avi", "a"),
        ("x/y z/a.b.mp4", "x/y z/a.b"),
        ("-x.MOV", "-x"),
        ("x/a.b/1.jpg", "x/a.b"),
        ("a.avi/1.jpg", "a.avi"),
    ],
)
def test_a_suffix_is_cut_from_files_alone(tmp_path: Path, name: str, video: str) -> None:
    touch(tmp_path, name)
    (path,) = find_videos(tmp_path)
    assert source_id(path, tmp_path) == video


def test_size_and_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert origin(path) == ("a.avi", 3, digest)
    assert source_bytes(path) == 3


def test_size_and_hash_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "frames.1"
    touch(folder, "10.jpg", "9.jpg", "times.txt", ".hidden.jpg", "further/1.jpg")
    expected = b"".join(
        part
        for name in (b"9.jpg", b"10.jpg")  # the content is the name, too
        for part in 2 * (len(name).to_bytes(8, "big"), name)
    )
    assert origin(folder) == ("frames.1", 11, hashlib.sha256(expected).hexdigest())
    assert source_bytes(folder) == 11


def test_no_two_folders_have_one_hash(tmp_path: Path) -> None:
    """Also where the same bytes are parted otherwise between names and contents."""
    contents = [
        {"1.jpg": b"ab", "2.jpg": b"c"},
        {"1.jpg": b"a", "2.jpg": b"bc"},
        {"1.jpg": b"abc", "2.jpg": b""},
        {"1.jpg": b"ab2.jpgc"},
        {"01.jpg": b"ab", "2.jpg": b"c"},
        {"1.jpg": b"c", "2.jpg": b"ab"},
    ]
    hashes = set()
    for number, images in enumerate(contents):
        folder = tmp_path / str(number) / "clip"
        folder.mkdir(parents=True)
        for name, content in images.items():
            (folder / name).write_bytes(content)
        hashes.add(origin(folder)[2])
    assert len(hashes) == len(contents)
    other = tmp_path / "elsewhere" / "clip"
    other.parent.mkdir()
    os.rename(tmp_path / "0" / "clip", other)  # noqa: PTH104
    assert origin(other)[2] in hashes


def test_what_has_no_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.avi"
    with pytest.raises(InputError, match="not a file"):
        origin(path)
    assert source_bytes(path) == 0
    path.touch()
    with pytest.raises(InputError, match="empty"):
        origin(path)
    touch(tmp_path, "frames/1.jpg")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"1\.jpg cannot be read: Permission denied"):
        origin(tmp_path / "frames")


def test_a_video_that_is_cut_short_has_an_origin(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(b"RIFF\xff\0\0\0AVI LIST")
    assert origin(path)[1] == 16


def test_either_is_opened(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    write(tmp_path / "video.avi", frames, "ffv1")
    opened = [open_video(path) for path in find_videos(tmp_path)]
    assert [type(video) for video in opened] == [ImageFolder, Video]
    for video in opened:
        assert video.size == (16, 24)
        assert np.array_equal(np.stack(list(video)), frames)
    (folder / "1.png").unlink()
    kept = open_video(folder, keep_readable=True)
    assert len(list(kept)) == 1
    assert kept.damage == "lacks 1.png"


def test_shards_hold_each_video_once() -> None:
    videos = [Path(f"{number}.avi") for number in range(10)]
    for count in (1, 3, 10, 12):
        shards = [take_shard(videos, f"{k}/{count}") for k in range(1, count + 1)]
        assert sorted(video for part in shards for video in part) == sorted(videos)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/3"):
        with pytest.raises(InputError, match="shard"):
            take_shard(videos, wrong)


def test_which_videos_are_found(tmp_path: Path) -> None:
    for name in ("b.avi", "a/deep/er/c.MkV", ".hidden.avi", ".folder/d.avi", "e.txt", "f.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.avi").symlink_to(tmp_path / "itself.avi")
    (tmp_path / "alias").symlink_to(tmp_path / "a" / "deep")
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["a/deep/er/c.MkV", "alias/er/c.MkV", "b.avi", "itself.avi"]
