"""The videos in a folder: video files, and folders of images."""

import hashlib
import os
import warnings
from pathlib import Path

from flow.errors import InputError, unreadable
from flow.image_folder import IMAGE_SUFFIXES, ImageFolder, is_image, list_images
from flow.store import video_id
from flow.video import SUFFIXES, Video, check_file


def open_video(path: Path, keep_readable: bool = False) -> Video | ImageFolder:
    """The frames of a video file or of a folder of images; the two classes say what is raised."""
    return (ImageFolder if _is_folder(path) else Video)(path, keep_readable)


def find_videos(folder: Path) -> list[Path]:
    """The videos in a folder at every depth, sorted; hidden ones left out.

    A video is a file that ends in one of ``SUFFIXES``, or a folder with images but no other video
    in it, at any depth; the given folder may itself be one. Images beside or above videos (covers,
    figures) are left out with a warning. A folder that cannot be read is returned as if it were a
    video, so that it is not overlooked: opening it says what is wrong.

    Raises:
        InputError: No such folder, one that cannot be read, or no videos in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder that holds the videos.")
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); make it readable."
        ) from error
    ignored: list[Path] = []
    found = sorted(_walk(folder, frozenset(), ignored))
    if not found:
        raise InputError(
            f"{folder} has no videos; give a folder with files that end in one of "
            f"{' '.join(sorted(SUFFIXES))}, or with folders of images "
            f"({' '.join(sorted(IMAGE_SUFFIXES))})."
        )
    if ignored:
        others = f" and {len(ignored) - 1} more folders" if len(ignored) > 1 else ""
        warnings.warn(
            f"The images in {ignored[0]}{others} are left out, since videos lie beside or below "
            "them; if they are a video, give them a folder of their own.",
            stacklevel=2,
        )
    return found


def _walk(folder: Path, above: frozenset[tuple[int, int]], ignored: list[Path]) -> list[Path]:
    """The videos in a folder; the folders whose images are left out are added to ``ignored``."""
    try:
        status = folder.stat()
        entries = [(path, path.is_dir()) for path in folder.iterdir()]
    except OSError:
        return [folder]
    identity = status.st_dev, status.st_ino
    if identity in above:  # a link back to a folder on the way here
        return []
    found = []
    for path, is_folder in entries:
        if path.name.startswith("."):
            continue
        if is_folder:
            found += _walk(path, above | {identity}, ignored)
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
    if any(is_image(path) for path, is_folder in entries if not is_folder):
        if not found:
            return [folder]
        ignored.append(folder)
    return found


def take_shard(found: list[Path], shard: str) -> list[Path]:
    """Every N-th of the videos from the K-th on, for a shard "K/N" with K from 1 to N.

    The shards of one folder hold each video once.
    """
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"The shard is {shard!r}; give for example 3/8, the third of eight.")
    return found[int(number) - 1 :: int(count)]


def source_id(path: Path, videos: Path) -> str:
    """The id in a store of a video that ``find_videos(videos)`` has found.

    It is the path inside the folder, without its last suffix if it is a file; for the folder itself
    its name.
    """
    inside = path.relative_to(videos)
    if inside == Path():
        return _name(path)
    return inside.as_posix() if _is_folder(path) else video_id(inside)


def source_bytes(path: Path) -> int:
    """The size of a video file, or of the images in a folder together; 0 where it is not known."""
    try:
        files = list_images(path) if _is_folder(path) else [path]
        return sum(file.stat().st_size for file in files)
    except (InputError, OSError):
        return 0


def origin(path: Path) -> tuple[str, int, str]:
    """What tells a video from any other: its name, its size in bytes, and its SHA-256 in hex.

    The hash of a folder is that of this, for each of its images in order: the length of the name in
    UTF-8, the name, the length of the content, the content. Lengths are of 8 bytes, big-endian.

    Raises:
        InputError: It cannot be read, or is empty.
    """
    if _is_folder(path):
        return _folder_origin(path)
    check_file(path, keep_readable=True)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return path.name, file.tell(), digest
    except OSError as error:
        raise unreadable(path, error) from error


def _folder_origin(folder: Path) -> tuple[str, int, str]:
    size, digest = 0, hashlib.sha256()
    for path in list_images(folder):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
        for part in (path.name.encode(), content):
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        size += len(content)
    return _name(folder), size, digest.hexdigest()


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where a folder above is closed


def _name(folder: Path) -> str:
    """The name of a folder, however it was given (as "." for example)."""
    return os.path.basename(os.path.abspath(folder))  # noqa: PTH100, PTH119 - links stay
