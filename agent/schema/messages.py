"""Everything that crosses the broker, except blocks (`agent.schema.blocks`).

All messages are JSON. Correlation ids, reply topics and expiry ride in the payload, so that plain
MQTT 3.1.1 brokers serve. Times are Unix milliseconds (`_ms`) unless named otherwise.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec

from agent.schema.camera_report import CameraReport
from agent.schema.drift import DriftReport
from agent.schema.events import StoreReport
from agent.schema.governor import GovernorReport
from agent.schema.measures import BoardReport, LinkQuality, ModelReport, OutboxReport, Totals
from agent.schema.pace import PaceReport
from agent.schema.shadow import ShadowProgress
from agent.schema.values import (
    Box,
    Counter,
    ErrorCode,
    Identifier,
    Ranked,
    Sha256,
    Shape,
    Struct,
    TargetPath,
    UnixMs,
)

MESSAGE_VERSION = 1
COMMAND_MAX_BYTES = 16 * 1024
COMMAND_TYPE = "application/vnd.vigil.command.v1+json"

CommandId = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_-]{8,64}$(?!\n)")]


class Phase(str, enum.Enum):
    """Phases of an update; the journal stores them and the state message shows them."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    STAGED = "staged"
    VERIFIED = "verified"
    TRIAL = "trial"
    PROBATION = "probation"
    COMMITTED = "committed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Outcome(str, enum.Enum):
    """How a release ended: the first four are decisions, `failed` is the road's fault and may be retried."""

    COMMITTED = "committed"
    REFUSED = "refused"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class UpdateReport(Struct):
    """One release's end: outcome, stable code, reason for a person and the measured swap gap."""

    release: str
    path: str
    outcome: Outcome
    code: ErrorCode = ""
    reason: str = ""
    at_ms: UnixMs = 0
    swap_gap_ms: float | None = None


class Progress(Struct):
    """How far a transfer is, bytes; `waiting` says what holds it, empty while it runs."""

    file: str
    done: Counter
    total: Counter
    waiting: str = ""


class State(Struct):
    """Retained at `…/state`; the last will is the same topic with `online` false and all else empty.

    `drifted` names the likely cause for each camera that shows something else than the model was made for, `unproven`
    what the last golden run of a night found wrong, `slow` which stage takes longer than in this device's past, and why.
    `interval_ms` is the time between two of its measurements: who is silent for much longer is no longer there.
    """

    v: int
    device: Identifier
    online: bool
    agent: str = ""
    boot: str = ""
    at_ms: UnixMs = 0
    release: str | None = None
    variant: str | None = None
    profile: str = ""
    phase: Phase = Phase.IDLE
    progress: Progress | None = None
    last_update: UpdateReport | None = None
    floor: Counter = 0
    policy_ver: Counter = 0
    audit_head: str = ""
    audit_signature: str = ""
    pipeline: str = "stopped"
    problem: str = ""
    groups: list[str] = []
    paused: list[str] = []
    rung: str = ""
    rung_reason: str = ""
    drifted: dict[str, str] = {}
    unproven: str = ""
    slow: str = ""
    interval_ms: Counter = 0


class StageMs(Struct):
    """Milliseconds per stage of a frame at three percentiles."""

    p50: float
    p95: float
    p99: float


class Telemetry(Struct):
    """Measurements since the last message, at `…/telemetry`.

    `seq` counts these messages since the agent started. Frames a second: `fps_in` came, `fps` were processed, `fps_dropped` were not.
    """

    v: int
    device: Identifier
    boot: str
    at_ms: UnixMs
    interval_ms: int
    fps: float
    stages: dict[str, StageMs]
    cameras: list[CameraReport]
    worker_restarts: Counter
    control_pss_mb: float
    worker_pss_mb: float
    outbox_messages: Counter
    outbox_dropped: Counter
    link_reconnects: Counter
    temperature_c: float | None = None
    seq: Counter = 0
    fps_in: float = 0.0
    fps_dropped: float = 0.0
    board: BoardReport = BoardReport()
    outbox: OutboxReport = OutboxReport()
    link: LinkQuality = LinkQuality()
    model: ModelReport = ModelReport()
    totals: Totals = Totals()
    governor: GovernorReport | None = None
    progress: Progress | None = None
    events: StoreReport | None = None
    drift: list[DriftReport] = []
    shadow: ShadowProgress | None = None
    pace: PaceReport | None = None


class Detections(Struct):
    """Boxes of one processed frame, at `…/detections/<camera>` where configured.

    `frame` is the source's own index where it has one (files), else the capture counter. `shapes` and
    `ranking` are as in the worker's `FrameResult`, and absent where the model gives none.
    """

    v: int
    device: Identifier
    camera: Identifier
    frame: Counter
    captured_ms: UnixMs
    width: int
    height: int
    release: str
    boxes: list[Box]
    stages_ms: dict[str, float]
    shapes: list[Shape] | msgspec.UnsetType = msgspec.UNSET
    ranking: list[Ranked] | msgspec.UnsetType = msgspec.UNSET


class Hint(Struct):
    """Retained at `<prefix>/hint`: newer metadata may exist. Only makes devices look sooner."""

    v: int
    timestamp_version: Counter


class CommandBody(Struct):
    """The signed body of a command: exactly these fields. Times are Unix seconds."""

    v: int
    id: CommandId
    iss: Identifier
    cmd: Identifier
    args: dict[str, Any]
    aud: str
    ctr: Annotated[int, msgspec.Meta(gt=0, le=2**53)]
    iat: Counter
    exp: Counter
    policy_ver: Counter


class DeployArgs(Struct):
    """`deploy`: the manifest's target path and the digest that TUF must list for it; `force` tries again what failed before."""

    release: TargetPath
    sha256: Sha256
    force: bool = False


class SetConfigArgs(Struct):
    """`set-config` and `set-config-protected`: a patch as `agent.schema.patch` describes it.

    It is kept when link, pipeline and cameras are as well as before for some seconds, within `within_s`.
    """

    changes: dict[str, Any]
    within_s: Annotated[float, msgspec.Meta(ge=10.0, le=600.0)] = 90.0


class ReplyStatus(str, enum.Enum):
    """Steps of a command's life as its sender sees it."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Reply(Struct):
    """What became of a command, at `…/reply`. `id` is empty when the command could not be read."""

    v: int
    device: Identifier
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_-]{0,64}$(?!\n)")]
    cmd: str
    status: ReplyStatus
    at_ms: UnixMs
    code: ErrorCode = ""
    message: str = ""
    data: dict[str, Any] = {}


class KeyRequest(Struct):
    """Device asks for a release's key, wrapped to its registered public key, at `…/key/req`."""

    v: int
    id: CommandId
    release: str


class KeyReply(Struct):
    """`status` 200 with the HPKE blob, 403 revoked, 404 unknown release, 503 busy; at `…/key/rsp`."""

    v: int
    id: CommandId
    status: int
    grant: bytes = b""
    message: str = ""


class Role(str, enum.Enum):
    """Roles in rising order of power."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    DEPLOYER = "deployer"
    ADMIN = "admin"


class PolicyUser(Struct):
    """One person: keys are PEM public keys (Ed25519 or P-256)."""

    name: Identifier
    role: Role
    keys: list[str]


class PolicyRule(Struct):
    """Who may give a command: least role and number of distinct people who must sign."""

    role: Role
    approvals: int = 1


class Policy(Struct):
    """The TUF target `policy/commands.json`: who may command what."""

    schema: int
    version: Counter
    users: list[PolicyUser]
    commands: dict[str, PolicyRule]
