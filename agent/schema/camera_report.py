"""How a camera does, in heartbeats and telemetry."""

from __future__ import annotations

from agent.schema.events import LineReport, ZoneReport
from agent.schema.values import Counter, Struct


class CameraReport(Struct):
    """One camera's health: `status` is `opening`, `streaming`, `stalled`, `ended` or `failed`.

    Frames are `captured`, `processed` by the model, `dropped` for a newer one or for the rate, or `gated` by the
    motion gate, which is `open`, `closed` or `paused` (every frame is wanted); empty where there is none.
    `problem` is for a person, `code` stable. `width` and `height` are the newest picture's, 0 before the first;
    `decoder` is for example `software` or `vaapi`, empty where that is not known. `zones` and `lines` say what is
    in them and what crossed them. `clock_jumps` counts jumps of the wall clock between two frames.
    """

    name: str
    status: str
    fps: float
    captured: Counter
    processed: Counter
    dropped: Counter
    reconnects: Counter = 0
    problem: str = ""
    code: str = ""
    failures: Counter = 0
    width: Counter = 0
    height: Counter = 0
    decoder: str = ""
    gate: str = ""
    gated: Counter = 0
    clock_jumps: Counter = 0
    zones: list[ZoneReport] = []
    lines: list[LineReport] = []
