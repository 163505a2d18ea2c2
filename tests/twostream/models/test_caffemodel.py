"""The reader of .caffemodel files.

Round trip: layers written here field by field. Known answer: bytes worked out by hand.
Identity: a .caffemodel under the author's layer names gives the same network as the PyTorch file
that was converted from it. Property: whatever byte is cut off or changed, the reader gives layers
or a sentence, and nothing else.
"""

import contextlib
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flow.errors import InputError
from twostream.models import load_weights
from twostream.models.caffemodel import read_caffemodel
from twostream.models.input import P3D_PUBLISHED_FLOW, P3D_RGB
from twostream.models.p3d import Bottleneck, P3DResNet

DEPTHS = (2, 4, 2, 2)  # a stage of four: Caffe calls its blocks a, b1, b2, b3

Layers = dict[str, list[Tensor]]


# A writer of what Caffe writes


def varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(values: Tensor, form: str = "shape") -> bytes:
    """BlobProto: data and, as asked, a shape, four legacy sizes, or values one by one."""
    data = values.float().numpy().astype("<f4").tobytes()
    shape = message(7, message(1, *map(varint, values.shape)))
    if form == "legacy":
        sizes = (1,) * (4 - values.ndim) + tuple(values.shape)
        return b"".join(number(i, size) for i, size in enumerate(sizes, 1)) + message(5, data)
    if form == "unpacked":
        key = varint(5 << 3 | 5)
        shape = message(7, *(number(1, size) for size in values.shape))
        return shape + b"".join(key + data[i : i + 4] for i in range(0, len(data), 4))
    if form == "double":
        return shape + message(8, values.double().numpy().astype("<f8").tobytes())
    diff = message(6, data)  # what a solver's snapshot may hold besides
    return message(5, data) + diff + shape


def net(layers: Layers, form: str = "shape") -> bytes:
    """NetParameter, with layers of both ages that have no weights in between."""
    parts = [message(1, b"a net"), number(5, 1)]
    for name, blobs in layers.items():
        if form == "legacy":
            parts.append(message(2, message(4, b"relu"), number(5, 18)))
            content = [message(6, blob(values, form)) for values in blobs]
            parts.append(message(2, message(4, name.encode()), number(5, 4), *content))
        else:
            parts.append(message(100, message(1, b"relu"), message(2, b"ReLU")))
            content = [message(7, blob(values, form)) for values in blobs]
            parts.append(message(100, message(1, name.encode()), message(2, b"X"), *content))
    return b"".join(parts)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


LAYERS: Layers = {
    "conv1": [torch.arange(24.0).reshape(2, 3, 4) - 7.5],
    "fc": [torch.ones(3, 2) / 3, torch.tensor([1e30, -1e-30, 0.0])],
}


@pytest.mark.parametrize("form", ["shape", "unpacked", "double", "legacy"])
def test_layers_come_back_as_they_were_written(tmp_path: Path, form: str) -> None:
    layers = read_caffemodel(write(tmp_path / "n.caffemodel", net(LAYERS, form)))
    assert list(layers) == list(LAYERS)
    for name, blobs in LAYERS.items():
        for value, expected in zip(layers[name], blobs, strict=True):
            shape = (1,) * (4 - expected.ndim) * (form == "legacy") + tuple(expected.shape)
            assert value.shape == shape
            assert torch.equal(value.reshape(expected.shape), expected)


def test_bytes_by_hand(tmp_path: Path) -> None:
    """layer { name: "a" blobs { shape { dim: 2 } data: 1, data: -2 } }"""
    content = bytes.fromhex("a206 14 0a0161 3a0f 3a030a0102 2a080000803f000000c0".replace(" ", ""))
    layers = read_caffemodel(write(tmp_path / "n.caffemodel", content))
    assert layers["a"][0].tolist() == [1.0, -2.0]


def test_a_value_of_no_dimensions(tmp_path: Path) -> None:
    content = message(100, message(1, b"a"), message(7, message(5, struct.pack("<f", 3))))
    assert read_caffemodel(write(tmp_path / "n.caffemodel", content))["a"][0].tolist() == 3.0


