"""Scripted sources for the console: a device with two cameras whose state a test can change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from agent.console.server import Console
from agent.console.sources import Archive, Comparison, Settings, Sources
from agent.errors import CameraError
from agent.schema.camera_report import CameraReport
from agent.schema.config import CameraConfig, ConsoleConfig
from agent.schema.doctor import DoctorReport
from agent.schema.events import Event
from agent.schema.ipc import FrameGrabbed
from agent.schema.messages import Phase, StageMs, State, Telemetry
from agent.schema.snapshot import Snapshot
from agent.schema.values import Box

LABELS = ("bolt", "nut", "washer")
CAMERAS = {name: CameraConfig(name=name, source="pattern:") for name in ("belt", "door")}
BOXES = [
    Box(label=0, score=0.93, x_min=40.0, y_min=60.0, x_max=180.0, y_max=150.0, track=7),
    Box(label=2, score=0.71, x_min=300.0, y_min=120.0, x_max=390.0, y_max=210.0, track=12),
]


def jpeg(shade: int = 90) -> bytes:
    """A plain 640x360 picture."""
    picture = np.full((360, 640, 3), shade, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def state(**changes: object) -> State:
    """The state of a device that runs a model."""
    facts: dict[str, object] = {
        "v": 1,
        "device": "line-3",
        "online": True,
        "agent": "1.0.0",
        "release": "conveyor/parts/1.2.0",
        "variant": "onnx-fp32-320",
        "profile": "generic-x86-64",
        "phase": Phase.IDLE,
        "pipeline": "running",
    }
    return State(**(facts | changes))  # type: ignore[arg-type]


def report(name: str, **changes: object) -> CameraReport:
    """A camera that streams."""
    facts: dict[str, object] = {
        "name": name,
        "status": "streaming",
        "fps": 24.9,
        "captured": 1000,
        "processed": 990,
        "dropped": 10,
    }
    return CameraReport(**(facts | changes))  # type: ignore[arg-type]


def telemetry(**changes: object) -> Telemetry:
    """Measurements of a healthy device."""
    stages = {"capture": 2.0, "queue": 0.4, "pre": 0.5, "infer": 11.0, "post": 0.3, "publish": 0.1}
    facts: dict[str, object] = {
        "v": 1,
        "device": "line-3",
        "boot": "b",
        "at_ms": 1,
        "interval_ms": 10_000,
        "fps": 49.8,
        "stages": {k: StageMs(p50=v, p95=v * 1.4, p99=v * 1.9) for k, v in stages.items()},
        "cameras": [],
        "worker_restarts": 1,
        "control_pss_mb": 48.5,
        "worker_pss_mb": 121.0,
        "temperature_c": 61.5,
        "outbox_messages": 3,
        "outbox_dropped": 2,
        "link_reconnects": 4,
    }
    return Telemetry(**(facts | changes))  # type: ignore[arg-type]


def event(number: int, kind: str = "new") -> Event:
    """One object's event."""
    return Event(
        v=1,
        device="line-3",
        camera="belt",
        id=f"belt-{number}",
        type=kind,
        label="washer",
        score=0.8,
        top_score=0.9,
        box=(1.0, 2.0, 3.0, 4.0),
        start_ms=1_700_000_000_000 + number,
        at_ms=1_700_000_002_500 + number,
    )


@dataclass
class Device:
    """What the console's callables read; `grabs` counts the frames asked for by camera."""

    state: State = field(default_factory=state)
    telemetry: Telemetry | None = field(default_factory=telemetry)
    cameras: tuple[CameraReport, ...] = (report("belt"), report("door", status="opening"))
    heartbeat_age_s: float | None = 0.4
    link_connected: bool = True
    broken: frozenset[str] = frozenset({"door"})
    picture: bytes = field(default_factory=jpeg)
    boxes: list[Box] = field(default_factory=lambda: list(BOXES))
    configured: dict[str, CameraConfig] = field(default_factory=lambda: dict(CAMERAS))
    archive: Archive | None = None
    settings: Settings | None = None
    doctor: Callable[[], DoctorReport] | None = None
    shadow: Comparison | None = None
    grabs: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def status(self) -> Snapshot:
        """Answer as the agent would."""
        with self._lock:
            self.asked += 1
        return Snapshot(
            self.state,
            self.telemetry,
            self.cameras,
            LABELS,
            self.heartbeat_age_s,
            self.link_connected,
            "connected by MQTT 5",
        )

    def grab(self, camera: str, max_width: int, quality: int) -> tuple[FrameGrabbed, bytes]:
        """Answer as the worker would."""
        with self._lock:
            self.grabs[camera] = self.grabs.get(camera, 0) + 1
            number = self.grabs[camera]
        if camera in self.broken:
            raise CameraError(f"camera {camera}: no frame yet", code="camera.opening")
        assert (max_width, quality) > (0, 0)
        found = FrameGrabbed(
            id=1,
            camera=camera,
            frame=number,
            captured_ms=1,
            width=640,
            height=360,
            boxes=self.boxes,
        )
        return found, self.picture

    def console(self, **config: object) -> Console:
        """A console of this device on a free port, not started."""
        settings = ConsoleConfig(**({"port": 0} | config))  # type: ignore[arg-type]
        return Console(
            settings,
            Sources(
                self.configured,
                self.status,
                self.grab,
                self.archive,
                self.settings,
                self.doctor,
                self.shadow,
            ),
        )
