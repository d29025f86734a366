"""A snapshot of a device that knows everything about itself."""

from __future__ import annotations

from agent.schema.camera_report import CameraReport
from agent.schema.drift import DriftReport
from agent.schema.events import LineReport, StoreReport, ZoneReport
from agent.schema.governor import GovernorReport
from agent.schema.measures import BoardReport, LinkQuality, ModelReport, OutboxReport, Totals
from agent.schema.messages import Phase, Progress, StageMs, State, Telemetry
from agent.schema.pace import PaceReport
from agent.schema.shadow import ShadowProgress, ShadowState
from agent.schema.snapshot import Snapshot

STAGES = {"capture": 2.0, "queue": 0.4, "pre": 0.5, "infer": 11.0, "post": 0.3, "publish": 0.1}
CAMERA = CameraReport(
    name="belt",
    status="streaming",
    fps=24.9,
    captured=1200,
    processed=990,
    dropped=10,
    reconnects=2,
    failures=3,
    width=1920,
    height=1080,
    gate="closed",
    gated=200,
    clock_jumps=1,
    zones=[ZoneReport(name="inspection", occupancy={"bolt": 2, "nut": 1}, entered=40)],
    lines=[LineReport(name="exit", forward=7, backward=1)],
)
DRIFT = DriftReport(
    name="belt",
    state="drifted",
    cause="blur",
    judged=12,
    found={"sharpness": 4.0},
    usual={"sharpness": 61.0},
)
SHADOW = ShadowProgress(
    state=ShadowState.RUNNING,
    candidate="conveyor/parts/1.3.0",
    variant="onnx-int8-320",
    frames=40,
    of_frames=1000,
    agreement=0.93,
    classes={"nut": 0.88, "bolt": 0.97},
    left_s=4800,
    skipped={"hot": 2},
)
PACE = PaceReport(
    state="slow",
    stage="infer",
    cause="clock",
    reason="infer 11.0 ms, 2.2 times the 5.0 ms of this device's past: a core runs at 600 MHz, usually at 1800",
    found_ms={"infer": 11.0},
    usual_ms={"infer": 5.0},
)
STATE = State(
    v=1,
    device="line-3",
    online=True,
    agent="1.0.0",
    boot="b",
    release="conveyor/parts/1.2.0",
    variant="onnx-fp32-320",
    profile="generic-x86-64",
    phase=Phase.PROBATION,
    floor=12,
    policy_ver=4,
    pipeline="running",
    paused=["door"],
    drifted={"belt": "blur"},
    slow=PACE.reason,
)
TELEMETRY = Telemetry(
    v=1,
    device="line-3",
    boot="b",
    at_ms=1_700_000_000_000,
    interval_ms=10_000,
    fps=49.8,
    fps_in=51.0,
    fps_dropped=1.2,
    stages={name: StageMs(p50=ms, p95=2 * ms, p99=3 * ms) for name, ms in STAGES.items()},
    cameras=[CAMERA],
    drift=[DRIFT],
    shadow=SHADOW,
    pace=PACE,
    worker_restarts=1,
    control_pss_mb=48.5,
    worker_pss_mb=121.0,
    outbox_messages=3,
    outbox_dropped=2,
    link_reconnects=4,
    temperature_c=61.5,
    board=BoardReport(
        memory_free_mb=900.0,
        disk_free_mb=20_000.0,
        throttled=["under-voltage"],
        throttled_earlier=["under-voltage", "capped"],
        power_mode="15W",
        power_mw={"VDD_IN": 6000.0},
        uptime_s=3600,
    ),
    outbox=OutboxReport(
        messages=3,
        oldest_s=12.5,
        dropped={"alert": 0, "event": 0, "metric": 2},
        written_mb_day=20.0,
        process_written_mb_day=90.0,
    ),
    link=LinkQuality(
        protocol="5", reconnects=4, acknowledged=500, round_trip_ms=8.0, slowest_ms=30.0
    ),
    model=ModelReport(release="conveyor/parts/1.2.0", variant="onnx-fp32-320", phase="probation"),
    totals=Totals(since_ms=1_699_999_000_000, frames=1000, failed=5),
    governor=GovernorReport(
        rung="onnx-fp32-320@15",
        index=1,
        rungs=4,
        p95_ms=30.0,
        queue_ms=4.0,
        temperature_slope_c_min=0.5,
        memory_pressure=12.0,
    ),
    progress=Progress(file="variant.sealed", done=1000, total=4000),
    events=StoreReport(events=20, bytes=1_000_000, lost=1),
)
FULL = Snapshot(
    state=STATE,
    telemetry=TELEMETRY,
    cameras=(CAMERA,),
    labels=("bolt", "nut"),
    heartbeat_age_s=0.4,
    link_connected=True,
    link="connected by MQTT 5",
    viewers=1,
)
