"""The operator's configuration file, `/etc/vigil/vigil.yaml`, as data; `agent.config` reads it."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from agent.schema.drift import DriftConfig
from agent.schema.examples import ExamplesConfig
from agent.schema.home_assistant import HomeAssistantConfig
from agent.schema.keystore import KeyConfig
from agent.schema.motion import MotionConfig
from agent.schema.recording import EventConfig
from agent.schema.reporting import OpenTelemetryConfig, TelemetryConfig
from agent.schema.update_config import UpdateConfig
from agent.schema.values import Fraction, Identifier, Positive, PositiveFloat, Struct
from agent.schema.zones import LineConfig, PrivacyConfig, SpeedConfig, ZoneConfig

CONFIG_SCHEMA = 1
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class DeviceConfig(Struct, rename={"device_class": "class"}):
    """Who this device is: its id (also the CN of its certificate), class and groups."""

    id: Identifier
    device_class: Identifier
    groups: list[Identifier] = []


class TlsConfig(Struct):
    """PEM files for mutual TLS: CA that signs the broker, this device's certificate and key."""

    ca: str
    cert: str
    key: str


class BulkConfig(Struct):
    """A connection of its own for block transfers, so that they never stand before a command.

    Its client id is the device's with `-bulk` behind. A broker that forces the client id to be the
    certificate's name would let the two connections of one device throw each other out: name a second
    broker process (`port`) for bulk there.

    Attributes:
        host: Host of the bulk broker, empty for the control broker's.
        port: Port of the bulk broker, 0 for the control broker's.
    """

    host: str = ""
    port: Port = 0


class BrokerConfig(Struct):
    """Where the broker is; `protocol` is `auto` (5, falling back to 3.1.1), `5` or `3.1.1`.

    Without `bulk`, transfers share the control connection.
    """

    host: str
    port: Port = 8883
    tls: TlsConfig | None = None
    protocol: str = "auto"
    prefix: str = "vigil/1"
    keepalive_s: Positive = 30
    allow_plaintext: bool = False
    bulk: BulkConfig | None = None


class CameraConfig(Struct):
    """One camera.

    Attributes:
        source: A file, folder, `/dev/videoN`, `rtsp://` or `http://` URL, `csi:N`, `gst:PIPELINE`, `pattern:`.
        password_file: File with the stream's `user:password`, read whenever it is opened.
        fps: Frame-rate cap; null for the source's own rate. `paused`: closed until somebody resumes it.
        loop: Whether a video file starts again at its end, as a live camera would.
        paced: Whether a recording keeps its own rate; else the model gets every frame as fast as it can.
        zones: Areas that objects enter and leave; `lines` that they cross; `speeds` between two lines.
        motion: Motion gate. `privacy`: what is blackened or blurred before a picture leaves memory.
    """

    name: Identifier
    source: str
    password_file: str | None = None
    fps: PositiveFloat | None = None
    loop: bool = True
    paced: bool = True
    motion: MotionConfig = MotionConfig()
    paused: bool = False
    zones: list[ZoneConfig] = []
    lines: list[LineConfig] = []
    speeds: list[SpeedConfig] = []
    privacy: PrivacyConfig = PrivacyConfig()

    @property
    def exclusive(self) -> bool:
        """Whether only one process can have it open at a time."""
        return self.source.startswith(("/dev/", "csi:", "gst:"))


class DetectConfig(Struct):
    """What counts as a detection: least confidence and greatest IoU of two boxes of one class (NMS)."""

    confidence: Fraction = 0.25
    iou: Fraction = 0.6


class GovernorConfig(Struct):
    """How the device holds its limits when it is hot or busy; null limits are the profile's.

    Attributes:
        max_p95_ms: Greatest p95 from capture to result, milliseconds.
        max_temperature_c: Temperature that must not be reached.
        max_memory_pressure: Greatest share of time in which tasks wait for memory, percent.
        dwell_s: Least time between two moves.
        climb_s: Least time of quiet before a climb.
    """

    enabled: bool = True
    max_p95_ms: PositiveFloat | None = None
    max_temperature_c: PositiveFloat | None = None
    max_memory_pressure: PositiveFloat = 10.0
    dwell_s: PositiveFloat = 15.0
    climb_s: PositiveFloat = 60.0


class ConsoleRole(str, enum.Enum):
    """What somebody may do on the page: look, or also change zones, lines and masks."""

    VIEWER = "viewer"
    OPERATOR = "operator"


class ConsoleConfig(Struct):
    """The local web page; off loopback it needs a token file and TLS.

    Attributes:
        port: 0 picks a free one.
        token_file: The secret that opens the page, one line of at least 16 characters, mode 0600.
        operator_token_file: Another one, whose bearer may also change zones, lines and masks.
        without_token: What anybody on this machine may do while no `token_file` is set; off loopback, nothing.
        tls_cert: Certificate chain (PEM); with `tls_key`, its private key, the page is served over https.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8088
    token_file: str | None = None
    operator_token_file: str | None = None
    without_token: ConsoleRole = ConsoleRole.VIEWER
    tls_cert: str | None = None
    tls_key: str | None = None


class Config(Struct):
    """The whole file. Relative paths are relative to the file's own folder.

    Attributes:
        profile: Name of a device profile, or `auto` to recognise the board.
        state_dir: Models, keys, journal and spool; survives reboots.
        runtime_dir: Status file; does not need to survive.
        key: Private key that model keys are wrapped to: a PEM file (P-256, mode 0600), or a key store.
        trust_root: The TUF root metadata this device was provisioned with.
    """

    schema: int
    device: DeviceConfig
    broker: BrokerConfig
    state_dir: str = "/var/lib/vigil"
    runtime_dir: str = "/run/vigil"
    profile: str = "auto"
    key: str | KeyConfig = "identity/device.key"
    trust_root: str = "identity/root.json"
    cameras: list[CameraConfig] = []
    detect: DetectConfig = DetectConfig()
    events: EventConfig = EventConfig()
    update: UpdateConfig = UpdateConfig()
    governor: GovernorConfig = GovernorConfig()
    drift: DriftConfig = DriftConfig()
    examples: ExamplesConfig = ExamplesConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    console: ConsoleConfig = ConsoleConfig()
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()
    opentelemetry: OpenTelemetryConfig | None = None
