"""Export and import of small stores, and what lies in their folders."""

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.layouts import Layout, Summary, export_store
from flow.layouts_import import import_folder
from flow.store import find_store_files


def export(store: Path, folder: Path, layout: Layout, **arguments: Any) -> Summary:
    return export_store(store, folder, layout, workers=1, progress=False, **arguments)


def take(folder: Path, store: Path, layout: Layout = "tsn", **arguments: Any) -> Summary:
    return import_folder(folder, store, layout, workers=1, progress=False, **arguments)


def take_tsn(folder: Path, store: Path, **arguments: Any) -> Summary:
    return take(folder, store, encoding="symmetric", bound=20.0, **arguments)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def contents(store: Path) -> dict[str, dict[str, bytes]]:
    """The members of each store file by the id of its video."""
    return {video: members(path) for video, path in find_store_files(store).items()}


def jpegs(store: Path) -> dict[str, dict[str, bytes]]:
    """The same without the meta data."""
    return {
        video: {name: content for name, content in found.items() if name != "meta.json"}
        for video, found in contents(store).items()
    }


def tree(folder: Path) -> dict[str, bytes]:
    """Every file in a folder by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def jpeg(image: NDArray[np.uint8], quality: int = 95) -> bytes:
    content: bytes = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return content
