"""What an ONNX file takes and gives, read without the packages `onnx` and `onnxruntime`.

The file is one protocol buffer, so a walk over the lengths of its fields also tells whether it is whole. Field numbers
are those of onnx.proto (ONNX 1.x), in which ModelProto holds GraphProto and that holds ValueInfoProto.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gvf_core.errors import WeightsError

Shape = tuple[int | None, ...]
"""Sizes; None where the file leaves one open."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_IR_VERSION, _MODEL_GRAPH = 1, 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_INITIALIZER_NAME, _VALUE_NAME, _VALUE_TYPE = 8, 1, 2
_TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_SIZE, _SIZE_VALUE = 1, 2, 1, 1
# U2-Net has about ten thousand; a small file could be made of millions of empty ones.
_MAX_FIELDS = 200_000


@dataclass(frozen=True)
class OnnxHeader:
    """What a network takes and gives, without its stored weights.

    Attributes:
        inputs: Shapes by name, in the order of the file.
        outputs: Likewise.
        nodes: Number of operations.
    """

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    nodes: int


def read_onnx_header(path: Path) -> OnnxHeader:
    """Read names and shapes of inputs and outputs, and check that the file is whole.

    Raises:
        WeightsError: It is no ONNX file, or cut off.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Walk(data))
    except ValueError as error:
        raise WeightsError(f"{path.name} is not a readable ONNX file ({error}).", "Fetch it again.") from error


@dataclass
class _Walk:
    """Fields of messages in a file; counts them, so that the work has an end."""

    data: mmap.mmap
    fields: int = 0

    def over(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Number, type, value or start, and end of each field of the message between two places."""
        at = start
        while at < end:
            self.fields += 1
            if self.fields > _MAX_FIELDS:
                raise ValueError("it has too many fields")
            key, at = self._varint(at, end)
            kind = key & 7
            value = at
            if kind == _VARINT:
                value, at = self._varint(at, end)
            elif kind == _BYTES:
                length, value = self._varint(at, end)
                at = value + length
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(f"it has a field of type {kind}")
            if at > end:
                raise ValueError("it is cut off")
            yield key >> 3, kind, value, at

    def text(self, start: int, end: int) -> str:
        """A name; names that are not printable or very long are shortened."""
        return ascii(self.data[start : min(end, start + 100)].decode("utf-8", "replace"))[1:-1]

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        # Ten bytes of seven bits hold 64 bits.
        for shift in range(0, 70, 7):
            if at >= end:
                raise ValueError("it is cut off")
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise ValueError("it has an endless number")


def _header(walk: _Walk) -> OnnxHeader:
    version, graph = 0, None
    for number, kind, value, end in walk.over(0, len(walk.data)):
        if (number, kind) == (_MODEL_IR_VERSION, _VARINT):
            version = value
        elif (number, kind) == (_MODEL_GRAPH, _BYTES):
            graph = (value, end)
    if not version or graph is None:
        raise ValueError("it has no version or no graph")
    inputs: dict[str, Shape] = {}
    outputs: dict[str, Shape] = {}
    initializers: set[str] = set()
    nodes = 0
    for number, kind, value, end in walk.over(*graph):
        if kind != _BYTES:
            continue
        if number == _GRAPH_NODE:
            nodes += 1
        elif number == _GRAPH_INITIALIZER:
            initializers |= {walk.text(*place) for place in _parts(walk, value, end, _INITIALIZER_NAME)}
        elif number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            name = "".join(walk.text(*place) for place in _parts(walk, value, end, _VALUE_NAME))
            (inputs if number == _GRAPH_INPUT else outputs)[name] = _shape(walk, value, end)
    # Old files list their weights among the inputs too.
    return OnnxHeader({name: inputs[name] for name in inputs if name not in initializers}, outputs, nodes)


def _parts(walk: _Walk, start: int, end: int, wanted: int) -> list[tuple[int, int]]:
    """Start and end of the fields of one number that have a length."""
    found = walk.over(start, end)
    return [(value, stop) for number, kind, value, stop in found if (number, kind) == (wanted, _BYTES)]


def _shape(walk: _Walk, start: int, end: int) -> Shape:
    places = [(start, end)]
    for wanted in (_VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_SIZE):
        places = [part for place in places for part in _parts(walk, *place, wanted)]
    return tuple(_size(walk, *place) for place in places)


def _size(walk: _Walk, start: int, end: int) -> int | None:
    found = walk.over(start, end)
    values = [value for number, kind, value, _ in found if (number, kind) == (_SIZE_VALUE, _VARINT)]
    return values[-1] if values else None
