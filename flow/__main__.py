"""The command line: python -m flow  extract | status | verify | show."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from flow.errors import InputError
from flow.extract import Settings, extract
from flow.manifest import FAILURES
from flow.show import show
from flow.status import status, verify_store

_FAILURES_TOLD = 10
_Videos = Annotated[Positional[Path], arg(metavar="VIDEOS")]
_Store = Annotated[Positional[Path], arg(metavar="STORE")]
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
    for source, reason in summary.failures[:_FAILURES_TOLD]:
        print(f"{source} failed: {reason}", file=sys.stderr)
    if len(summary.failures) > _FAILURES_TOLD:
        print(f"{store / FAILURES} lists all failures.", file=sys.stderr)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    commands: dict[str, Callable[..., int]] = {
        "extract": extract_videos,
        "status": show_status,
        "verify": verify_images,
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
