"""A device profile: what one kind of board prefers, can bear and is known to reach."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import (
    BackendName,
    Fraction,
    Identifier,
    Positive,
    PositiveFloat,
    Precision,
    Struct,
)

PROFILE_SCHEMA = 1


class Match(Struct):
    """Facts by which a board is recognised; an empty list or null does not restrict.

    Attributes:
        compatible: Device-tree `compatible` strings, any of which must be present.
        architecture: `platform.machine()` values, any of which must match.
        accelerator: Facts that must hold, for example `{"edgetpu": true}`.
        rank: Greater wins where several profiles match (a generic one has 0).
    """

    compatible: list[str] = []
    architecture: list[str] = []
    accelerator: dict[str, bool] = {}
    rank: int = 0


class Preference(Struct):
    """One backend and precision with the input sizes (pixels of the longer side) to try, best first."""

    backend: BackendName
    precision: Precision
    sizes: Annotated[list[Positive], msgspec.Meta(min_length=1)]


class Limits(Struct):
    """What the board may be asked to bear."""

    memory_mb: Positive = 1024
    latency_ms: PositiveFloat = 200.0
    temperature_c: PositiveFloat = 80.0
    target_fps: PositiveFloat = 5.0
    two_models: bool = True


class CameraDefaults(Struct):
    """Defaults for cameras that do not say otherwise."""

    width: Positive = 640
    height: Positive = 360
    fps: PositiveFloat = 15.0


class RuntimeDefaults(Struct):
    """How runtimes are set up on this board.

    Attributes:
        threads: CPU threads of an inference.
        providers: Execution providers of ONNX Runtime in order of preference; list the CPU's to allow it.
        delegates: Shared libraries of LiteRT delegates.
        workspace_mb: Scratch memory TensorRT may use when it builds an engine, MiB.
    """

    threads: Positive = 2
    providers: list[str] = []
    delegates: list[str] = []
    workspace_mb: Positive = 1024


class Prior(Struct):
    """A published latency: `ms` per inference for a backend, precision and size, with its `source`."""

    backend: BackendName
    precision: Precision
    size: Positive
    ms: PositiveFloat
    source: str
    model: str = "yolo11n"


class DeviceProfile(Struct):
    """One board's file in `device_profiles/`."""

    schema: int
    name: Identifier
    description: str
    match: Match
    prefer: list[Preference]
    limits: Limits = Limits()
    camera: CameraDefaults = CameraDefaults()
    runtime: RuntimeDefaults = RuntimeDefaults()
    priors: list[Prior] = []
    reserve: Fraction = 0.1


class BoardFacts(Struct):
    """What `host.board` read from this machine; the input of every choice.

    Attributes:
        backends: Version of each inference runtime that is installed here.
        accelerators: Presence by name, for example `{"edgetpu": false, "cuda": false}`.
    """

    model: str
    compatible: list[str]
    architecture: str
    cores: int
    memory_mb: int
    cpu_aes: bool
    backends: dict[BackendName, str]
    accelerators: dict[str, bool] = {}


class Verdict(Struct):
    """Why one variant was or was not chosen."""

    variant: str
    accepted: bool
    reason: str
    expected_ms: float | None = None
    measured: bool = False


class Choice(Struct):
    """The variant to run and the verdict on every other; `variant` is null when none fits."""

    profile: str
    variant: str | None
    verdicts: list[Verdict]
