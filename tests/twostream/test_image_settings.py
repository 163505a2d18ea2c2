"""Round trip: how a store was made is how images of a new video are made. Refusals."""

from dataclasses import replace
from pathlib import Path

import pytest

import extraction
from flow.errors import InputError
from flow.settings import Settings
from flow.store import find_store_files, read_meta
from flow.tvl1 import TVL1Params
from twostream.experiments import demo
from twostream.image_settings import describe, images_of, is_imported, settings_of
from twostream.runs import Checkpoint, Data, Run

MADE = [
    Settings(bound=7.5, encoding="dense_flow", short_side=20, step=2),
    replace(extraction.QUICK, solver="cpu"),
    extraction.QUICK,
    Settings(algorithm="farneback", codec="png", rgb=False),
]


def checkpoint(
    store: Path, images: dict[str, object] | None, videos: tuple[str, ...]
) -> Checkpoint:
    run = Run(demo(), Data(store / "list.csv", store), "flow")
    return Checkpoint(run, "csv", ("a",), videos, (), "", 0, {}, {}, images)


@pytest.mark.parametrize("settings", MADE, ids=str)
def test_a_store_tells_how_it_was_made(settings: Settings, tmp_path: Path) -> None:
    extraction.write_video(tmp_path / "videos" / "a" / "v.avi")
    extraction.run(tmp_path / "videos", tmp_path / "store", settings)
    told = settings_of(describe(tmp_path / "store", "a/v"))
    for name in ("bound", "encoding", "short_side", "step", "algorithm", "params"):
        assert getattr(told, name) == getattr(settings, name)
    # Whoever has another machine than the one that extracted must be able to predict.
    assert told.solver == (
        "auto" if settings.solver in ("auto", "cpu") and settings.algorithm == "tvl1" else "opencv"
    )


def test_a_folder_of_videos_has_the_default_settings(tmp_path: Path) -> None:
    extraction.write_video(tmp_path / "a" / "v.avi")
    assert settings_of(describe(tmp_path, "a/v")) == Settings()


def test_another_short_side_replaces_that_of_the_store(tmp_path: Path) -> None:
    extraction.write_video(tmp_path / "v.avi")
    told = describe(tmp_path, "v")
    assert settings_of(told, 12).short_side == 12
    with pytest.raises(InputError, match="short side is 0"):
        settings_of(told, 0)


def test_a_checkpoint_tells_it_without_its_store(tmp_path: Path) -> None:
    images = describe(extraction.write_video(tmp_path / "v.avi").parent, "v") | {"bound": 4.0}
    path = tmp_path / "checkpoint.pt"
    checkpoint(tmp_path / "gone", images, ("v",)).save(path)
    assert settings_of(images_of(Checkpoint.load(path), path)).bound == 4.0


def test_an_older_checkpoint_is_told_by_its_store(tmp_path: Path) -> None:
    extraction.write_video(tmp_path / "videos" / "v.avi")
    extraction.run(tmp_path / "videos", tmp_path / "store", replace(extraction.QUICK, bound=6.0))
    path = tmp_path / "checkpoint.pt"
    old = checkpoint(tmp_path / "store", None, ("not there", "v"))
    assert settings_of(images_of(old, path)).bound == 6.0
    of_videos = checkpoint(tmp_path / "videos", None, ("v",))
    assert settings_of(images_of(of_videos, path)) == Settings()
    gone = checkpoint(tmp_path / "gone", None, ("v",))
    with pytest.raises(InputError, match=r"checkpoint\.pt does not tell .*gone is there.*put that"):
        images_of(gone, path)


def test_a_checkpoint_of_an_older_version_loads(tmp_path: Path) -> None:
    """It lacks the field."""
    import torch

    path = tmp_path / "checkpoint.pt"
    checkpoint(tmp_path, None, ("v",)).save(path)
    values = torch.load(path, weights_only=True)
    del values["images"]
    torch.save(values, path)
    assert Checkpoint.load(path).images is None


def test_imported_flow_stands_for_default_tvl1(tmp_path: Path) -> None:
    extraction.write_video(tmp_path / "videos" / "v.avi")
    extraction.run(tmp_path / "videos", tmp_path / "store")
    (file,) = find_store_files(tmp_path / "store").values()
    made = describe(tmp_path / "store", "v")
    assert made["params"] == read_meta(file).params
    assert not is_imported(made)
    imported = made | {"solver": "imported", "params": {}}
    assert is_imported(imported)
    assert settings_of(imported).params == TVL1Params()
    assert settings_of(imported).solver == "auto"
