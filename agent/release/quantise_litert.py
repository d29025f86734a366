"""INT8 of a float LiteRT detector, by LiteRT's own quantiser: integers from input to output, or with what suffers in float.

Weights are quantised channel by channel (int8, symmetric); activations tensor by tensor (int8), by ranges that calibration pictures
have, or dynamically: LiteRT then finds the range of each picture's activations when it runs.

A whole-integer file gives boxes and scores in one tensor with one scale. So what lies behind the last convolutions is the first to
stay in float, then convolutions: those that write boxes, scores and attention, and those whose output keeps least of its signal.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import calibrator, qtyping, quantizer, recipe_manager
from litert_quantizer.algorithm_manager import AlgorithmName
from litert_quantizer.utils import qsv_utils
from numpy.typing import NDArray
from typing_extensions import Self

from agent.errors import PackageError
from agent.release.litert_archive import joined, split
from agent.release.optimise.settings import Ranges

Float32 = NDArray[np.float32]
_JUDGED_PICTURES = 8
# So many convolutions stay in float, from try to try.
_KEPT = (12, 24, 48)
_STEPS = 255  # of eight bits
_UNREADABLE = (ValueError, RuntimeError, TypeError, IndexError, struct.error)
_OP = schema.BuiltinOperator
_CONVOLUTIONS = frozenset({_OP.CONV_2D, _OP.DEPTHWISE_CONV_2D})
_ACTIVATIONS = frozenset({_OP.LOGISTIC, _OP.HARD_SWISH, _OP.RELU, _OP.RELU6, _OP.LEAKY_RELU})
_ALL = qtyping.TFLOperationName.ALL_SUPPORTED
_OUTPUT = qtyping.TFLOperationName.OUTPUT


class LiteRtQuantiser:
    """One float model and the inputs it is calibrated with.

    Args:
        model: The float .tflite file, with one input.
        inputs: What its input tensor holds for each calibration picture, each of the input's own shape, float32.
        ranges: Where the ranges of activations come from.

    Raises:
        PackageError: It is no LiteRT model, is quantised already, has no convolution, or there are no inputs.
    """

    def __init__(self, model: Path, inputs: Sequence[Float32], ranges: Ranges) -> None:
        if not inputs:
            raise PackageError("calibration: expected pictures, found none")
        self._inputs = inputs
        self._ranges = ranges
        self._network, self._files = split(model.read_bytes())
        try:
            self._graph = _Graph(self._network)
            self._interpreter = _interpreter(self._network)
            ((self._signature, ends),) = self._interpreter.get_signature_list().items()
            (self._input,) = ends["inputs"]
        except _UNREADABLE as error:
            why = str(error).partition("\n")[0]
            message = f"{model}: cannot be read as LiteRT with one input: {why}"
            raise PackageError(message, code="package.model") from error
        if not self._graph.convolutions or not self._graph.is_float:
            message = f"{model}: expected float convolutions to quantise, found none"
            raise PackageError(message, code="package.model")
        self._observed: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def tries(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and file of one try after the other, with more and more in float."""
        graph = self._graph
        yield "int8 throughout", self._quantise(())
        decoding = graph.decoding()
        yield "int8, decoded in float", self._quantise(decoding)
        worst = self._by_harm()
        for kept in _KEPT:
            yield f"int8, decoded and {kept} in float", self._quantise([*decoding, *worst[:kept]])

    def _quantise(self, keep_float: Sequence[int]) -> bytes:
        """Return the file with the operators of these numbers left in float, and with the output, where there are any."""
        made = quantizer.Quantizer(self._network)
        if self._ranges is Ranges.STATIC:
            made.add_static_config(".*", _ALL, activation_num_bits=8, weight_num_bits=8)
        else:
            made.add_dynamic_config(".*", _ALL, num_bits=8)
        if keep_float:
            names = "|".join(re.escape(self._graph.scope(number)) for number in keep_float)
            for pattern, operator in ((f"^(?:{names})$", _ALL), (".*", _OUTPUT)):
                made.update_quantization_recipe(
                    pattern, operator, algorithm_key=AlgorithmName.NO_QUANTIZE
                )
        with _quiet():
            observed = self._observe() if made.need_calibration else None
            found = made.quantize(
                observed, enable_progress_bar=False, enable_progress_report=False
            ).quantized_model
        return joined(bytes(found), self._files)

    def _observe(self) -> dict[str, Any]:
        """Return least and greatest value of every tensor over all pictures."""
        if not self._observed:
            everything = recipe_manager.RecipeManager()
            everything.add_static_config(".*", _ALL, activation_num_bits=8, weight_num_bits=8)
            observer = calibrator.Calibrator(
                self._network,
                num_threads=os.cpu_count(),
                qsv_update_func=qsv_utils.min_max_update,
            )
            pictures = [{self._input: values} for values in self._inputs]
            observer.calibrate({self._signature: pictures}, everything)
            self._observed = observer.get_model_qsvs()
        return self._observed

    def _by_harm(self) -> list[int]:
        """Return the convolutions' numbers, those first that are worth most to keep in float."""
        signal = self._signals()
        final = self._graph.final()
        return sorted(self._graph.convolutions, key=lambda one: (one not in final, signal[one]))

    def _signals(self) -> dict[int, float]:
        """Return by convolution the ratio of its output's signal to the noise of eight bits over its range, dB."""
        numbers = self._graph.convolutions
        places = {number: self._graph.outputs(number)[0] for number in numbers}
        power, low, high = (dict.fromkeys(numbers, 0.0) for _ in range(3))
        run = self._interpreter.get_signature_runner(self._signature)
        for values in self._inputs[:_JUDGED_PICTURES]:
            run(**{self._input: values})
            for number, place in places.items():
                found = self._interpreter.get_tensor(place)
                power[number] += float(np.square(found).mean())
                low[number] = min(low[number], float(found.min()))
                high[number] = max(high[number], float(found.max()))
        noise = {one: ((high[one] - low[one]) / _STEPS) ** 2 / 12 for one in numbers}
        return {one: _decibels(power[one], noise[one]) for one in numbers}


