"""What decides whether a TensorRT engine fits: how it was built, and the graphics hardware it was built on."""

from __future__ import annotations

from agent.schema.values import Positive, Precision, Struct


class EnginePlan(Struct):
    """How an engine is built from a portable ONNX model.

    Attributes:
        precision: Arithmetic the variant promises.
        workspace_mb: Scratch memory that TensorRT may use for one layer, MiB.
    """

    precision: Precision
    workspace_mb: Positive


class GpuFacts(Struct):
    """The software and hardware an engine is bound to.

    Attributes:
        tensorrt: Version of TensorRT.
        cuda: Version of the CUDA runtime, as `cudaRuntimeGetVersion` counts (12060 is 12.6).
        driver: Newest CUDA version the driver serves, counted alike, and the driver's own release.
        compute_capability: Of the first device, for example `8.7`.
    """

    tensorrt: str
    cuda: int
    driver: str
    compute_capability: str


class Fingerprint(Struct):
    """An engine is valid where, and only where, its fingerprint is still the same."""

    plan: EnginePlan
    gpu: GpuFacts
