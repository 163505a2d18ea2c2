"""Features: what a layer of a network says of each clip of each video, before its last layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from flow.errors import InputError
from flow.progress import progress_bar
from twostream.data.annotations import Video
from twostream.data.sampling import Short
from twostream.data.source import Sources
from twostream.data.transforms import Geometry, mirrored
from twostream.devices import choose_device
from twostream.feature_folder import FeatureMeta, claim, is_done, write
from twostream.feeding import by_video, packed_loader, protocol_clips, read_parts
from twostream.models import P3D
from twostream.models.inference import for_inference
from twostream.models.layers import space_and_time_mean
from twostream.origins import descriptions, flow_codes
from twostream.protocols import Protocol
from twostream.readers import READERS
from twostream.streams import Stream

POOL5 = "pool5"
AT_ONCE = 8  # clips on the device together, which a workstation's GPU has room for


@dataclass(frozen=True)
class Clips:
    """Which clips of a video pass the network.

    Attributes:
        stream: "rgb" or "flow".
        count: Evenly spread clips a video.
        length: Frames, or flow fields, in a clip.
        geometry: Size that frames are resized to, and that of the centre crop.
        short: What stands in for the frames that a shorter video lacks.
        mirror: The mirrored clips as well.
    """

    stream: Stream
    count: int
    length: int
    geometry: Geometry
    short: Short
    mirror: bool

    def __str__(self) -> str:
        crop = "x".join(map(str, self.geometry.crop))
        mirror = " and their mirror images" if self.mirror else ""
        return (
            f"{self.count} even clips of {self.length}{mirror}, {self.geometry.size}, "
            f"centre crop {crop}, short videos {self.short}"
        )


@dataclass(frozen=True)
class Network:
    """A network that features are taken of.

    Attributes:
        model: With its weights.
        name: A name in ``twostream.models.MODELS``.
        weights: SHA-256 of the file that they come from.
        trained_on: Ids of the videos whose labels it has seen.
    """

    model: P3D
    name: str
    weights: str
    trained_on: tuple[str, ...] = ()


def take_features(
    network: Network,
    clips: Clips,
    store: Path,
    videos: tuple[str, ...],
    folder: Path,
    *,
    layer: str = POOL5,
    workers: int = READERS,
    device: str = "auto",
) -> int:
    """Take the features of videos, of those whose features are not in ``folder`` yet.

    Args:
        network: Whose features.
        clips: Which clips of each video.
        store: What ``python -m flow extract`` wrote, or the folder of the videos themselves.
        videos: Ids.
        folder: Where features go; it may hold those of other videos by the same network and clips.
        layer: "pool5" (``model.features``), or a module by its name in the network, such as
            "res4": what it gives is averaged over time and space.
        workers: Processes that read clips.
        device: "auto", "cpu", "cuda", "cuda:1".

    Returns:
        How many videos were new.

    Raises:
        InputError: A folder with features of another kind, a video that is not there, flow of
            several bounds, an unknown layer.
    """
    target = choose_device(device)
    with _layer(network.model, layer, target) as (of, precision):
        sources = Sources.of(store, videos, clips.stream)
        said = descriptions(sources, videos)
        flow = flow_codes(said, clips.stream, store)
        claim(folder, _meta(network, clips, layer, precision, flow))
        hashes = {video: sha256(text.encode()).hexdigest() for video, text in said.items()}
        todo = tuple(video for video in videos if not is_done(folder, video, hashes[video]))

        def of_sides(plain: Tensor) -> Tensor:
            """Clips (N, C, T, H, W) -> float32 (N, S, D)."""
            plain = plain.to(target)
            sides = [plain, mirrored(plain, clips.stream)] if clips.mirror else [plain]
            taken = [of(network.model.input.of_p3d(side)) for side in sides]
            return torch.stack(taken, dim=1).float().cpu()

        for video, values in _by_video(store, todo, clips, workers, of_sides):
            write(folder, video, values.transpose(0, 1).contiguous().numpy(), hashes[video])
    return len(todo)


def _by_video(
    store: Path,
    videos: tuple[str, ...],
    clips: Clips,
    workers: int,
    of: Callable[[Tensor], Tensor],
) -> Iterator[tuple[str, Tensor]]:
    """Each video's id and what ``of`` gives for its clips, with a bar that follows."""
    if not videos:
        return
    listed = tuple(Video(video, 0, video) for video in videos)
    protocol = Protocol(clips.count, clips.length, clips.geometry, short=clips.short)
    loader = packed_loader(protocol_clips(store, listed, clips.stream, protocol), AT_ONCE, workers)
    with progress_bar(len(videos), " videos", shown=True) as bar:
        for place, values in by_video(read_parts(loader), of):
            yield videos[place], values
            bar.update()


@contextmanager
def _layer(
    model: P3D, name: str, device: torch.device
) -> Iterator[tuple[Callable[[Tensor], Tensor], str]]:
    """What takes clips (N, C, T, H, W) to a layer's values (N, D), and its precision."""
    if name == POOL5:
        fast = for_inference(model, device)
        yield fast.features, str(fast.dtype).removeprefix("torch.")
        return
    found: list[Tensor] = []
    module = _module(model.to(device).eval(), name)
    hook = module.register_forward_hook(lambda _, __, out: found.append(out))

    @torch.inference_mode()
    def of(clips: Tensor) -> Tensor:
        found.clear()
        model(clips)
        if len(found) != 1 or found[0].ndim not in (2, 5):
            raise InputError(f"Layer {name!r} gives no (N, C, T, H, W) once a clip; give another.")
        return found[0] if found[0].ndim == 2 else space_and_time_mean(found[0])

    try:
        yield of, "float32"
    finally:
        hook.remove()


def _module(model: P3D, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in modules:
        known = ", ".join(child for child, _ in model.named_children())
        raise InputError(f"Layer {name!r} is unknown; give pool5, {known}, or a part of these.")
    module = modules[name]
    while isinstance(module, nn.Sequential):  # run one by one, not as a whole
        module = module[-1]
    return module


def _meta(network: Network, clips: Clips, layer: str, precision: str, flow: str) -> FeatureMeta:
    return FeatureMeta(
        clips.stream,
        str(clips),
        layer,
        network.name,
        network.weights,
        str(network.model.input),
        precision,
        flow,
        network.trained_on,
    )