BLOB = blob(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b'name: "P3D"\nlayer {', "wire type"),
        (net(LAYERS)[:-1], "ends after"),
        (b"\x80" * 11, "more than 10 bytes"),
        (b"\x80", "cut off"),
        (varint(100 << 3 | 2) + varint(1 << 62), "ends after"),
        (b"\x00\x01", "number 0"),
        (b"\xa3\x06", "wire type 3"),
        (number(100, 5), "a message belongs"),
        (message(100, message(1, b"\xff"), message(7, BLOB)), "utf-8"),
        (message(100, message(1, b"a"), message(7, BLOB)) * 2, "two layers are named a"),
        (message(100, message(7, message(7, message(1, b"\x07")), message(5, b"1234"))), "shape"),
        (message(100, message(7, message(7, message(1, b"\x01")), message(5, b"123"))), "3 bytes"),
        (
            message(100, message(7, message(7, message(1, b"\x01")), message(5, bytes(8)))),
            "8 bytes",
        ),
        (message(100, message(7, message(7, message(1, varint(1 << 63) * 2)))), "0 bytes"),
        (message(100, message(7, message(7, message(1, b"\x01" * 999)))), "too many dimensions"),
        (message(100, message(7, message(1, b"1"))), "a number belongs"),
        (message(100, message(1, b"a")), "no layer with weights"),
    ],
)
def test_what_is_no_caffemodel_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(InputError, match=rf"n\.caffemodel .*{reason}"):
        read_caffemodel(write(tmp_path / "n.caffemodel", content))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_does_more_than_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(net(LAYERS))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    path = write(tmp_path_factory.getbasetemp() / "damaged.caffemodel", bytes(content))
    with contextlib.suppress(InputError):  # the one thing that it may raise
        layers = read_caffemodel(path)
        assert sum(b.numel() for blobs in layers.values() for b in blobs) * 4 <= len(content)


def test_a_large_file_is_read_once_and_not_kept(tmp_path: Path) -> None:
    """Two layers of 40 MB: what is returned no longer needs the file."""
    big = {name: [torch.full((10_000_000,), value)] for name, value in (("a", 1.0), ("b", 2.0))}
    path = write(tmp_path / "big.caffemodel", net(big))
    layers = read_caffemodel(path)
    write(path, b"")
    assert [float(layers[name][0][-1]) for name in "ab"] == [1, 2]


# The author's layers


def caffe_names(depths: Iterable[int]) -> dict[str, str]:
    """The author's names of the blocks, by the converted ones."""
    names = {}
    for stage, depth in enumerate(depths):
        for block in range(depth):
            letters = "abc"[block] if depth <= 3 else ("a" if block == 0 else f"b{block}")
            names[f"layer{stage + 1}.{block}"] = f"{stage + 2}{letters}"
    return names


def published_layers(
    channels: int, classes: int, bn_shape: tuple[int, ...], head: str
) -> tuple[Layers, dict[str, Tensor]]:
    """Random weights under the author's layer names, and under the converted ones."""
    generator = torch.Generator().manual_seed(0)
    layers: Layers = {}
    state: dict[str, Tensor] = {}

    def conv(layer: str, name: str, *shape: int) -> None:
        kernel = torch.randn(shape, generator=generator)
        kernel *= (2 / kernel[0].numel()) ** 0.5
        layers[layer], state[f"{name}.weight"] = [kernel], kernel

    def bn(layer: str, name: str, size: int) -> None:
        values = [torch.rand(size, generator=generator) + 0.5 for _ in range(4)]
        layers[layer] = [value.reshape(1, size, *bn_shape) for value in values]
        for part, value in zip(
            ("weight", "bias", "running_mean", "running_var"), values, strict=True
        ):
            state[f"{name}.{part}"] = value

    width = 4
    conv("conv1", "conv1_custom", width, channels, 1, 7, 7)
    bn("bn_conv1", "bn1", width)
    size = width
    for name, block in caffe_names(DEPTHS).items():
        flat = name.startswith("layer4")
        inner, one = width * 2 ** (int(name[5]) - 1), (1, 1) if flat else (1, 1, 1)
        units = [("branch2a", "conv1", "bn1", (inner, size, *one))]
        if flat:
            units += [("branch2b", "conv_normal", "bn_normal", (inner, inner, 3, 3))]
        else:
            units += [
                ("branch2b", "conv2", "bn2", (inner, inner, 1, 3, 3)),
                ("branch2b_t", "conv3", "bn3", (inner, inner, 3, 1, 1)),
            ]
        units += [("branch2c", "conv4", "bn4", (4 * inner, inner, *one))]
        if name.endswith(".0"):
            units += [("branch1", "downsample.0", "downsample.1", (4 * inner, size, *one))]
        for branch, conv_name, bn_name, shape in units:
            conv(f"res{block}_{branch}", f"{name}.{conv_name}", *shape)
            bn(f"bn{block}_{branch}", f"{name}.{bn_name}", shape[0])
        size = 4 * inner
    state["fc.weight"] = torch.randn(classes, size, generator=generator)
    state["fc.bias"] = torch.randn(classes, generator=generator)
    layers[head] = [state["fc.weight"], state["fc.bias"]]
    return layers, state


