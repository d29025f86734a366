"""The agent at one moment, as it is shown and measured from outside."""

from __future__ import annotations

from dataclasses import dataclass

from agent.schema.camera_report import CameraReport
from agent.schema.messages import State, Telemetry


@dataclass(frozen=True)
class Snapshot:
    """What the page, `/metrics` and OpenTelemetry show.

    Attributes:
        telemetry: The newest measurements; None before the first.
        cameras: The worker's newest report of each camera.
        labels: Class names of the running model, by class id.
        heartbeat_age_s: Seconds since the worker was last heard; None without a worker.
        link_connected: Whether the broker connection is up.
        link: How it is connected, or what keeps it from being so, for a person.
        viewers: Open live views of the page; None where nobody counts them.
    """

    state: State
    telemetry: Telemetry | None
    cameras: tuple[CameraReport, ...]
    labels: tuple[str, ...]
    heartbeat_age_s: float | None
    link_connected: bool
    link: str = ""
    viewers: int | None = None
