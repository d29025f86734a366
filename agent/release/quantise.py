"""Static INT8 of an ONNX detector: calibrated on pictures, convolutions and their SiLU, those that suffer kept in float.

The file gets QuantizeLinear and DequantizeLinear nodes (QDQ), as ONNX Runtime and TensorRT take them. Weights are quantised
channel by channel (int8, symmetric), activations tensor by tensor (uint8). A SiLU in float between two convolutions costs more
than what eight bits save in them. Everything else stays in float: it costs little and decodes boxes, which eight bits cannot.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.qdq_loss_debug import (
    collect_activations,
    compute_activation_error,
    compute_signal_to_quantization_noice_ratio,
    create_activation_matching,
    modify_model_output_intermediate_tensors,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from typing_extensions import Self

from agent.errors import PackageError

Float32 = NDArray[np.float32]
_JUDGED_PICTURES = 8
_LEAST_OPSET = 13
_UNREADABLE = (
    DecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,
)
_ACTIVATIONS = frozenset({"Sigmoid", "Mul", "Relu", "LeakyRelu", "HardSwish", "Clip"})


# How many convolutions stay in float, from try to try.
_KEPT = (0, 12, 20, 32, 48)

# How an activation's range is found: all of it, or all but its outliers (slower).
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}


class Quantiser:
    """One float model and the inputs it is calibrated with.

    Args:
        model: The float ONNX file.
        inputs: What its input tensor holds for each calibration picture, each of the input's own shape, float32.
        method: A key of `METHODS`.
        reduce_range: Weights of seven bits, see `Quantisation`.

    Raises:
        PackageError: It is no ONNX model, has no convolution, or there are no inputs.
    """

    def __init__(
        self, model: Path, inputs: Sequence[Float32], method: str, *, reduce_range: bool = False
    ) -> None:
        if not inputs:
            raise PackageError("calibration: expected pictures, found none")
        self._inputs = inputs
        self._method = METHODS[method]
        self._reduce_range = reduce_range
        self._folder = tempfile.TemporaryDirectory(prefix="vigil-quantise-")
        self._plain = Path(self._folder.name) / "plain.onnx"
        self._metadata = _prepare(model, self._plain)
        graph = onnx.load(self._plain).graph
        self._input = graph.input[0].name
        activated = {
            name for node in graph.node if node.op_type in _ACTIVATIONS for name in node.input
        }
        outputs = {node.name: node.output[0] for node in graph.node if node.op_type == "Conv"}
        self.convolutions = list(outputs)
        self._outputs = outputs
        self._silus = _silus(graph)
        self._final = {name for name, output in outputs.items() if output not in activated}
        if not self.convolutions:
            raise PackageError(f"{model}: no convolution to quantise", code="package.model")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def tries(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and file of one try after the other, with more and more convolutions in float."""
        worst: list[str] = []
        for kept in _KEPT:
            worst = worst or (self.by_harm() if kept else [])
            yield f"int8, {kept} in float", self.quantise(worst[:kept])

    def quantise(self, keep_float: Sequence[str] = ()) -> bytes:
        """Return the quantised file, with the convolutions named in `keep_float` left as they are."""
        out = Path(self._folder.name) / "quantised.onnx"
        self._quantise(out, keep_float)
        made = onnx.load(out)
        onnx.helper.set_model_props(made, self._metadata)
        return bytes(made.SerializeToString(deterministic=True))

    def by_harm(self) -> list[str]:
        """Return the convolutions, those first that are worth most to keep in float.

        First those without an activation behind them: they write boxes, scores and attention, where a step of eight bits
        is seen at once. Then the one whose output keeps least of its signal: the ratio of signal to quantisation noise of
        each output alone, so that an error that a layer hands on counts where it arises.
        """
        with _quiet():
            signal = self._signals()

        def rank(name: str) -> tuple[bool, float]:
            return name not in self._final, signal.get(self._outputs[name], math.inf)

        return sorted(self.convolutions, key=rank)

    def _signals(self) -> dict[str, float]:
        """Return the ratio of signal to quantisation noise (dB) by the name of each activation."""
        folder = Path(self._folder.name)
        quantised, told, plain_told = (folder / f"{name}.onnx" for name in ("q", "q-told", "told"))
        self._quantise(quantised, ())
        modify_model_output_intermediate_tensors(str(self._plain), str(plain_told))
        modify_model_output_intermediate_tensors(str(quantised), str(told))
        judged = self._inputs[:_JUDGED_PICTURES]
        matched = create_activation_matching(
            collect_activations(str(told), _Reader(self._input, judged)),
            collect_activations(str(plain_told), _Reader(self._input, judged)),
        )
        errors = compute_activation_error(matched, compute_signal_to_quantization_noice_ratio)
        return {name: float(kinds["qdq_err"]) for name, kinds in errors.items()}

    def _quantise(self, out: Path, keep_float: Sequence[str]) -> None:
        rounded = [name for name in self.convolutions if name not in keep_float]
        with _quiet():
            quantize_static(
                str(self._plain),
                str(out),
                _Reader(self._input, self._inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Sigmoid", "Mul"],
                nodes_to_quantize=[part for name in rounded for part in (name, *self._silus[name])],
                per_channel=True,
                reduce_range=self._reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=self._method,
            )


class _Reader(CalibrationDataReader):  # type: ignore[misc] # the library is untyped
    def __init__(self, name: str, inputs: Sequence[Float32]) -> None:
        self._feeds = iter([{name: values} for values in inputs])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _silus(graph: onnx.GraphProto) -> dict[str, list[str]]:
    """Return the Sigmoid and the Mul that make x * sigmoid(x) of a convolution's output, by the convolution's name."""
    takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            takers[name].append(node)
    found: dict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        if node.op_type == "Sigmoid":
            (source,), (gate,) = node.input, node.output
            found[source] += [
                name
                for mul in takers[source]
                if mul.op_type == "Mul" and set(mul.input) == {source, gate}
                for name in (node.name, mul.name)
            ]
    return {node.name: found[node.output[0]] for node in graph.node if node.op_type == "Conv"}


def _prepare(model: Path, out: Path) -> dict[str, str]:
    """Fold what is constant and name every node; return the file's own metadata."""
    try:
        read = onnx.load(model)
        onnx.checker.check_model(read)
        onnx.save(_modern(read), out)
        with _quiet():
            quant_pre_process(str(out), str(out), skip_symbolic_shape=True)
    except _UNREADABLE as error:
        raise PackageError(
            f"{model}: cannot be read as ONNX: {error}", code="package.model"
        ) from error
    prepared = onnx.load(out)
    for number, node in enumerate(prepared.graph.node):
        node.name = node.name or f"node{number}"
    onnx.save(prepared, out)
    return {entry.key: entry.value for entry in read.metadata_props}


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset whose DequantizeLinear takes weights channel by channel."""
    (opset,) = (one.version for one in model.opset_import if not one.domain)
    if opset >= _LEAST_OPSET:
        return model
    return onnx.version_converter.convert_version(model, _LEAST_OPSET)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice and prints from the terminal."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
