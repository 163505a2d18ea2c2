"""Video files for tests: pictures, encoding them, and what a reader makes of them."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.errors import InputError
from flow.video import Video

HEIGHT, WIDTH, FPS = 40, 48, Fraction(25, 2)
PIXELS = {"mjpeg": "yuvj420p", "ffv1": "bgr0", "png": "rgb24", "qtrle": "rgb24"}  # else yuv420p
FORMATS = {".ts": "mpegts", ".mpg": "mpeg", ".wmv": "asf", ".mkv": "matroska", ".ogv": "ogg"}
Images = NDArray[np.uint8]


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH) -> Images:
    """Frames (count, H, W, 3) RGB: a red, a green and a blue field, and grey that gets lighter."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for channel in range(3):
        field = slice(channel * width // 3, (channel + 1) * width // 3)
        frames[:, : height // 2, field, channel] = 200
    frames[:, height // 2 :] = np.linspace(40, 220, count)[:, None, None, None]
    return frames


def motion(count: int) -> Images:
    """Frames (count, 64, 96, 3) RGB that no codec finds easy: a texture that moves, and noise."""
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(
        random.integers(0, 256, (64, 96 + 2 * count, 3), np.uint8), (5, 5), 0
    )
    frames = np.stack([texture[:, 2 * k : 2 * k + 96] for k in range(count)]).astype(int)
    return np.clip(frames + random.integers(-9, 10, frames.shape), 0, 255).astype(np.uint8)


def sliding(count: int, height: int, width: int) -> Images:
    """Frames (count, H, W, 3) RGB: a texture that moves to the left by a pixel a frame."""
    texture = np.random.default_rng(0).integers(0, 256, (height, width + count, 3), np.uint8)
    texture = cv2.GaussianBlur(texture, (3, 3), 0)
    return np.stack([texture[:, k : k + width] for k in range(count)])


def write(
    path: Path,
    frames: Iterable[Images] | Iterable[av.VideoFrame],
    codec: str = "mjpeg",
    *,
    pixels: str | None = None,
    rate: Fraction | int = FPS,
    options: dict[str, str] | None = None,
    set_up: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Encode frames, RGB arrays or PyAV's own, into a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        if isinstance(frame, np.ndarray)
        else frame
        for frame in frames
    ]
    kind = FORMATS.get(path.suffix.lower(), path.suffix[1:].lower())
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = pixels or PIXELS.get(codec, "yuv420p")
        stream.bit_rate = 2_000_000
        stream.codec_context.thread_count = 1  # with more, encoders write other bytes
        set_up(stream)
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
    return path


def packets(frames: Images, codec: str, pixels: str = "yuv420p") -> list["av.Packet[Any]"]:
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = pixels, Fraction(1, 25), 25
    encoder.gop_size = 10
    images = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in frames]
    return [packet for image in [*images, None] for packet in encoder.encode(image)]


def mux(
    path: Path,
    found: list["av.Packet[Any]"],
    codec: str,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Path:
    """Write packets one after the other, of whatever size their frames are; the header says one."""
    with av.open(str(path), "w", format=FORMATS.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for time, packet in enumerate(found):
            packet.stream = stream
            packet.pts = packet.dts = time
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    return path


def read(path: Path) -> Images:
    return np.stack(list(Video(path)))


def patch(path: Path, position: int, new: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[position : position + len(new)] = new
    path.write_bytes(content)
    return path


def reason(path: Path) -> str:
    """Why a video is refused: one sentence that names it."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert message.endswith("."), message
    assert ";" in message, message
    return message


def kept(path: Path) -> tuple[list[Images], str]:
    """The frames that are kept of a damaged video, and the damage, which is why it is refused."""
    video = Video(path, keep_readable=True)
    frames = list(video)
    assert video.damage is not None
    assert f"{path} {video.damage};" in reason(path)
    return frames, video.damage
