"""A float LiteRT detector: the bundled one, whose weights are stored as int8, with its weights as float."""

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from agent.release.litert_archive import joined, split
from tests.release.drafts import BUNDLED


def write_float_litert(path: Path) -> Path:
    network, files = split((BUNDLED / "parts-2.tflite").read_bytes())
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network, 0))
    for buffer in model.buffers:
        if buffer.offset:
            # The exporter stores weights behind the flatbuffer.
            stored = network[buffer.offset : buffer.offset + buffer.size]
            buffer.data, buffer.offset, buffer.size = np.frombuffer(stored, np.uint8), 0, 0
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT8:
            _widen(tensor, model.buffers[tensor.buffer])
    builder = flatbuffers.Builder(1 << 22)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(joined(bytes(builder.Output()), files))
    return path


def _widen(tensor: schema.TensorT, buffer: schema.BufferT) -> None:
    scales = np.array(tensor.quantization.scale, np.float32)
    sides = [1] * len(tensor.shape)
    sides[tensor.quantization.quantizedDimension] = len(scales)
    stored = np.frombuffer(bytes(buffer.data), np.int8).reshape(tensor.shape)
    values = stored.astype(np.float32) * scales.reshape(sides)
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
