"""Pictures of flow: a contact sheet, or a video of the frames beside their flow."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from flow.errors import InputError
from flow.files import atomic
from flow.moments import ComputedMoments, Moment, Source, StoredMoments
from flow.progress import progress_bar
from flow.sheet import sheet
from flow.side_by_side import FORMATS, check_codec, side_by_side, write_video
from flow.store import StoreFile, find_store_files

ROWS = 6
"""How many rows a sheet has where nothing else is said."""

_SAMPLE = 32  # moments of a video that the scale of its colours is taken from
_VECTORS = 100_000  # of each moment that count for the scale


def show(
    source: Path,
    out: Path,
    *,
    rows: int | None = None,
    frame: int | None = None,
    progress: bool = True,
) -> float:
    """Show flow as a contact sheet (.png), or as a video (.mp4, .mov or .mkv).

    A moment is shown as its frame, its flow in colour, and the images of x and y as they are
    stored. A video has all of them, a sheet some that are spread evenly over the video; the sheet
    of a store has one moment, from the middle, of each of some videos.

    Args:
        source: A store file (.zip); a video, whose flow is computed; for a sheet also a store.
        out: The file to write, whole or not at all.
        rows: How many the sheet has at most; ``ROWS`` where not given.
        frame: The number of the only frame that the sheet shall show; the first one is 1.
        progress: Whether to show on stderr how far the work is.

    Returns:
        The motion in pixels that has the full colour, as ``full_colour`` says.

    Raises:
        InputError: A source that cannot be read or has no such frame, a file that cannot be
            written, or options that do not go together.
    """
    _check_out(source, out)
    is_store = source.is_dir() and bool(find_store_files(source))
    if out.suffix.lower() in FORMATS:
        if rows is not None or frame is not None:
            raise InputError(f"{out} is a video, which shows all frames; leave rows and frame out.")
        if is_store:
            raise InputError(f"{source} is a store; give one of its files to make a video of.")
        return _show_video(source, out, progress)
    if frame is not None and (rows is not None or is_store):
        raise InputError("A frame is shown alone, of one video; give no rows, and no store.")
    if rows is not None and rows < 1:
        raise InputError(f"The number of rows is {rows}; give 1 or more.")
    if is_store:
        return _show_store(source, out, rows or ROWS)
    return _show_moments(source, out, rows or ROWS, frame, progress)


def full_colour(moments: Iterable[Moment]) -> float:
    """The length of motion in pixels that one vector in 200 exceeds: a few wild ones do not count.

    It is never less than a step of the stored images (``bound / 127``), which noise alone reaches.
    """
    sampled, finest = [], 0.0
    for moment in moments:
        length = np.hypot(moment.flow[..., 0], moment.flow[..., 1]).ravel()
        sampled.append(length[:: max(1, length.size // _VECTORS)])
        finest = max(finest, moment.bound / 127)
    lengths = np.concatenate(sampled)
    most = float(np.quantile(lengths, 0.995)) or float(lengths.max())
    # What rounding makes longer than that is not to be dark.
    return max(finest, most * (1 + 1e-5))


def spread(total: int, count: int) -> list[int]:
    """Numbers from 1 to ``total``, ``count`` at most: the middles of as many equal parts."""
    count = min(count, total)
    return [(2 * part + 1) * total // (2 * count) + 1 for part in range(count)]


def _show_video(source: Path, out: Path, progress: bool) -> float:
    check_codec()
    with _opened(source, progress) as opened, _written(out) as file:
        sample = spread(opened.flows, _SAMPLE)
        with progress_bar(len(sample) + opened.flows, " flows", progress) as bar:
            full = full_colour(_counted(opened.moments(sample), bar))
            moments = _counted(opened.moments(range(1, opened.flows + 1)), bar)
            pictures = (side_by_side(moment, full) for moment in moments)
            # FFmpeg opens by its name what it goes through twice.
            write_video(Path(file.name), FORMATS[out.suffix.lower()], pictures, opened.fps)
    return full


def _show_moments(source: Path, out: Path, rows: int, frame: int | None, progress: bool) -> float:
    with _opened(source, progress) as opened, _written(out) as file:
        numbers = spread(opened.flows, rows) if frame is None else [frame]
        computing = progress and isinstance(opened, ComputedMoments)
        with progress_bar(len(numbers), " flows", computing) as bar:
            moments = list(_counted(opened.moments(numbers), bar))
        lines = [(_label(moment, opened.fps), moment) for moment in moments]
        full = full_colour(moments)
        picture = sheet(source.absolute().name, _details(opened), lines, full)
        Image.fromarray(picture).save(file, "png")
    return full


def _show_store(store: Path, out: Path, rows: int) -> float:
    files = list(find_store_files(store).items())
    lines = []
    with _written(out) as file:
        for number in spread(len(files), rows):
            video, path = files[number - 1]
            with _opened(path, progress=False) as opened:
                (moment,) = opened.moments(spread(opened.flows, 1))
                lines.append((f"{video}   {_label(moment, opened.fps)}", moment))
        full = full_colour(moment for _, moment in lines)
        details = f"{len(lines)} of {len(files)} videos, a frame from the middle of each"
        picture = sheet(store.absolute().name, details, lines, full)
        Image.fromarray(picture).save(file, "png")
    return full


@contextlib.contextmanager
def _opened(source: Path, progress: bool) -> Iterator[Source]:
    if source.suffix == ".zip":
        with StoreFile(source) as store:
            yield StoredMoments(store)
    else:
        yield ComputedMoments(source, progress)


@contextlib.contextmanager
def _written(out: Path) -> Iterator[BinaryIO]:
    """The file to write, opened before any work is done that would else be lost."""
    try:
        with atomic(out) as file:
            yield file
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); give another.") from error


def _check_out(source: Path, out: Path) -> None:
    if out.suffix.lower() not in (".png", *FORMATS):
        raise InputError(
            f"{out} has no name that says what to write; give one that ends in .png for a sheet, "
            f"or in {', '.join(FORMATS)} for a video."
        )
    if out.is_dir():
        raise InputError(f"{out} is a folder; give the name of a file.")
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out} would be written over itself; give another name.")


def _counted(moments: Iterable[Moment], bar: Any) -> Iterator[Moment]:
    for moment in moments:
        bar.update()
        yield moment


def _details(source: Source) -> str:
    height, width = source.size
    rate = f", {source.fps:.4g} frames a second" if source.fps else ""
    return f"{width} x {height} pixels{rate}"


def _label(moment: Moment, fps: float) -> str:
    seconds = f", {(moment.number - 1) / fps:.2f} s" if fps else ""
    return f"frame {moment.number}{seconds}"
