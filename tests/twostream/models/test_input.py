"""Input conventions.

Known answers: the formulas of the published networks, on stored pixels. Oracle: ``flow.encoding``
for the codes of flow, ``twostream.data.transforms`` for P3D's own. Round trip: through JSON.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flow.encoding import encode
from flow.errors import InputError
from twostream.data.transforms import BGR_MEAN, FLOW_ZERO, Geometry
from twostream.data.transforms import test_view as view
from twostream.models.input import (
    CAFFE_RGB,
    IMAGENET_RGB,
    P3D_FLOW,
    P3D_PUBLISHED_FLOW,
    P3D_RGB,
    InputConvention,
)

ALL = [P3D_RGB, P3D_FLOW, P3D_PUBLISHED_FLOW, CAFFE_RGB, IMAGENET_RGB, IMAGENET_RGB.for_flow()]
WHOLE = Geometry(None, (8, 9))


def images(channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(1, 256, (4, 8, 9, channels), np.uint8)


def test_p3d_s_own_is_what_the_data_gives() -> None:
    assert (P3D_RGB.mean, P3D_FLOW.mean) == (BGR_MEAN, (FLOW_ZERO, FLOW_ZERO))
    for convention, stream in ((P3D_RGB, "rgb"), (P3D_FLOW, "flow")):
        clip = view(images(len(convention.mean)), stream, WHOLE)  # type: ignore[arg-type]
        assert torch.equal(convention.of_p3d(clip), clip)


def test_torchvision_s_is_zero_to_one_minus_mean_over_deviation() -> None:
    frames = images(3)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((frames / 255 - mean) / deviation).transpose(3, 0, 1, 2)
    clip = IMAGENET_RGB.of_p3d(view(frames, "rgb", WHOLE))
    # A pixel's value in float32 has an error of 8e-6 (2^-17), over the deviation.
    np.testing.assert_allclose(clip.numpy(), expected, rtol=0, atol=1e-6)
    batch = IMAGENET_RGB.of_p3d(view(frames, "rgb", WHOLE).expand(2, -1, -1, -1, -1))
    assert torch.equal(batch[1], clip)


def test_caffe_s_is_bgr_minus_its_own_mean() -> None:
    frames = images(3)
    expected = (frames[..., ::-1] - np.array([103.939, 116.779, 123.68])).transpose(3, 0, 1, 2)
    clip = CAFFE_RGB.of_p3d(view(frames, "rgb", WHOLE))
    np.testing.assert_allclose(clip.numpy(), expected, rtol=0, atol=5e-5)


def test_flow_of_a_symmetric_store_in_dense_flow_s_codes() -> None:
    """Both round by half a level at most."""
    field = np.random.default_rng(0).uniform(-20, 20, (4, 8, 9, 2)).astype(np.float32)
    expected = encode(field, 20, "dense_flow").transpose(3, 0, 1, 2) - 128.0
    clip = P3D_PUBLISHED_FLOW.of_p3d(view(encode(field, 20), "flow", WHOLE))
    assert np.abs(clip.numpy() - expected).max() < 1.01
    still = P3D_PUBLISHED_FLOW.of_p3d(torch.zeros(2, 1, 1, 1))
    assert still.unique().tolist() == [-0.5]


def test_flow_under_rgb_weights_has_their_mean_scale() -> None:
    clip = view(images(2), "flow", WHOLE)
    scale = sum(IMAGENET_RGB.scale) / 3
    torch.testing.assert_close(IMAGENET_RGB.for_flow().of_p3d(clip), clip * scale)
    assert P3D_PUBLISHED_FLOW.for_flow() is P3D_PUBLISHED_FLOW


@pytest.mark.parametrize("convention", ALL, ids=str)
def test_through_json_and_back(convention: InputConvention) -> None:
    assert InputConvention.from_dict(json.loads(json.dumps(convention.to_dict()))) == convention


def test_in_words() -> None:
    assert str(P3D_RGB) == "BGR 0 to 255, minus (104, 117, 123), times (1, 1, 1)"
    assert str(P3D_FLOW) == "flow 0 to 255, symmetric codes, minus (128, 128), times (1, 1)"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"channels": "grey"}, "give BGR, RGB or flow"),
        ({"mean": (1.0, 2.0)}, "The mean is .* give 3 finite numbers"),
        ({"mean": (1.0, 2.0, float("nan"))}, "give 3 finite numbers"),
        ({"scale": (1.0, 1.0, float("inf"))}, "give 3 finite numbers"),
        ({"scale": (1.0, 1.0, 0.0)}, "give numbers above 0"),
        ({"size": (0, 5)}, "give height and width"),
        ({"encoding": "symmetric"}, "The encoding of BGR"),
        ({"channels": "flow", "mean": (1.0, 1.0), "scale": (1.0, 1.0)}, "The encoding of flow"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        replace(P3D_RGB, **changes)
