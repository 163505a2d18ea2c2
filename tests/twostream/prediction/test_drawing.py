"""Known answer: where the bars of a picture end, what the colours of flow are, what fits its
place. Names of any length and script."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageColor

from flow.colour import colour
from flow.encoding import decode, encode
from twostream.prediction.drawing import BEST, OTHER, PAPER, TRACK, Painter
from twostream.prediction.following import Shown
from twostream.prediction.lettering import font_for, shortened
from twostream.prediction.result import Window

HEIGHT, WIDTH, BOUND = 72, 96, 5.0
NAMES = (
    "run",
    "a class with a name that goes on and on " * 9,
    "走路",
    "الركض",
    "दौड़ना",
    "jump\n\tand \x1b[31m \ud7ff \U0001f3c3",
)


def moment(
    shares: list[float], index: int = 0, height: int = HEIGHT, width: int = WIDTH, speed: float = 2
) -> Shown:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    flow = encode((speed * np.stack([x, y], axis=-1)).astype(np.float32), BOUND)
    frame = np.full((height, width, 3), (200, 100, 50), np.uint8)
    return Shown(index, frame, flow, Window(0, 16, np.array(shares)))


def painter(classes: tuple[str, ...], with_flow: bool = True, fps: float = 25.0) -> Painter:
    return Painter(classes, 100, fps, BOUND, "symmetric", with_flow)


def lower(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is below the panels, three times as large as the frame, and below the heading."""
    return picture[3 * HEIGHT + 30 :]


def where(picture: NDArray[np.uint8], paint: str) -> NDArray[np.bool_]:
    return np.all(picture == ImageColor.getrgb(paint), axis=-1)


def test_bars_are_as_long_as_the_classes_are_probable() -> None:
    picture = lower(painter(("a", "b", "c")).picture(moment([0.25, 0.5, 0.25])))
    best, other, track = (where(picture, paint) for paint in (BEST, OTHER, TRACK))
    (columns,) = np.nonzero(best.any(axis=0))
    row = int(np.nonzero(best.any(axis=1))[0][0])
    whole = np.count_nonzero(best[row] | track[row])
    assert columns[-1] - columns[0] + 1 == pytest.approx(whole / 2, abs=1)
    (others,) = np.nonzero(other.any(axis=0))
    assert others[0] == columns[0]
    assert others[-1] - others[0] + 1 == pytest.approx(whole / 4, abs=1)


@pytest.mark.parametrize(
    ("height", "width"), [(72, 96), (1, 1), (480, 33), (1920, 1080), (144, 180), (30, 2000)]
)
@pytest.mark.parametrize("with_flow", [True, False])
def test_any_frame_makes_an_even_picture_of_one_size(
    height: int, width: int, with_flow: bool
) -> None:
    drawing = painter(("a", "b"), with_flow)
    sizes = {
        drawing.picture(moment(shares, index, height, width, speed)).shape
        for index, (shares, speed) in enumerate([([1.0, 0.0], 0.0), ([0.3, 0.7], 5.0)])
    }
    ((rows, columns, _),) = sizes
    assert rows % 2 == columns % 2 == 0
    assert rows < 1200
    assert columns < 1600


def test_frame_and_flow_are_side_by_side() -> None:
    shown = moment([1.0, 0.0], height=360, width=480)
    picture = painter(("a", "b")).picture(shown)
    np.testing.assert_array_equal(picture[:360, :480], shown.frame)
    assert shown.flow is not None
    flow = decode(shown.flow, BOUND)
    full = np.quantile(np.hypot(flow[..., 0], flow[..., 1]), 0.995) * (1 + 1e-5)
    np.testing.assert_array_equal(picture[:360, 480:960], colour(flow, full))


def test_the_scale_of_colours_follows_faster_motion_and_stays() -> None:
    drawing = painter(("a", "b"))

    def panel(speed: float) -> NDArray[np.uint8]:
        return drawing.picture(moment([1.0, 0.0], height=360, width=480, speed=speed))[:360, 480:]

    slow = panel(1.0)
    panel(4.0)
    paler = panel(1.0)
    assert paler.mean() > slow.mean()
    np.testing.assert_array_equal(panel(1.0), paler)


def test_the_last_frame_keeps_the_flow_of_the_one_before() -> None:
    drawing = painter(("a", "b"))
    before = drawing.picture(moment([1.0, 0.0]))
    last = Shown(99, moment([1.0, 0.0]).frame, None, moment([1.0, 0.0]).window)
    panel = np.s_[:288, before.shape[1] // 2 :]
    np.testing.assert_array_equal(drawing.picture(last)[panel], before[panel])


@pytest.mark.parametrize("fps", [0.0, 25.0])
def test_names_of_any_length_and_script_stay_in_their_place(fps: float) -> None:
    shares = [0.3, 0.25, 0.2, 0.1, 0.1, 0.05]
    for order in range(len(NAMES)):
        names = NAMES[order:] + NAMES[:order]
        picture = lower(painter(names, fps=fps).picture(moment(shares)))
        bars = where(picture, TRACK) | where(picture, BEST) | where(picture, OTHER)
        (rows,), (columns,) = np.nonzero(bars.any(axis=1)), np.nonzero(bars.any(axis=0))
        gap = picture[rows[0] : rows[-1], columns[0] - 8 : columns[0]]
        assert where(gap, PAPER).all()
        beyond = picture[rows[0] : rows[-1], columns[-1] + 1 : columns[-1] + 5]
        assert where(beyond, PAPER).all()


def test_a_share_of_one_has_room() -> None:
    picture = lower(painter(("a", "b")).picture(moment([1.0, 0.0])))
    bars = where(picture, BEST)
    (rows,), (columns,) = np.nonzero(bars.any(axis=1)), np.nonzero(bars.any(axis=0))
    beyond = picture[rows[0] : rows[-1], columns[-1] + 1 : columns[-1] + 5]
    assert where(beyond, PAPER).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [20.0, 60.0, 300.0])
def test_a_shortened_name_fits(name: str, width: float) -> None:
    short = shortened(name, 16, width)
    assert font_for(short, 16).getlength(short) <= width
    assert short.isprintable()


def test_a_name_that_fits_stays_and_a_longer_one_loses_its_middle() -> None:
    assert shortened("run", 16, 300) == "run"
    assert shortened("two\nlines", 16, 300) == "two\N{REPLACEMENT CHARACTER}lines"
    long = shortened("begin" + "m" * 200 + "end", 16, 200)
    assert long.startswith("begin")
    assert long.endswith("end")
    assert "…" in long


def test_a_font_of_the_system_stands_in_for_signs_that_dejavu_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """matplotlib's STIX has the sign; a font that cannot be read is passed over."""
    from matplotlib import get_data_path

    from twostream.prediction import lettering

    bad = tmp_path / "bad.ttf"
    bad.write_bytes(b"no font")
    stix = Path(get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")
    (only, *_) = sorted(lettering._signs(stix) - lettering._signs(lettering._dejavu()))
    monkeypatch.setattr(lettering, "_of_system", lambda: (bad, stix))
    lettering._path_for.cache_clear()
    font_for.cache_clear()
    assert font_for(f"a{only}", 16).path == str(stix)
    assert font_for("abc", 16).path == str(lettering._dejavu())
    lettering._path_for.cache_clear()
    font_for.cache_clear()
