"""Small videos, stores and images that several test modules read."""

import shutil
from pathlib import Path

import pytest

from extraction import in_this_process, run, write_video
from flow import engines
from flow.extract import Summary
from layout_files import export
from store_files import write_store


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sound videos that no test may change."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "long.avi", count=36, seed=1)
    write_video(folder / "bend" / "daria.bend.mp4", seed=2, codec="mpeg4")
    write_video(folder / "bend" / "SHOUTED.AVI", count=2, seed=3)
    return folder


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> tuple[Path, Summary]:
    """The store of ``videos``, which no test may change."""
    store = tmp_path_factory.mktemp("stored") / "new" / "store"
    return store, run(videos, store, workers=2)


@pytest.fixture
def copy(stored: tuple[Path, Summary], tmp_path: Path) -> Path:
    """A store of ``videos`` to be changed."""
    return Path(shutil.copytree(stored[0], tmp_path / "store"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three videos that no test may change."""
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def exported(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``store`` in the layout tsn, as another tool would have written it; no test may change it."""
    folder = tmp_path_factory.mktemp("tsn")
    export(store, folder, "tsn")
    for note in folder.rglob("flow.json"):
        note.unlink()
    return folder


@pytest.fixture
def images(exported: Path, tmp_path: Path) -> Path:
    """Images in the layout tsn to be changed."""
    return Path(shutil.copytree(exported, tmp_path / "images"))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done without other processes, where these are not what is tested."""
    monkeypatch.setattr(engines, "run", in_this_process)