def network(classes: int, channels: int) -> P3DResNet:
    return P3DResNet(DEPTHS, Bottleneck, "ABC", classes, channels, width=4).eval()


@pytest.mark.parametrize(
    ("channels", "classes", "head", "form", "bn_shape", "taken"),
    [
        (3, 487, "fc_sports1m", "shape", (), P3D_RGB),
        (3, 400, "fc_kinetics", "shape", (1, 1, 1), P3D_RGB),
        (2, 400, "fc_kinetics", "unpacked", (), P3D_PUBLISHED_FLOW),
        (2, 101, "fc_ucf101", "double", (1, 1), P3D_PUBLISHED_FLOW),
    ],
)
def test_the_author_s_file_gives_what_the_converted_one_gives(
    tmp_path: Path,
    channels: int,
    classes: int,
    head: str,
    form: str,
    bn_shape: tuple[int, ...],
    taken: object,
) -> None:
    layers, state = published_layers(channels, classes, bn_shape, head)
    torch.save({"state_dict": state}, tmp_path / "p3d.pth.tar")
    by_caffe, by_torch = network(classes, channels), network(classes, channels)
    report = load_weights(by_caffe, write(tmp_path / "p3d.caffemodel", net(layers, form)))
    other = load_weights(by_torch, tmp_path / "p3d.pth.tar")
    assert (report.source, report.used) == ("caffe", sum(map(len, layers.values())))
    assert (report.unused, report.missing, report.notes) == ((), (), ())
    assert report.used == other.used
    assert report.input == other.input == by_caffe.input == taken
    one, two = by_caffe.state_dict(), by_torch.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert torch.equal(one["res3.2.temporal.conv.weight"], layers["res3b2_branch2b_t"][0])
    assert torch.equal(one["res4.1.reduce.bn.running_var"], layers["bn4b_branch2a"][3].flatten())
    clip = torch.randn(1, channels, 4, 40, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(by_caffe(clip), by_torch(clip))


def test_other_classes_and_other_layers_are_said(tmp_path: Path) -> None:
    layers, _ = published_layers(3, 400, (), "fc_kinetics")
    layers["extra"] = [torch.ones(2)]
    model = network(11, 2)
    report = load_weights(model, write(tmp_path / "p3d.caffemodel", net(layers)))
    assert report.head_replaced
    assert report.unused == ("fc_kinetics.0", "fc_kinetics.1", "extra.0")
    assert any("one of 400 classes" in note for note in report.notes)
    average = layers["conv1"][0].mean(1)
    torch.testing.assert_close(model.conv1.conv.weight[:, 1].detach(), average)
    # The stem of frames, averaged: flow as we store it, at the frames' scale.
    assert (report.input.channels, report.input.encoding) == ("flow", "symmetric")


def test_a_2d_caffemodel_and_a_lost_layer_are_refused(tmp_path: Path) -> None:
    layers, _ = published_layers(3, 5, (), "fc")
    flat = {name: blobs for name, blobs in layers.items() if not name.endswith("_t")}
    with pytest.raises(InputError, match=r"holds a 2D network of Caffe's"):
        load_weights(network(5, 3), write(tmp_path / "2d.caffemodel", net(flat)))
    del layers["bn4a_branch2b_t"]
    with pytest.raises(InputError, match=r"it lacks res4\.0\.temporal\.bn\.weight"):
        load_weights(network(5, 3), write(tmp_path / "p3d.caffemodel", net(layers)))
    other = {"ip1": [torch.ones(2, 2)]}
    with pytest.raises(InputError, match="names its tensors neither as a P3D"):
        load_weights(network(5, 3), write(tmp_path / "lenet.caffemodel", net(other)))


def test_the_writer_here_writes_floats_as_numpy_does() -> None:
    assert blob(torch.tensor([1.5]))[2:6] == np.float32(1.5).tobytes()
