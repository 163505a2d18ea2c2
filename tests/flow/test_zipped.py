"""Members of a plain zip file. Kinds: oracle (zipfile), property (any damage), refusals."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from flow.zipped import Members

REFUSED = "not there|no plain|is damaged|is cut short"


def write(path: Path, count: int = 300, longest: int = 200) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    members = {f"img_{k:05d}.jpg": rng.bytes(int(rng.integers(0, longest))) for k in range(count)}
    members["meta.json"] = b"{}"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return members


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_each_member_is_read(tmp_path: Path, count: int) -> None:
    members = write(tmp_path / "a.zip", count)
    file = Members(tmp_path / "a.zip")
    for name in reversed(members):
        assert file.read(name) == members[name]
    for name in ("img_99999.jpg", "mg_00000.jpg", "img_00000.jp", "", "x" * 70000):
        with pytest.raises(ValueError, match=REFUSED):
            file.read(name)
    file.close()


def test_of_two_of_a_name_the_last_counts_as_for_zipfile(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(zipfile.ZipInfo("name"), b"first")
        for content in (b"second", b"third"):
            with pytest.warns(UserWarning, match="Duplicate name"):
                file.writestr(zipfile.ZipInfo("name"), content)
    assert zipfile.ZipFile(tmp_path / "a.zip").read("name") == b"third"
    members = Members(tmp_path / "a.zip")
    assert members.read("name") == b"third"
    members.close()


def test_what_zipfile_reads_otherwise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, 3)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"a comment"
    with pytest.raises(ValueError, match="no plain zip file"):
        Members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("name", b"0" * 1000)
    members = Members(path)
    with pytest.raises(ValueError, match="no plain entry"):
        members.read("name")
    members.close()
    path.write_bytes(b"no zip file, but long enough")
    with pytest.raises(ValueError, match="no plain zip file"):
        Members(path)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match=REFUSED):
        Members(path)
    with pytest.raises(FileNotFoundError):
        Members(tmp_path / "absent.zip")


def test_no_flipped_byte_gives_other_content(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    members = write(path, 9, longest=40)  # their directory is longer than what is read at once
    content = path.read_bytes()
    seen = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            file = Members(path)
        except ValueError:
            seen += 1
            continue
        for name, expected in members.items():
            try:
                assert file.read(name) == expected
            except ValueError:
                seen += 1
        file.close()
    assert seen > len(content) / 2


def test_no_cut_file_gives_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, 5)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=REFUSED):
            Members(path)