class _Graph:
    """What a LiteRT file computes: operators by number, tensors by place."""

    def __init__(self, network: bytes) -> None:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network, 0))
        self._graph = model.subgraphs[0]
        self._tensors = self._graph.tensors
        codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes]
        self._kinds = [codes[one.opcodeIndex] for one in self._graph.operators]
        self.convolutions = [
            number for number, kind in enumerate(self._kinds) if kind in _CONVOLUTIONS
        ]

    @property
    def is_float(self) -> bool:
        """Whether no tensor is quantised."""
        return all(one.type != schema.TensorType.INT8 for one in self._tensors)

    def outputs(self, number: int) -> list[int]:
        """Return the places of an operator's outputs."""
        return [int(place) for place in self._graph.operators[number].outputs]

    def scope(self, number: int) -> str:
        """Return what the quantiser knows an operator by."""
        names = (self._tensors[place].name for place in self.outputs(number))
        return "".join(f"{name.decode()};" for name in names)

    def final(self) -> set[int]:
        """Return the convolutions without an activation behind them."""
        activated = self._read_by(_ACTIVATIONS)
        return {one for one in self.convolutions if self.outputs(one)[0] not in activated}

    def decoding(self) -> list[int]:
        """Return the operators between the output and the last convolutions.

        A convolution with one output channel does not end them: it is how a distribution of box sides becomes a number.
        """
        makers = {
            place: number for number in range(len(self._kinds)) for place in self.outputs(number)
        }
        found: set[int] = set()
        places = [int(place) for place in self._graph.outputs]
        while places:
            number = makers.get(places.pop())
            if number is None or number in found or self._ends(number):
                continue
            found.add(number)
            places.extend(int(place) for place in self._graph.operators[number].inputs)
        return sorted(found)

    def _ends(self, number: int) -> bool:
        shape = self._tensors[self.outputs(number)[0]].shape
        return number in self.convolutions and int(shape[-1]) > 1

    def _read_by(self, kinds: Iterable[int]) -> set[int]:
        return {
            int(place)
            for kind, operator in zip(self._kinds, self._graph.operators, strict=True)
            if kind in kinds
            for place in operator.inputs
        }


def _interpreter(network: bytes) -> Any:
    """Return one that keeps what every operator gave."""
    with _quiet():
        made = Interpreter(
            model_content=network,
            experimental_preserve_all_tensors=True,
            num_threads=os.cpu_count(),
        )
        made.allocate_tensors()
    return made


def _decibels(power: float, noise: float) -> float:
    return 10 * math.log10(power / noise) if power and noise else math.inf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice, prints and progress bars from the terminal."""
    logger, told = logging.getLogger(), io.StringIO()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(told),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
