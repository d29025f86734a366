"""How workers of a device are started."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.schema.config import CameraConfig, DetectConfig
from agent.schema.drift import DriftConfig
from agent.schema.recording import EventConfig
from agent.supervisor.worker_process import COMMAND


@dataclass(frozen=True)
class WorkerSettings:
    """How workers are started and how long they may take; times in seconds, memory in MiB."""

    device: str
    boot: str
    cameras: list[CameraConfig]
    detect: DetectConfig
    default_fps: float
    threads: int
    memory_mb: int
    streams: int = 1
    providers: list[str] = field(default_factory=list)
    delegates: list[str] = field(default_factory=list)
    events: EventConfig = field(default_factory=EventConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    two_models: bool = True
    min_agreement: float | None = None
    agreement_pause_s: float = 0.5
    load_timeout_s: float = 60.0
    trial_timeout_s: float = 120.0
    camera_timeout_s: float = 15.0
    silence_s: float = 8.0
    backoff_min_s: float = 0.2
    backoff_max_s: float = 30.0
    command: tuple[str, ...] = COMMAND

    @property
    def exclusive_cameras(self) -> bool:
        """Whether some camera can be open in one process only."""
        return any(camera.exclusive for camera in self.cameras)
