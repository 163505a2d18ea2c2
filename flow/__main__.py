"""The command line: python -m flow  extract | status | verify | export | import | show."""

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

from flow.encoding import Scheme
from flow.errors import InputError
from flow.extract import Engine, extract
from flow.layouts import Layout, export_store
from flow.layouts_import import ExtraFlow, import_folder
from flow.manifest import FAILURES
from flow.meta import Codec
from flow.settings import Settings
from flow.show import show
from flow.status import status, verify_store
from flow.tvl1 import Solver, TVL1Params

_FAILURES_TOLD = 10
_USUAL = Settings()
_Flag = FlagCreatePairsOff[bool]
_Videos = Annotated[Positional[Path], arg(metavar="VIDEOS")]
_Store = Annotated[Positional[Path], arg(metavar="STORE")]
_Folder = Annotated[Positional[Path], arg(metavar="FOLDER")]
_Source = Annotated[Positional[Path], arg(metavar="SOURCE")]
_Out = Annotated[Positional[Path], arg(metavar="OUT")]


def extract_videos(
    videos: _Videos,
    store: _Store,
    solver: Solver = _USUAL.solver,
    bound: float = _USUAL.bound,
    encoding: Annotated[Scheme, arg(aliases=["--scheme"])] = _USUAL.encoding,
    codec: Codec = _USUAL.codec,
    quality: int = _USUAL.quality,
    short_side: int | None = _USUAL.short_side,
    step: int = _USUAL.step,
    rgb: bool = _USUAL.rgb,
    farneback: _Flag = False,
    dis: _Flag = False,
    keep_readable: _Flag = False,
    retry_failed: _Flag = False,
    shard: str = "1/1",
    workers: int | None = None,
    engine: Engine = "local",
    address: str | None = None,
    params: TVL1Params = _USUAL.params,
) -> int:
    """Store the flow of every video in a folder; run again, it does only what is missing.

    Exit status: 0 when every video is stored, 1 when some failed (the others are stored), 2 for
    wrong usage, 130 when interrupted.

    Args:
        videos: The folder of the videos, at any depth in it; a folder of images is a video, too.
        store: The folder of the stored flow: <video>.zip, manifest.csv and failures.csv.
        solver: What computes TV-L1; auto is the fastest that this machine has.
        bound: Motion in pixels that the images can hold; what is beyond is clipped.
        encoding: symmetric, or dense_flow for weights that were trained on that tool's images.
        codec: Of the flow images: jpeg, or png without loss, about twice as large.
        quality: Of the JPEG files, 1 to 100.
        short_side: Scale each video so that its shorter side has so many pixels, before all else.
        step: 2 takes every second frame, 3 every third one, and so on.
        rgb: Store the frames, too.
        farneback: Farnebäck's flow instead of TV-L1, by OpenCV, to compare with.
        dis: The flow of Dense Inverse Search instead of TV-L1, by OpenCV, to compare with.
        keep_readable: Store damaged videos up to the damage, marked so, rather than not at all.
        retry_failed: Try again what an earlier run found to be damaged, though it is unchanged.
        shard: 3/8 does the third eighth of the videos only: a job of eight.
        workers: Processes, each at one video at a time; one a processor where not given.
        engine: local, the processes of this machine, or ray, those of a Ray cluster.
        address: Of the Ray cluster; one is started on this machine where not given.
        params: Parameters of TV-L1.
    """
    if farneback and dis:
        raise InputError("--farneback and --dis are two algorithms; give one of them.")
    settings = Settings(
        solver=solver,
        bound=bound,
        encoding=encoding,
        codec=codec,
        quality=quality,
        short_side=short_side,
        step=step,
        rgb=rgb,
        algorithm="farneback" if farneback else "dis" if dis else "tvl1",
        params=params,
    )
    summary = extract(
        videos,
        store,
        settings,
        workers,
        shard=shard,
        keep_readable=keep_readable,
        retry_failed=retry_failed,
        engine=engine,
        address=address,
    )
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
    for name in ("partial", "missing", "failed", "stale", "orphans"):
        for video in getattr(found, name):
            print(f"{name} {video}")
    print(found, file=sys.stderr)
    return 1 if found.missing or found.failed or found.stale else 0


def verify_images(store: _Store, videos: Path | None = None) -> int:
    """Read every image of a store and compare its files with its manifest: a line for each fault.

    Exit status: 0 when all is whole, 1 when there is a fault, 2 for wrong usage.

    Args:
        store: A folder that extract has written.
        videos: The folder of the videos, to be compared with, too: each by its size and hash.
    """
    faults = verify_store(store, videos=videos)
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


def show_flow(source: _Source, out: _Out, rows: int | None = None, frame: int | None = None) -> int:
    """Show flow: a contact sheet (OUT.png), or a video beside its flow (OUT.mp4, .mov, .mkv).

    Each moment is its frame, its flow in colour (the hue is the direction, the saturation the
    length), and the images of x and y as they are stored.

    Args:
        source: A video, whose flow is computed; the file of a video in a store; or, for a sheet, a
            store.
        out: The file to write.
        rows: How many rows the sheet has at most; 6 where not given.
        frame: Show this frame alone; the first one is 1.
    """
    full = show(source, out, rows=rows, frame=frame)
    print(f"{out} is written; the full colour is a motion of {full:.2f} pixels a frame")
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
    warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
    try:
        status: int = tyro.extras.subcommand_cli_from_dict(
            commands, prog="python -m flow", args=arguments
        )
        return status
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: what is whole is kept, and running again goes on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
