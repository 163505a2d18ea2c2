"""Store against videos: known answers on what store files and videos say of themselves."""

from dataclasses import replace
from pathlib import Path

import pytest

from flow.errors import InputError
from flow.meta import IMPORTED, Meta
from store_files import META, VIDEOS, rewrite, write_store
from twostream.doctor.store import Stored, compare, read_store, summary
from twostream.doctor.videos import Examined

VIDEO = Examined(
    "a",
    "a.avi",
    Path("videos/daria bend.avi"),
    bytes=META.source_bytes,
    sha256=META.source_sha256,
    height=META.height,
    width=META.width,
    fps=25.0,
    frames=META.frames,
)


def found(meta: Meta | None, video: Examined = VIDEO, store: Path = Path("store")) -> list[str]:
    stored = Stored({"a": meta} if meta else {}, {})
    return [
        f"{finding.severity} {finding.check}: {finding.cases[0]}"
        for finding in compare(store, stored, [video], {"a"})
    ]


@pytest.mark.parametrize(
    ("meta", "video", "expected"),
    [
        (META, VIDEO, []),
        (META, replace(VIDEO, sha256="", frames=None), []),
        (META, replace(VIDEO, frames=6), ["fault store frames: a.avi: has 5 frames, the video 6"]),
        (META, replace(VIDEO, frames=4), ["fault store frames: a.avi: has 5 frames, the video 4"]),
        (replace(META, step=2), replace(VIDEO, frames=9), []),
        (replace(META, step=2), replace(VIDEO, frames=10), []),
        (
            *(replace(META, step=2), replace(VIDEO, frames=11)),
            ["fault store frames: a.avi: has 5 frames, the video 6"],
        ),
        (
            *(replace(META, short_side=12), VIDEO),
            ["fault store frames: a.avi: has 33 x 24 pixels, the video 16 x 12"],
        ),
        (replace(META, short_side=24), replace(VIDEO, height=48, width=66), []),
        (
            *(META, replace(VIDEO, height=33, width=24)),
            ["fault store frames: a.avi: has 33 x 24 pixels, the video 24 x 33"],
        ),
        (
            *(META, replace(VIDEO, bytes=5)),
            ["fault store stale: a.avi: is of a file of 1,234 bytes, not of 5"],
        ),
        (
            *(META, replace(VIDEO, sha256="1" * 64, frames=9)),
            ["fault store stale: a.avi: is of a file of another hash"],
        ),
        (
            *(META, replace(VIDEO, path=Path("a.mp4"))),
            ["fault store stale: a.avi: is of daria bend.avi"],
        ),
        (
            *(replace(META, damage="is cut short"), replace(VIDEO, frames=None)),
            ["note store partial: a.avi: is cut short"],
        ),
        (
            replace(META, solver=IMPORTED, params={}, decoder=IMPORTED),
            replace(VIDEO, bytes=5, sha256="", height=99),
            [],
        ),
        (
            replace(META, solver=IMPORTED, params={}, decoder=IMPORTED),
            replace(VIDEO, frames=6),
            ["fault store frames: a.avi: has 5 frames, the video 6"],
        ),
    ],
)
def test_one_store_file_and_its_video(meta: Meta, video: Examined, expected: list[str]) -> None:
    assert found(meta, video) == expected


def test_a_video_that_could_not_be_stored_says_why(tmp_path: Path) -> None:
    assert found(None) == ["fault store missing: a.avi"]
    (tmp_path / "failures.csv").write_text('"video","reason"\n"a.avi","is cut short."\n')
    assert found(None, store=tmp_path) == ["fault store missing: a.avi: is cut short."]
    assert list(compare(tmp_path, Stored({}, {}), [VIDEO], set())) == []


def test_store_files_that_were_made_otherwise_than_most() -> None:
    params = META.params | {"warps": 7}
    metas = {str(number): META for number in range(3)}
    metas |= {"x": replace(META, bound=15.0, quality=90), "y": replace(META, params=params)}
    (orphans, settings) = compare(Path("store"), Stored(metas, {}), [], set())
    assert orphans.check == "store orphans"
    assert settings.check == "store settings"
    assert settings.message.startswith("2 store files made with other settings")
    x, y = settings.cases
    assert str(x) == "x: bound 15.0, not 20.0; quality 90, not 95"
    assert str(y) == f"y: warps 7, not {META.params['warps']}"


def test_a_store_is_read(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", codec="png", rgb=False)
    damaged = store / f"{VIDEOS[2]}.zip"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    rewrite(store / f"{VIDEOS[1]}.zip", lambda members: members.pop("flow_00002.png"))
    stored = read_store(store, workers=1, progress=False)
    assert stored.metas.keys() == {VIDEOS[0]}
    assert stored.faults.keys() == set(VIDEOS[1:])
    assert "has 4 members, not 5" in stored.faults[VIDEOS[1]]
    assert "no whole zip file" in stored.faults[VIDEOS[2]]
    assert summary(store, stored).startswith(
        f"{store}: 1 store file, flow alone: tvl1 (opencv), bound 20, symmetric, step 1 ("
    )
    with pytest.raises(InputError, match="is no folder"):
        read_store(tmp_path / "nowhere", workers=1, progress=False)
    (tmp_path / "empty").mkdir()
    empty = read_store(tmp_path / "empty", workers=1, progress=False)
    assert summary(tmp_path / "empty", empty).startswith(f"{tmp_path / 'empty'}: no store files (")
