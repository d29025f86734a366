"""A device profile: what one kind of board prefers, can bear and is known to reach."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.facts import (
    CameraDevice,
    Cpu,
    Gpu,
    Rail,
    Software,
    Storage,
    ThermalZone,
    Throttling,
)
from agent.schema.values import (
    MAX_THREADS,
    BackendName,
    Fraction,
    Identifier,
    Positive,
    PositiveFloat,
    Precision,
    Sha256,
    Struct,
)

PROFILE_SCHEMA = 1


class Match(Struct):
    """Facts by which a board is recognised; an empty list or null does not restrict.

    Attributes:
        compatible: Device-tree `compatible` strings, any of which must be present.
        architecture: `platform.machine()` values, any of which must match.
        accelerator: Facts that must hold, for example `{"edgetpu": true}`.
        power_mode: Names of Jetson power modes, any of which must be set, for example `MAXN_SUPER`.
        rank: Greater wins where several profiles match (a generic one has 0).
    """

    compatible: list[str] = []
    architecture: list[str] = []
    accelerator: dict[str, bool] = {}
    power_mode: list[str] = []
    rank: int = 0


class Preference(Struct):
    """One backend and precision with the input sizes (pixels of the longer side) to try, best first.

    `needs` restricts it to variants that ask for these facts, for example `{"edgetpu": true}`.
    """

    backend: BackendName
    precision: Precision
    sizes: Annotated[list[Positive], msgspec.Meta(min_length=1)]
    needs: dict[str, bool] = {}


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
        threads: CPU threads of the runtime.
        streams: Frames that run through the model at the same time, each with its share of the threads; at most as
            many as there are threads. More of them give more frames a second, each of which takes longer.
        providers: Execution providers of ONNX Runtime in order of preference; list the CPU's to allow it.
        delegates: Shared libraries of LiteRT delegates.
        workspace_mb: Scratch memory TensorRT may use when it builds an engine, MiB.
    """

    threads: Annotated[int, msgspec.Meta(gt=0, le=MAX_THREADS)] = 2
    streams: Annotated[int, msgspec.Meta(gt=0, le=MAX_THREADS)] = 1
    providers: list[str] = []
    delegates: list[str] = []
    workspace_mb: Positive = 1024


class TelemetryDefaults(Struct):
    """How often the board reports its measurements, seconds."""

    interval_s: PositiveFloat = 10.0


class Prior(Struct):
    """A published latency: `ms` per inference for a backend, precision and size, with its `source`.

    `needs` restricts it to variants that ask for these facts, for example `{"edgetpu": true}`.
    """

    backend: BackendName
    precision: Precision
    size: Positive
    ms: PositiveFloat
    source: Annotated[str, msgspec.Meta(min_length=1)]
    model: str = "yolo11n"
    needs: dict[str, bool] = {}


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
    telemetry: TelemetryDefaults = TelemetryDefaults()
    priors: list[Prior] = []
    reserve: Fraction = 0.1


class BoardFacts(Struct):
    """What `host.board` read from this machine; the input of every choice.

    Attributes:
        backends: Version of each inference runtime that is installed here.
        accelerators: Presence by name, for example `{"edgetpu": false, "cuda": false}`.
        power_mode: Name of the Jetson's power mode, for example `15W`; empty where there are none.
        swap_mb: Swap space, MiB.
        unreadable: Sensors that are there but say nothing that can be believed, each with the reason.
    """

    model: str
    compatible: list[str]
    architecture: str
    cores: int
    memory_mb: int
    cpu_aes: bool
    backends: dict[BackendName, str]
    accelerators: dict[str, bool] = {}
    power_mode: str = ""
    swap_mb: int = 0
    cpu: Cpu = Cpu()
    gpu: Gpu = Gpu()
    storage: Storage = Storage()
    thermal: list[ThermalZone] = []
    throttling: Throttling = Throttling()
    rails: list[Rail] = []
    cameras: list[CameraDevice] = []
    software: Software = Software()
    unreadable: list[str] = []


class Verdict(Struct):
    """Why one variant was or was not chosen.

    Attributes:
        accepted: Whether it is the chosen one; `fits` says whether it could have been.
        expected_ms: Milliseconds per inference; null where nobody knows.
        measured: Whether they were measured on this device.
        source: Where they come from.
    """

    variant: str
    accepted: bool
    reason: str
    expected_ms: float | None = None
    measured: bool = False
    fits: bool = False
    source: str = ""


class Measurement(Struct):
    """A latency measured on this device: p95 of one inference, milliseconds.

    Attributes:
        device: Board and power mode.
        runtime: Runtime and version, for example `onnxruntime 1.32.0`.
        payload: Digest of the variant's sealed payload, as its manifest has it.
        origin: `trial` (beside the serving model) or `measure` (alone, by `vigil profile measure`).
        measured_ms: When, milliseconds since 1970.
    """

    device: str
    runtime: str
    payload: Sha256
    p95_ms: PositiveFloat
    frames: Positive
    origin: str
    measured_ms: int
    temperature_c: float | None = None


class MeasurementFile(Struct):
    """`measurements.json` in the state folder."""

    schema: int
    measurements: list[Measurement]


class Choice(Struct):
    """The variant to run and the verdict on every other; `variant` is null when none fits."""

    profile: str
    variant: str | None
    verdicts: list[Verdict]
