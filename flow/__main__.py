"""The command line: python -m flow  extract | status | verify | export | import | show."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from flow.encoding import Scheme
from flow.errors import InputError
from flow.extract import Settings, extract
from flow.layouts import Layout, export_store
from flow.layouts_import import ExtraFlow, import_folder
from flow.manifest import FAILURES
from flow.show import show
from flow.status import status, verify_store

_FAILURES_TOLD = 10
_Videos = Annotated[Positional[Path], arg(metavar="VIDEOS")]
_Store = Annotated[Positional[Path], arg(metavar="STORE")]
_Folder = Annotated[Positional[Path], arg(metavar="FOLDER")]
_Source = Annotated[Positional[Path], arg(metavar="VIDEO_OR_STORE_FILE")]
_Out = Annotated[Positional[Path], arg(metavar="OUT.png")]


def extract_videos(
    videos: _Videos,
    store: _Store,
    settings: Annotated[Settings, arg(name="")],
    workers: int | None = None,
    shard: str = "1/1",
) -> int:
    """Store the flow of every video in a folder; run again, it does only what is missing.

    Exit status: 0 when every video is stored, 1 when some failed (the others are stored), 2 for
    wrong usage, 130 when interrupted.

    Args:
        videos: The folder of the videos, which may lie at any depth.
        store: The folder of the stored flow: <video>.zip, manifest.csv and failures.csv.
        settings: What to compute.
        workers: Processes, each at one video at a time; one a processor where not given, or four a
            GPU.
        shard: 3/8 does the third eighth of the videos only: a job of eight.
    """
    summary = extract(videos, store, settings, workers, shard=shard)
    _tell_failures(summary.failures, f"{store / FAILURES} lists all failures.")
    print(summary)
    return 1 if summary.failures else 0


def show_status(videos: _Videos, store: _Store) -> int:
    """Tell how far a store is: what is done, missing, failed, or stored from another file.

    Exit status: 0 when every video is stored, 1 when not, 2 for wrong usage.

    Args:
        videos: The folder of the videos.
        store: The folder of the stored flow.
    """
    found = status(videos, store)
    for name in ("missing", "failed", "stale", "orphans"):
        for video in getattr(found, name):
            print(f"{name} {video}")
    print(found, file=sys.stderr)
    return 1 if found.missing or found.failed or found.stale else 0


def verify_images(store: _Store) -> int:
    """Read every image of a store and compare its files with its manifest: a line for each fault.

    Exit status: 0 when all is whole, 1 when there is a fault, 2 for wrong usage.

    Args:
        store: A folder that extract has written.
    """
    faults = verify_store(store)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults in {store}" if faults else f"{store} is whole", file=sys.stderr)
    return 1 if faults else 0


def export_images(
    store: _Store,
    folder: _Folder,
    layout: Layout,
    first: int = 1,
    encoding: Scheme | None = None,
    bound: float | None = None,
    quality: int = 95,
    workers: int | None = None,
) -> int:
    """Write a store as single images, as other tools keep them; run again, it goes on.

    Exit status: 0 when every video is written, 1 when some failed, 2 for wrong usage.

    Args:
        store: The folder of the stored flow.
        folder: Is made where it is not there.
        layout: tsn (TSN, dense_flow), mmaction2, uv (Feichtenhofer's published flow) or mars.
        first: Number of the first image: 1, or 0 for mmaction2.
        encoding: Of the images, where they are not to be as they were stored.
        bound: The same.
        quality: Of JPEG files that are compressed anew because of these two.
        workers: Processes; one a processor where not given.
    """
    summary = export_store(
        store,
        folder,
        layout,
        first=first,
        encoding=encoding,
        bound=bound,
        quality=quality,
        workers=workers,
    )
    _tell_failures(summary.failures, f"{len(summary.failures)} videos failed in all.")
    print(summary)
    return 1 if summary.failures else 0


def import_images(
    folder: _Folder,
    store: _Store,
    layout: Layout,
    encoding: Scheme | None = None,
    bound: float | None = None,
    extra_flow: ExtraFlow | None = None,
    trust_zero: bool = False,
    workers: int | None = None,
) -> int:
    """Make a store of single images that other tools have written; run again, it goes on.

    Exit status: 0 when every video is stored, 1 when some failed, 2 for wrong usage.

    Args:
        folder: Holds a folder of images for each video, at any depth.
        store: Is made where it is not there.
        layout: tsn (TSN, dense_flow), mmaction2, uv (Feichtenhofer's published flow) or mars.
        encoding: Of the images, where no flow.json lies beside them: dense_flow for most tools.
        bound: The same: 20 for dense_flow, 32 for denseflow unless it was given another.
        extra_flow: Which flow to leave out of videos that have as many flows as frames: first for
            dense_flow, last for tools that leave the last frame away or repeat the last flow.
        trust_zero: Leave out the check that no motion is not 127 (truncated, not rounded).
        workers: Processes; one a processor where not given.
    """
    summary = import_folder(
        folder,
        store,
        layout,
        encoding=encoding,
        bound=bound,
        extra_flow=extra_flow,
        trust_zero=trust_zero,
        workers=workers,
    )
    _tell_failures(summary.failures, f"{store / FAILURES} lists all failures.")
    print(summary)
    return 1 if summary.failures else 0


def show_flow(source: _Source, out: _Out, frame: int = 1) -> int:
    """Paint a frame beside its flow: the hue is the direction, the saturation the length.

    Args:
        source: A video, whose flow is computed, or the file of a video in a store.
        out: The PNG file to write.
        frame: The number of the frame; the first one is 1.
    """
    full = show(source, out, frame)
    print(f"{out} shows frame {frame}; the full colour is a motion of {full:.2f} pixels")
    return 0


def _tell_failures(failures: Sequence[tuple[str, str]], more: str) -> None:
    for source, reason in failures[:_FAILURES_TOLD]:
        print(f"{source} failed: {reason}", file=sys.stderr)
    if len(failures) > _FAILURES_TOLD:
        print(more, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    commands: dict[str, Callable[..., int]] = {
        "extract": extract_videos,
        "status": show_status,
        "verify": verify_images,
        "export": export_images,
        "import": import_images,
        "show": show_flow,
    }
    try:
        status: int = tyro.extras.subcommand_cli_from_dict(
            commands, prog="python -m flow", args=arguments
        )
        return status
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: what is done is kept, and running again goes on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
