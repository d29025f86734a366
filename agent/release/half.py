"""FP16 of an ONNX detector: weights and arithmetic in half precision, inputs and outputs float32 as before."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from agent.errors import PackageError


def halve(model: Path) -> bytes:
    """Return the file with its float32 weights and arithmetic in float16; operators that have no float16 stay as they are.

    Raises:
        PackageError: It is no ONNX model.
    """
    try:
        read = onnx.load(model)
        onnx.checker.check_model(read)
    except (DecodeError, onnx.checker.ValidationError) as error:
        message = f"{model}: cannot be read as ONNX: {error}"
        raise PackageError(message, code="package.model") from error
    made = convert_float_to_float16(read, keep_io_types=True)
    # The library appends its casts where they are not yet known.
    OnnxModel(made).topological_sort()
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))
