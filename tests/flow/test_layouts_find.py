"""Which videos a folder of images holds. Kind: round trip (names of other tools, links)."""

from pathlib import Path

import pytest

from layout_files import contents, export, jpegs, take, take_tsn

pytestmark = pytest.mark.usefixtures("in_process")


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
