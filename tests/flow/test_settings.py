"""Settings of an extraction. Kinds: known answer (refusals), round trip (through the meta data)."""

from dataclasses import replace
from typing import Any

import cv2
import pytest

from flow.errors import InputError
from flow.meta import SETTINGS, Meta
from flow.settings import Settings
from flow.tvl1 import TVL1Params
from store_files import META


def meta(settings: Settings) -> Meta:
    return replace(META, version=settings.version(), **settings.recorded())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(solver="cpu"),
        Settings(solver="cpu", params=TVL1Params.opencv_cuda(), short_side=256, step=2),
        Settings(algorithm="farneback", codec="png", rgb=False),
        Settings(algorithm="dis", bound=7.5, encoding="dense_flow", quality=80),
    ],
)
def test_what_is_recorded_is_what_was_set(settings: Settings) -> None:
    settings = settings.resolved()
    assert set(settings.recorded()) == set(SETTINGS)
    assert settings.difference(Meta.from_json(meta(settings).to_json())) is None
    other = Settings(solver="cpu", bound=3.0, quality=11)
    assert settings.difference(meta(other)) is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"params": TVL1Params(lambda_=0.05)}, "lambda_ 0.15, not 0.05"),
        ({"solver": "auto", "algorithm": "dis"}, "algorithm tvl1, not dis"),
        ({"solver": "auto", "algorithm": "dis", "quality": 9}, "algorithm tvl1, not dis"),
        ({"rgb": False}, "rgb True, not False"),
    ],
)
def test_a_difference_is_named(change: dict[str, Any], words: str) -> None:
    stored = meta(Settings(solver="cpu"))
    settings = replace(Settings(solver="cpu"), **change).resolved()
    assert settings.difference(stored) == words


def test_the_version_is_that_of_the_program_that_computes() -> None:
    assert Settings(algorithm="dis").resolved().version() == f"opencv {cv2.__version__}"
    assert Settings(solver="opencv").resolved().version() == f"opencv {cv2.__version__}"
    assert Settings(solver="cpu").resolved().version().startswith("twostream-flow ")


def test_a_solver_that_cannot_run_is_refused_where_it_is_to() -> None:
    settings = Settings(solver="opencv", params=TVL1Params.opencv_cuda())
    with pytest.raises(InputError, match="sampling"):
        settings.resolved()
    assert settings.resolved(try_it=False) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        *({"bound": 0}, {"encoding": "other"}, {"quality": 0}, {"quality": 101}, {"step": 0}),
        *({"short_side": 0}, {"codec": "gif"}, {"algorithm": "other"}),
        {"algorithm": "dis", "solver": "cpu"},
        {"algorithm": "farneback", "params": TVL1Params(tau=0.2)},
    ],
)
def test_settings_check_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)
