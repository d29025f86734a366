"""Take out of a model file what tells how it was made, and prove that it computes the same.

| | ONNX | LiteRT |
| --- | --- | --- |
| names of nodes, tensors, functions | gone or meaningless | meaningless |
| metadata, doc strings, producer | gone | gone, with the archive behind the model |
| order of nodes | another one that computes the same | as it was: the file is the order |
| inert layers | some, which optimisers cannot fold away | none |

It keeps a stolen or dumped model from explaining itself. It protects no weight: they are all there, and who
runs the file sees the layers. The same file, seed and number of layers give the same bytes.

Example:
    hidden = obfuscate(Path("people.onnx").read_bytes(), Plan(seed=7))
    report = compare(before, hidden)
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import PackageError

LITERT_MAGIC = b"TFL3"
ONNX_START = b"\x08"


@dataclass(frozen=True)
class Plan:
    """How to obfuscate.

    Attributes:
        seed: Decides names, order and places.
        inert_layers: How many inert layers an ONNX graph gets, at most; fewer where it has no place for them.
    """

    seed: int
    inert_layers: int = 8


def obfuscate(model: bytes, plan: Plan) -> bytes:
    """Return the obfuscated file of an ONNX or LiteRT model.

    Raises:
        PackageError: It is neither, or cannot be parsed.
    """
    if is_litert(model):
        from agent.release.obfuscate.litert_file import obfuscate_litert

        return obfuscate_litert(model, plan.seed)
    if model.startswith(ONNX_START):
        from agent.release.obfuscate.onnx_graph import obfuscate_onnx

        return obfuscate_onnx(model, plan)
    raise PackageError("neither an ONNX nor a LiteRT model", code="package.model")


def is_litert(model: bytes) -> bool:
    """Whether a file is a LiteRT model."""
    return model[4:8] == LITERT_MAGIC
