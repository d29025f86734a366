"""LiteRT: names and metadata of a flatbuffer, overwritten where they lie.

Nothing moves: weights keep the alignment that the converter gave them, and what computes stays as it is. A
flatbuffer string is a length (32 bit, little endian), the bytes, a zero; a shorter one fits in its place.
Layout: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

import random
import string
import struct
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table

from agent.errors import PackageError
from agent.release.litert_archive import split

_NAME_BYTES = 4
_LETTERS = string.ascii_lowercase + string.digits
# Places of fields in their tables: 4 + 2 · the field's number in the schema.
_MODEL_DESCRIPTION, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 10, 8, 12
_MODEL_METADATA, _MODEL_SIGNATURES = 16, 18
_SUBGRAPH_NAME, _TENSOR_NAME = 12, 10
_METADATA_NAME = 4
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _MAP_NAME = 4, 6, 8, 4


def obfuscate_litert(model: bytes, seed: int) -> bytes:
    """Return the model under other names, without metadata and without an archive behind it.

    Raises:
        PackageError: It cannot be parsed.
    """
    data = bytearray(split(model)[0])
    chance = random.Random(seed)  # noqa: S311 - repeatable names, no secret
    try:
        root = schema.Model.GetRootAs(data, 0)
        places = sorted({place for place in _names(root) if place})
        buffers = sorted({place for place in _metadata_buffers(root) if place})
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise PackageError(f"not a LiteRT model: {error}", code="package.model") from error
    for place in places:
        _overwrite(data, place, "".join(chance.choices(_LETTERS, k=_NAME_BYTES)).encode())
    for place in buffers:
        _overwrite(data, place, b"")
    return bytes(data)


def _names(model: Any) -> Iterator[int]:
    """Yield where each name lies: the place of its length; 0 where a table has none."""
    yield _string(model, _MODEL_DESCRIPTION)
    for graph in _children(model, _MODEL_SUBGRAPHS, schema.SubGraph):
        yield _string(graph, _SUBGRAPH_NAME)
        for index in range(graph.TensorsLength()):
            yield _string(graph.Tensors(index), _TENSOR_NAME)
    for note in _children(model, _MODEL_METADATA, schema.Metadata):
        yield _string(note, _METADATA_NAME)
    for signature in _children(model, _MODEL_SIGNATURES, schema.SignatureDef):
        yield _string(signature, _SIGNATURE_KEY)
        for side in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS):
            for pair in _children(signature, side, schema.TensorMap):
                yield _string(pair, _MAP_NAME)


def _metadata_buffers(model: Any) -> Iterator[int]:
    """Yield where the bytes of each piece of metadata lie: the place of their length."""
    weights = {
        tensor.Buffer()
        for graph in _children(model, _MODEL_SUBGRAPHS, schema.SubGraph)
        for tensor in (graph.Tensors(index) for index in range(graph.TensorsLength()))
    }
    for note in _children(model, _MODEL_METADATA, schema.Metadata):
        if note.Buffer() not in weights:
            yield _string(model.Buffers(note.Buffer()), 4)


def _children(parent: Any, field: int, kind: Any) -> Iterator[Any]:
    """Yield the tables in a vector of tables."""
    table: Table = parent._tab  # noqa: SLF001 - the generated readers give no positions
    offset = table.Offset(field)
    for index in range(table.VectorLen(offset) if offset else 0):
        child = kind()
        child.Init(table.Bytes, table.Indirect(table.Vector(offset) + 4 * index))
        yield child


def _string(parent: Any, field: int) -> int:
    """Return where the length of a string or of a vector of bytes lies; 0 where there is none."""
    table: Table = parent._tab  # noqa: SLF001
    offset = table.Offset(field)
    return int(table.Vector(offset)) - 4 if offset else 0


def _overwrite(data: bytearray, place: int, text: bytes) -> None:
    (length,) = struct.unpack_from("<I", data, place)
    text = text[:length]
    data[place + 4 : place + 4 + length] = text.ljust(length, b"\0")
    struct.pack_into("<I", data, place, len(text))
