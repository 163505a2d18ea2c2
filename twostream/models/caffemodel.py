"""The weights in a .caffemodel, read without Caffe and without protobuf.

A file is one NetParameter in protobuf's wire format (protobuf.dev, "Encoding"); the numbers of its
fields are those of src/caffe/proto/caffe.proto in github.com/BVLC/caffe. Nothing but lengths and
numbers is believed, and none before it is checked against what is there.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flow.errors import InputError

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # wire types
MOST_DIMENSIONS = 32  # Caffe's kMaxBlobAxes

Value = int | memoryview


class Layer(NamedTuple):
    """Where a kind of layer has its name and its blobs."""

    name: int
    blobs: int


LAYERS = {100: Layer(name=1, blobs=7), 2: Layer(name=4, blobs=6)}  # LayerParameter, V1's
# BlobProto
SHAPE, DATA, DOUBLE_DATA = 7, 5, 8
NUM, CHANNELS, HEIGHT, WIDTH = 1, 2, 3, 4  # before there was a shape


class _MalformedError(Exception):
    """What is wrong with the bytes."""


def read_caffemodel(path: Path) -> dict[str, tuple[Tensor, ...]]:
    """The blobs of every layer that has some, by the layer's name: float32, in the file's shapes.

    Raises:
        InputError: It cannot be read, is cut off, or is no .caffemodel.
    """
    try:
        with path.open("rb") as file:
            # A private copy of the pages that are touched: a file of 300 MB is never read twice.
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        layers = _layers(content)
    except (OSError, ValueError, _MalformedError) as problem:
        raise InputError(
            f"{path} cannot be read as a .caffemodel ({problem}); "
            "give a whole file of weights that Caffe has written."
        ) from problem
    if not layers:
        raise InputError(f"{path} has no layer with weights; give a trained .caffemodel.")
    return layers


def _layers(content: memoryview) -> dict[str, tuple[Tensor, ...]]:
    layers: dict[str, tuple[Tensor, ...]] = {}
    for number, value in _fields(content):
        if number not in LAYERS:
            continue
        name, blobs = _layer(_message(value), LAYERS[number])
        if blobs and name in layers:
            raise _MalformedError(f"two layers are named {name}")
        if blobs:
            layers[name] = blobs
    return layers


def _layer(message: memoryview, layer: Layer) -> tuple[str, tuple[Tensor, ...]]:
    name, blobs = "", []
    for number, value in _fields(message):
        if number == layer.name:
            name = bytes(_message(value)).decode()
        elif number == layer.blobs:
            blobs.append(_blob(_message(value)))
    return name, tuple(blobs)


def _blob(message: memoryview) -> Tensor:
    shape: tuple[int, ...] | None = None
    legacy: dict[int, int] = {}
    data: dict[int, list[memoryview]] = {DATA: [], DOUBLE_DATA: []}
    for number, value in _fields(message):
        if number == SHAPE:
            shape = _shape(_message(value))
        elif number in (NUM, CHANNELS, HEIGHT, WIDTH):
            legacy[number] = _number(value)
        elif number in data:
            data[number].append(_message(value))
    if shape is None:
        axes = (NUM, CHANNELS, HEIGHT, WIDTH) if legacy else ()
        shape = tuple(legacy.get(axis, 0) for axis in axes)
    form, parts = ("<f8", data[DOUBLE_DATA]) if data[DOUBLE_DATA] else ("<f4", data[DATA])
    return _tensor(shape, form, parts)


def _tensor(shape: tuple[int, ...], form: str, parts: list[memoryview]) -> Tensor:
    count, size = math.prod(shape), sum(map(len, parts))
    if size != count * np.dtype(form).itemsize:
        raise _MalformedError(f"a blob of shape {shape} has {size} bytes of values")
    raw = parts[0] if len(parts) == 1 else b"".join(parts)
    with np.errstate(over="ignore"):  # whoever uses the values checks that they are finite
        values = np.frombuffer(raw, form).astype(np.float32)
    return torch.from_numpy(values.reshape(shape))


def _shape(message: memoryview) -> tuple[int, ...]:
    if len(message) > 11 * MOST_DIMENSIONS:  # a key and 10 bytes each
        raise _MalformedError("a blob has too many dimensions")
    dimensions: list[int] = []
    for number, value in _fields(message):
        if number != 1:
            continue
        if isinstance(value, int):
            dimensions.append(value)
            continue
        at = 0
        while at < len(value):
            dimension, at = _varint(value, at)
            dimensions.append(dimension)
    return tuple(dimensions)


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """The numbers and values of a message's fields; bytes are views, nothing is copied."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _MalformedError("a field has the number 0")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == LENGTH:
            length, at = _varint(message, at)
        elif wire in (FOUR_BYTES, EIGHT_BYTES):
            length = 4 if wire == FOUR_BYTES else 8
        else:
            raise _MalformedError(f"a field has the wire type {wire}, which Caffe does not write")
        if length > len(message) - at:
            raise _MalformedError(f"a field of {length} bytes ends after {len(message) - at}")
        yield number, message[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number of 7 bits a byte, the lowest first, that starts at ``at``, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _MalformedError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError("a number has more than 10 bytes")


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise _MalformedError("a number stands where a message belongs")
    return value


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise _MalformedError("bytes stand where a number belongs")
    return value
