"""The contact sheet. Kinds: known answer (pixels at their places), property (any size)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from flow.colour import colour
from flow.moments import Moment
from flow.sheet import sheet

RED, GREEN = (255, 0, 0), (0, 255, 0)


def plain_moment(
    size: tuple[int, int],
    frame: tuple[int, int, int] | None = RED,
    flow: tuple[float, float] = (1, 0),
    image: tuple[int, int] = (134, 120),
    bound: float = 20.0,
) -> Moment:
    return Moment(
        number=1,
        frame=None if frame is None else np.full((*size, 3), frame, np.uint8),
        flow=np.full((*size, 2), flow, np.float32),
        image=np.full((*size, 2), image, np.uint8),
        bound=bound,
    )


def place(picture: NDArray[np.uint8], pixel: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the only rectangle of that colour as large as a panel."""
    found = np.all(picture == pixel, axis=-1)
    rows = np.flatnonzero(found.sum(axis=1) > 100)
    columns = np.flatnonzero(found[rows].all(axis=0))
    assert len(rows) == np.ptp(rows) + 1
    assert len(columns) == np.ptp(columns) + 1
    return rows[0], columns[0], len(rows), len(columns)


def test_the_panels_of_a_row_lie_side_by_side_and_the_rows_below_each_other() -> None:
    size = 240, 320
    first = plain_moment(size)
    second = plain_moment(size, frame=GREEN, flow=(0, -1), image=(90, 200))
    picture = sheet("video.avi", "320 x 240", [("frame 1", first), ("frame 9", second)], full=2)
    tops = []
    for moment in (first, second):
        assert moment.frame is not None
        pixels = [moment.frame[0, 0], colour(moment.flow, 2)[0, 0]]
        pixels += [np.repeat(value, 3) for value in moment.image[0, 0]]
        places = [place(picture, tuple(pixel)) for pixel in pixels]
        assert {place[2:] for place in places} == {size}
        assert len({place[0] for place in places}) == 1
        lefts = [place[1] for place in places]
        assert np.all(np.diff(lefts) == lefts[1] - lefts[0])
        assert 320 < lefts[1] - lefts[0] < 350
        tops.append(places[0][0])
    assert 240 + 16 < tops[1] - tops[0] < 240 + 50  # there is room for the label


def test_the_legend_shows_the_wheel_and_the_greys() -> None:
    picture = sheet("a", "b", [("c", plain_moment((240, 320)))], full=2)
    head = picture[: place(picture, RED)[0]]
    hues = {tuple(pixel) for pixel in head.reshape(-1, 3) if np.ptp(pixel) > 200}
    assert len(hues) > 100
    grey = np.ptp(head, axis=-1) == 0
    levels = [len(np.unique(row[known])) for row, known in zip(head, grey, strict=True)]
    assert levels.count(256) == 16


@pytest.mark.parametrize(
    ("bounds", "full", "differs"),
    [((20, 20), 3, False), ((20, 15), 3, True), ((20, 20), 4, True)],
)
def test_the_legend_tells_the_bound_and_the_full_colour(
    bounds: tuple[float, float], full: float, differs: bool
) -> None:
    def head(full: float, *bounds: float) -> NDArray[np.uint8]:
        rows = [("row", plain_moment((50, 320), flow=(0, 0), bound=bound)) for bound in bounds]
        return sheet("a", "b", rows, full)[:200]

    assert (not np.array_equal(head(3, 20, 20), head(full, *bounds))) == differs


def test_a_row_without_a_frame_leaves_its_place_free() -> None:
    size = 240, 320
    rows = [("a", plain_moment(size)), ("b", plain_moment(size, frame=None, image=(90, 200)))]
    picture = sheet("store", "", rows, full=2)
    _, left, height, width = place(picture, RED)
    below = place(picture, (90, 90, 90))[0]
    assert np.all(picture[below : below + height, left : left + width] == 255)
    assert sheet("store", "", rows[1:], full=2).shape[1] < picture.shape[1] - 300


@pytest.mark.parametrize(
    ("size", "shown"),
    [((24, 32), (264, 352)), ((300, 1920), (62, 400)), ((1080, 240), (300, 67)), ((3, 641), None)],
)
def test_every_size_has_its_panels_whole(
    size: tuple[int, int], shown: tuple[int, int] | None
) -> None:
    rows = [(f"frame {k}", plain_moment(size, image=(10 * k, 0))) for k in range(1, 7)]
    picture = sheet("long name " * 30, "", rows, full=2)
    assert picture.shape[1] >= 640
    assert np.all(picture[:, [0, -1]] == 255)
    if shown:
        places = [place_of_grey(picture, 10 * k, shown) for k in range(1, 7)]
        assert len(set(np.diff(places))) == 1


def place_of_grey(picture: NDArray[np.uint8], value: int, size: tuple[int, int]) -> int:
    """The row from which on a panel of that grey stands."""
    found = np.all(picture == value, axis=-1).sum(axis=1) >= size[1]
    assert found.sum() == size[0]
    return int(np.flatnonzero(found)[0])


def test_a_single_row_is_shown_larger() -> None:
    moment = plain_moment((480, 640))
    assert place(sheet("a", "", [("b", moment)], full=2), RED)[2:] == (480, 640)
    other = plain_moment((480, 640), frame=GREEN, flow=(0, 1))
    assert place(sheet("a", "", [("b", moment), ("c", other)], full=2), RED)[2:] == (300, 400)


def test_equal_input_gives_equal_pictures() -> None:
    rows = [("frame 1", plain_moment((50, 60)))]
    assert np.array_equal(sheet("a", "b", rows, 1), sheet("a", "b", rows, 1))
