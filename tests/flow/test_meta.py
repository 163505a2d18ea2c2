"""What a store file says of itself. Kinds: round trip, known answer (refusals)."""

import dataclasses
import json

import pytest

from flow.errors import InputError
from flow.meta import IMPORTED, Meta
from store_files import META


def test_meta_data_comes_back_from_json() -> None:
    assert Meta.from_json(META.to_json()) == META
    odd = dataclasses.replace(
        META, source="a\n'b\" é.avi", fps=0.0, clipped=1 / 3, damage="it is cut", short_side=256
    )
    assert Meta.from_json(odd.to_json().encode()) == odd


WRONG = {
    "source": ["", "a/b.avi", "..", 3, None],
    "source_bytes": [0, -1, 1.5, True, "1"],
    "source_sha256": ["", "0f" * 31, "0F" * 32, 5],
    "frames": [1, 0, 2.0, None],
    "fps": [-1.0, float("nan"), float("inf"), "25", 10**400],
    "width": [0, 1.5],
    "height": [0, "24"],
    "decoder": ["", 5],
    "solver": ["", None],
    "params": [{}, None, [], {**META.params, "tau": -1}, {**META.params, "more": 1}],
    "bound": [0, -1.0, float("nan"), None],
    "encoding": ["other", None, []],
    "clipped": [-0.1, 1.1, None],
    "quality": [0, 101, 95.0],
    "codec": ["gif", None],
    "algorithm": ["other", None],
    "short_side": [0, -1, 1.5, "256"],
    "step": [0, 1.5, None],
    "rgb": [0, None, "yes"],
    "version": [None, 1],
    "damage": ["", 5],
    "format": [0, 2, "1"],
}


@pytest.mark.parametrize("name", WRONG)
def test_meta_data_that_cannot_be(name: str) -> None:
    assert set(WRONG) == {field.name for field in dataclasses.fields(Meta)}
    for value in WRONG[name]:
        text = json.dumps({**dataclasses.asdict(META), name: value})
        with pytest.raises(InputError, match=name):
            Meta.from_json(text)
    without = {key: value for key, value in dataclasses.asdict(META).items() if key != name}
    with pytest.raises(InputError, match="fields"):
        Meta.from_json(json.dumps(without))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"a": 1}', b"\xff", "[" * 10**5])
def test_what_is_no_meta_data(text: str | bytes) -> None:
    with pytest.raises(InputError, match="meta data"):
        Meta.from_json(text)


def test_parameters_are_those_of_the_algorithm() -> None:
    dataclasses.replace(META, solver=IMPORTED, params={})
    dataclasses.replace(META, algorithm="dis", params={"preset": "medium"})
    with pytest.raises(InputError, match="params"):
        dataclasses.replace(META, solver=IMPORTED)
    with pytest.raises(InputError, match="params"):
        dataclasses.replace(META, params={"preset": "medium"})
