"""Folders of images. Kinds: round trip, known answer (names, turned images, damaged ones)."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.errors import InputError
from flow.image_folder import IMAGE_SUFFIXES, ImageFolder, list_images

HEIGHT, WIDTH = 20, 28
Images = NDArray[np.uint8]


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH) -> Images:
    """Frames (count, H, W, 3) RGB, each of one random colour on noise."""
    random = np.random.default_rng(0)
    colours = random.integers(40, 216, (count, 1, 1, 3))
    return (colours + random.integers(-9, 10, (count, height, width, 3))).astype(np.uint8)


def write(path: Path, image: Images | NDArray[np.uint16]) -> Path:
    """Write an image, RGB or grey or with alpha, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = [2, 1, 0, 3][: image.shape[-1]] if image.ndim == 3 else slice(None)
    content = cv2.imencode(path.suffix.lower(), image[..., order])[1].tobytes()
    path.write_bytes(content)
    return path


def write_all(folder: Path, names: list[str]) -> Images:
    frames = pictures(len(names))
    for name, frame in zip(names, frames, strict=True):
        write(folder / name, frame)
    return frames


def read(path: Path) -> Images:
    return np.stack(list(ImageFolder(path)))


def reason(path: Path) -> str:
    """Why a folder is refused: one sentence that names it."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert ";" in message
    return message


@pytest.mark.parametrize("suffix", [".png", ".BMP", ".tif", ".tiff", ".Ppm"])
def test_images_are_frames(tmp_path: Path, suffix: str) -> None:
    frames = write_all(tmp_path, [f"img_{k:05d}{suffix}" for k in range(1, 5)])
    folder = ImageFolder(tmp_path)
    assert folder.path == tmp_path
    assert folder.size == (HEIGHT, WIDTH)
    assert folder.fps == 0.0
    assert folder.decoder == f"opencv {cv2.__version__}"
    assert folder.damage is None
    decoded = list(folder)
    assert all(image.dtype == np.uint8 and image.flags.c_contiguous for image in decoded)
    assert np.array_equal(np.stack(decoded), frames)
    assert np.array_equal(np.stack(list(folder)), frames)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_images_with_loss(tmp_path: Path, suffix: str) -> None:
    frames = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), HEIGHT * WIDTH * 3)
    frames = frames.reshape(5, HEIGHT, WIDTH, 3)
    for k, frame in enumerate(frames):
        write(tmp_path / f"{k}{suffix}", frame)
    assert np.abs(read(tmp_path).astype(int) - frames).max() <= 2


def test_every_suffix_is_read(tmp_path: Path) -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)
    for suffix in IMAGE_SUFFIXES:
        image = pictures(1)[0, ..., 0] if suffix == ".pgm" else pictures(1)[0]
        write(tmp_path / suffix[1:] / f"0{suffix}", image)
        assert read(tmp_path / suffix[1:]).shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "names",
    [
        ["f0.png", "f1.png", "f2.png"],
        ["img_00009.png", "img_00010.png"],
        ["img_99999.png", "img_100000.png"],
        ["v_Run_g01_c02_007.png", "v_Run_g01_c02_008.png"],
        ["0001_left.png", "0002_left.png", "0003_left.png"],
        ["a1b2.png", "a1b3.png"],
        ["clip 2 (1).png", "clip 2 (2).png"],
        ["1.bmp", "2.png"],
        ["apple.png", "bear.png", "cat.png"],
        ["only.png"],
        ["7.png"],
    ],
)
def test_frames_follow_their_numbers(tmp_path: Path, names: list[str]) -> None:
    frames = write_all(tmp_path, names)
    assert [path.name for path in list_images(tmp_path)] == names
    assert np.array_equal(read(tmp_path), frames)


def test_nine_comes_before_ten(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(1, 13)]
    frames = write_all(tmp_path, names)
    assert [path.name for path in list_images(tmp_path)] == names
    assert np.array_equal(read(tmp_path), frames)


def test_hidden_and_other_files_do_not_matter(tmp_path: Path) -> None:
    frames = write_all(tmp_path, ["1.png", "2.png"])
    write_all(tmp_path, ["._1.png", ".cover7.png"])
    (tmp_path / "times.txt").write_text("0 1")
    (tmp_path / "3.png").mkdir()
    assert np.array_equal(read(tmp_path), frames)


@pytest.mark.parametrize(
    ("names", "missing", "count"),
    [
        ([1, 2, 3, 4, 6, 7], "lacks img_00005.png", 4),
        ([1, 3, 8], "lacks img_00002.png and 4 more images", 1),
        ([8, 9, 11], "lacks img_00010.png", 2),
    ],
)
def test_a_number_that_is_left_out(
    tmp_path: Path, names: list[int], missing: str, count: int
) -> None:
    frames = write_all(tmp_path, [f"img_{k:05d}.png" for k in names])
    assert f"{tmp_path} {missing};" in reason(tmp_path)
    folder = ImageFolder(tmp_path, keep_readable=True)
    assert np.array_equal(np.stack(list(folder)), frames[:count])
    assert folder.damage == missing


def test_a_number_without_zeros_that_is_left_out(tmp_path: Path) -> None:
    write_all(tmp_path, ["8.png", "9.png", "11.png"])
    assert "lacks 10.png;" in reason(tmp_path)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["img_1.png", "img_2.png", "flow_x_1.png", "flow_y_1.png"], "flow_x_#, flow_y_#, img_#"),
        (["cam1_1.png", "cam1_2.png", "cam2_1.png", "cam2_2.png"], "cam1_#, cam2_#"),
        (["1.png", "2.png", "cover.png"], "#, cover"),
        (["a1.png", "b1.png", "c1.png", "d1.png"], "4 series of images (a#, b#, c#, ...)"),
    ],
)
def test_several_series_are_refused(tmp_path: Path, names: list[str], shown: str) -> None:
    write_all(tmp_path, names)
    assert shown in reason(tmp_path)
    assert "python -m flow import" in reason(tmp_path)
    with pytest.raises(InputError, match="series"):
        ImageFolder(tmp_path, keep_readable=True)


@pytest.mark.parametrize("names", [["1.png", "01.png"], ["1.bmp", "1.png", "2.png"]])
def test_two_images_for_one_frame(tmp_path: Path, names: list[str]) -> None:
    write_all(tmp_path, names)
    assert "for one frame" in reason(tmp_path)


def test_images_of_several_sizes(tmp_path: Path) -> None:
    write_all(tmp_path, ["1.png", "2.png"])
    write(tmp_path / "3.png", pictures(1, 8, 9)[0])
    for keep_readable in (False, True):
        folder = ImageFolder(tmp_path, keep_readable)
        with pytest.raises(InputError) as caught:
            list(folder)
        assert str(caught.value).startswith(f"{tmp_path / '3.png'} has 9 x 8 pixels and 1.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_image(tmp_path: Path, suffix: str, damage: str) -> None:
    write_all(tmp_path, [f"{k}{suffix}" for k in range(4)])
    frames = read(tmp_path)
    path = tmp_path / f"2{suffix}"
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[: len(content) * 3 // 4], "text": b"text", "empty": b""}[damage]
    )
    assert f"has a damaged image, 2{suffix};" in reason(tmp_path)
    folder = ImageFolder(tmp_path, keep_readable=True)
    assert np.array_equal(np.stack(list(folder)), frames[:2])
    assert folder.damage == f"has a damaged image, 2{suffix}"
    (tmp_path / f"0{suffix}").write_bytes(b"text")
    with pytest.raises(InputError, match="has a damaged image, 0"):
        ImageFolder(tmp_path, keep_readable=True)


def test_damage_in_front_of_a_gap(tmp_path: Path) -> None:
    write_all(tmp_path, ["1.png", "2.png", "4.png"])
    (tmp_path / "2.png").write_bytes(b"text")
    folder = ImageFolder(tmp_path, keep_readable=True)
    assert folder.damage == "lacks 3.png"
    assert len(list(folder)) == 1
    assert folder.damage == "has a damaged image, 2.png"
    next(iter(folder))
    assert folder.damage == "lacks 3.png"


def test_a_header_that_states_a_huge_size(tmp_path: Path) -> None:
    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    header = chunk(b"IHDR", struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0))
    content = (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    (tmp_path / "1.png").write_bytes(content)
    assert "damaged image, 1.png" in reason(tmp_path)


def test_grey_alpha_and_16_bits_become_rgb(tmp_path: Path) -> None:
    frame = pictures(1)[0]
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    write(tmp_path / "1.png", frame)
    write(tmp_path / "2.png", np.dstack([frame, alpha]))
    write(tmp_path / "3.png", frame.astype(np.uint16) * 257)
    write(tmp_path / "4.tif", frame.astype(np.uint16) * 257)
    write(tmp_path / "5.pgm", frame[..., 1])
    write(tmp_path / "6.png", frame[..., 1].astype(np.uint16) * 257)
    decoded = read(tmp_path)
    assert np.array_equal(decoded[:4], np.stack([frame] * 4))
    assert np.array_equal(decoded[4:], np.stack([frame[..., [1, 1, 1]]] * 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_data_ask(tmp_path: Path, orientation: int) -> None:
    """Exif 2.32, 4.6.4 A: what the row 0 and the column 0 of the stored image show."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48] = 200  # in the corner of row 0 and column 0
    content = cv2.imencode(".jpg", image)[1].tobytes()
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "1.jpg").write_bytes(content[:2] + marker + content[2:])
    shown = read(tmp_path)[0, ..., 0]
    bottom = {3, 4, 7, 8}  # where that corner is shown
    right = {2, 3, 6, 7}
    assert shown.shape == ((64, 96) if orientation <= 4 else (96, 64))
    row = -16 if orientation in bottom else 16
    column = -16 if orientation in right else 16
    assert shown[row, column] > 190
    assert (shown > 100).mean() == pytest.approx(0.25, abs=0.02)


def test_what_is_no_folder_of_images(tmp_path: Path) -> None:
    assert "no images" in reason(tmp_path)
    assert "cannot be read" in reason(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "cannot be read" in reason(tmp_path / "file")
    folder = tmp_path / "named"
    write(folder / "1.png", pictures(1)[0]).rename(folder / os.fsdecode(b"caf\xe9.png"))
    assert "not UTF-8" in reason(folder)


def test_an_image_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path, ["1.png", "2.png"])
    folder = ImageFolder(tmp_path, keep_readable=True)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"2\.png cannot be read: Permission denied;"):
        list(folder)


@pytest.mark.parametrize(
    "name", ["a b", "-x", "a'b\"c", "new\nline", "日本é", "%05d", "a.b", "x:y"]
)
def test_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = write_all(tmp_path / name, [f"{name}1.png", f"{name}2.png"])
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read(Path(name)), frames)
