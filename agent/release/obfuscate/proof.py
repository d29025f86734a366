"""Proof that two model files compute the same, bit for bit, and how much slower the second is.

Both run in the runtime that devices use, in turn, on the same inputs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.release.obfuscate import is_litert

Run = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]

_INPUTS = 4
_SEED = 20


@dataclass(frozen=True)
class Proof:
    """What a comparison found.

    Attributes:
        inputs: How many inputs both were given.
        different: Output values that differ in any bit.
        largest: Greatest difference of two output values.
        slowdown: Median of the second's time over the first's, pair by pair; 1.0 is as fast.
    """

    inputs: int
    different: int
    largest: float
    slowdown: float

    @property
    def identical(self) -> bool:
        """Whether not a bit differed."""
        return self.different == 0


def compare(before: bytes, after: bytes, *, threads: int = 2, rounds: int = 20) -> Proof:
    """Run both on random inputs, and in turn `rounds` times for the clock.

    Raises:
        ValueError: They do not have one input of the same shape and kind.
    """
    (shape, kind, one), (other_shape, other_kind, other) = (
        _runner(before, threads),
        _runner(after, threads),
    )
    if (shape, kind) != (other_shape, other_kind):
        raise ValueError(f"inputs differ: {shape} {kind} and {other_shape} {other_kind}")
    rng = np.random.default_rng(_SEED)
    inputs = [_noise(rng, shape, kind) for _ in range(_INPUTS)]
    pairs = [
        pair
        for values in inputs
        for pair in zip([a.copy() for a in one(values)], other(values), strict=True)
    ]
    ratios = [_ratio(one, other, inputs[0], reverse=bool(turn % 2)) for turn in range(rounds)]
    return Proof(
        inputs=len(inputs),
        different=sum(int((_bits(a) != _bits(b)).sum()) for a, b in pairs),
        largest=max(float(np.abs(a.astype(np.float64) - b).max(initial=0.0)) for a, b in pairs),
        slowdown=statistics.median(ratios) if ratios else 1.0,
    )


def _ratio(one: Run, other: Run, values: NDArray[Any], *, reverse: bool) -> float:
    """Return the second's time over the first's; who goes first alternates."""
    order = (other, one) if reverse else (one, other)
    first_s, second_s = (_seconds(run, values) for run in order)
    return first_s / second_s if reverse else second_s / first_s


def _seconds(run: Run, values: NDArray[Any]) -> float:
    started_s = time.perf_counter()
    run(values)
    return time.perf_counter() - started_s


def _bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an array's bytes, element by element: NaN equals itself, and -0 is not 0."""
    flat = np.ascontiguousarray(values)
    return flat.view(np.uint8).reshape(flat.size, flat.itemsize)


def _noise(rng: np.random.Generator, shape: Sequence[int], kind: str) -> NDArray[Any]:
    if np.issubdtype(np.dtype(kind), np.integer):
        info = np.iinfo(kind)
        return rng.integers(info.min, info.max, shape, kind, endpoint=True)
    return rng.random(shape).astype(kind)


def _runner(model: bytes, threads: int) -> tuple[Sequence[int], str, Run]:
    return _litert(model, threads) if is_litert(model) else _onnxruntime(model, threads)


def _onnxruntime(model: bytes, threads: int) -> tuple[Sequence[int], str, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}

    def run(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        found: Sequence[NDArray[Any]] = session.run(None, {entry.name: values})
        return found

    return entry.shape, kinds[entry.type], run


def _litert(model: bytes, threads: int) -> tuple[Sequence[int], str, Run]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    exits = [detail["index"] for detail in interpreter.get_output_details()]

    def run(values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        interpreter.set_tensor(entry["index"], values)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return entry["shape"].tolist(), np.dtype(entry["dtype"]).name, run
