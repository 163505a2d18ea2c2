"""The video of flow. Kinds: known answer (pixels at their places, the container), round trip."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flow.colour import colour
from flow.errors import InputError
from flow.moments import Moment
from flow.side_by_side import FORMATS, check_codec, side_by_side, write_video

SIZE = 180, 320


def moving_moment(number: int, size: tuple[int, int] = SIZE, frame: bool = True) -> Moment:
    """A smooth picture and a smooth flow, both of which drift with ``number``."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / 40
    waves = np.stack([np.sin(x + number / 5), np.cos(y - number / 7)], axis=-1)
    picture = np.dstack([waves, waves[..., 0] * waves[..., 1]])
    return Moment(
        number=number,
        frame=(127 + 100 * picture).astype(np.uint8) if frame else None,
        flow=3 * waves,
        image=(128 + 19 * waves).astype(np.uint8),
        bound=20.0,
    )


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def test_the_panels_lie_side_by_side_below_the_strip() -> None:
    moment = moving_moment(1)
    picture = side_by_side(moment, full=2)
    assert moment.frame is not None
    panels = [moment.frame, colour(moment.flow, 2)]
    panels += [np.repeat(moment.image[..., c, None], 3, axis=-1) for c in (0, 1)]
    height, width = SIZE
    strip, step = picture.shape[0] - height, (picture.shape[1] - width) // 3
    assert 20 <= strip <= 30
    assert width < step < width + 10
    for column, panel in enumerate(panels):
        left = column * step
        assert np.array_equal(picture[strip : strip + height, left : left + width], panel)


def test_the_strip_tells_the_number_of_the_frame_and_the_scale() -> None:
    first, second = moving_moment(1), moving_moment(2)
    strips = [
        side_by_side(moment, full)[:20] for moment, full in ((first, 2), (second, 2), (first, 3))
    ]
    number = np.any(strips[0] != strips[1], axis=(0, 2)).nonzero()[0]
    scale = np.any(strips[0] != strips[2], axis=(0, 2)).nonzero()[0]
    assert number.min() > 3 * SIZE[1]  # at the right end
    assert SIZE[1] < scale.min() <= scale.max() < 2 * SIZE[1]  # above the flow


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 1200), st.integers(1, 2000), st.booleans())
@example(1080, 1920, True)
@example(1920, 1080, True)
def test_every_size_is_even_and_no_larger_than_decoders_take(
    height: int, width: int, frame: bool
) -> None:
    picture = side_by_side(moving_moment(1, (height, width), frame), full=2)
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    assert picture.shape[0] <= 1100
    assert picture.shape[1] <= 4096


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_decoded_is_what_was_shown(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a:b %d{suffix}"
    pictures = [side_by_side(moving_moment(number), full=3) for number in range(1, 31)]
    write_video(path, FORMATS[suffix], pictures, fps=30000 / 1001)
    found = decoded(path)
    assert len(found) == 30
    height, width = SIZE
    for picture, shown in zip(pictures, found, strict=True):
        error = np.abs(shown.astype(int) - picture)
        # The codec loses up to 1.8, 2.4, 0.64 and 0.70 in the four panels, most of it where 4:2:0
        # halves the colours; from the picture before they differ by 10, 14, 2.2 and 1.3 at least.
        for column, mean in enumerate((2.3, 3.1, 0.85, 0.95)):
            left = column * (picture.shape[1] - width) // 3
            assert error[-height:, left : left + width].mean() < mean


def test_grey_stays_grey_and_pure_hues_stay_pure(tmp_path: Path) -> None:
    hues = [(128,) * 3, (0,) * 3, (255,) * 3, (255, 0, 0), (0, 198, 255), (80, 0, 255)]
    picture = np.repeat(np.array(hues, np.uint8)[None], 64, axis=0).repeat(64, axis=1)
    path = tmp_path / "hues.mp4"
    write_video(path, "mp4", [picture] * 3, fps=10)
    _, opencv = cv2.VideoCapture(str(path)).read()
    for shown in (decoded(path)[1], cv2.cvtColor(opencv, cv2.COLOR_BGR2RGB)):
        assert np.abs(shown[32, 32::64].astype(int) - hues).max() <= 4  # a step of 8 bits YUV is 2


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (0.0, Fraction(25)),
        (25.0, Fraction(25)),
        (29.97002997, Fraction(30000, 1001)),
        (23.976023976, Fraction(24000, 1001)),
        (7.5, Fraction(15, 2)),
        (1000.0, Fraction(1000)),
        (1e-9, Fraction(25)),
    ],
)
def test_the_rate_is_that_of_the_source(tmp_path: Path, fps: float, rate: Fraction) -> None:
    path = tmp_path / "video.mp4"
    write_video(path, "mp4", [np.zeros((32, 48, 3), np.uint8)] * 12, fps)
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.average_rate == rate
        assert stream.frames == 12


def test_browsers_play_it(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write_video(path, "mp4", [side_by_side(moving_moment(1), full=3)] * 5, fps=25)
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as video:
        codec = video.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.profile) == ("h264", "yuv420p", "High")
        assert (codec.colorspace, codec.color_range) == (1, 1)  # BT.709, 16 to 235


def test_a_pyav_without_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    check_codec()
    real = av.Codec
    monkeypatch.setattr(av, "Codec", lambda name, mode: real(f"no {name}", mode))
    with pytest.raises(InputError, match=r"cannot write H.264; install"):
        check_codec()
