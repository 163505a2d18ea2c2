"""A study as text: round trip (property), and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.errors import InputError
from twostream.fusion_study import Curve, Row, Study

SHARE = st.floats(0, 1)
SHARES = st.lists(SHARE, max_size=3).map(tuple)
TEMPERATURES = st.lists(st.lists(st.floats(0.001, 100), max_size=2).map(tuple), max_size=3)
ROW = st.builds(Row, st.text(), st.text(), SHARES, TEMPERATURES.map(tuple), SHARE, st.booleans())


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    points = draw(st.integers(0, 4))
    held_out = draw(st.sampled_from([0, points]))
    lists = [draw(st.lists(SHARE, min_size=n, max_size=n)) for n in (points, held_out, points)]
    return Curve(draw(st.text()), *map(tuple, lists))


@st.composite
def studies(draw: st.DrawFn) -> Study:
    rows = draw(st.lists(ROW, min_size=1, max_size=4, unique_by=lambda row: row.name))
    return Study(
        tuple(draw(st.lists(st.text(), max_size=3))),
        tuple(draw(st.lists(curves(), max_size=2))),
        tuple(rows),
        draw(st.sampled_from(rows)).name,
        draw(st.integers(0, 10**6)),
        draw(st.integers(0, 10**6)),
    )


@given(studies())
def test_what_is_written_is_read(study: Study) -> None:
    assert Study.from_json(study.to_json()) == study


ONE = Row("rgb", "", (), (), 0.5, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "7",
        '{"streams": []}',
        json.dumps(json.loads(Study((), (), (ONE,), "rgb", 1, 0).to_json()) | {"rows": [3]}),
    ],
)
def test_text_that_is_no_study_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no study of a fusion"):
        Study.from_json(text)


def test_a_study_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InputError, match="the chosen one is 'flow'"):
        Study((), (), (ONE,), "flow", 1, 0)
    with pytest.raises(InputError, match="give each a name"):
        Study((), (), (ONE, ONE), "rgb", 1, 0)
    with pytest.raises(InputError, match="2 shares, 1 held-out and 2 test"):
        Curve("softmax", (0, 1), (0.5,), (0.5, 0.5))
    with pytest.raises(InputError, match="accuracy of a fusion study is outside"):
        Curve("softmax", (0, 1), (), (0.5, 50))
    with pytest.raises(InputError, match="accuracy of a fusion study is outside"):
        Row("rgb", "", (), (), float("nan"), True)
    with pytest.raises(InputError, match="share of a fusion study is outside"):
        Row("rgb", "", (1.5,), (), 0.5, True)
