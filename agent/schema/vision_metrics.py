"""The part of the table of metrics that tells of pipeline, cameras, places and kept events."""

from __future__ import annotations

from agent.schema.series import among, metric, milli, present

_PIPELINE = (
    metric(
        "vigil_pipeline_running",
        "1 while a model serves.",
        "state.pipeline",
        convert=among("running"),
    ),
    metric("vigil_fps", "Processed frames a second, all cameras.", "telemetry.fps"),
    metric("vigil_fps_in", "Frames a second that came, all cameras.", "telemetry.fps_in"),
    metric(
        "vigil_fps_dropped", "Frames a second that were not processed.", "telemetry.fps_dropped"
    ),
    metric(
        "vigil_frames_total",
        "Frames whose inference gave a result or failed.",
        {"good": "telemetry.totals.frames", "failed": "telemetry.totals.failed"},
        "result",
    ),
    metric(
        "vigil_stage_seconds",
        "Time per frame and stage.",
        {p: f"telemetry.stages.*.{p}" for p in ("p50", "p95", "p99")},
        "stage percentile",
        milli,
    ),
    metric(
        "vigil_stage_usual_seconds",
        "Median time per frame and stage: in the last minute, and in this device's past.",
        {"found": "telemetry.pace.found_ms.*", "usual": "telemetry.pace.usual_ms.*"},
        "stage kind",
        milli,
    ),
    metric(
        "vigil_slow",
        "1 while a stage takes longer than in this device's past; `stage` and `cause` are in the state.",
        "telemetry.pace.state",
        convert=among("slow"),
    ),
)

_CAMERAS = (
    metric(
        "vigil_camera_up",
        "1 while it streams.",
        "cameras.*.status",
        "camera",
        among("streaming"),
    ),
    metric(
        "vigil_camera_paused",
        "1 for a camera that is paused.",
        "state.paused.*",
        "camera",
        present,
    ),
    metric(
        "vigil_camera_drifted",
        "1 for a camera that shows something else than the model was made for.",
        "state.drifted.*",
        "camera",
        present,
    ),
    metric(
        "vigil_drift_windows_total",
        "Windows of a camera's frames that were judged.",
        "telemetry.drift.*.judged",
        "camera",
    ),
    metric(
        "vigil_drift_figure",
        "Median of a figure: in the newest window, and usually.",
        {"found": "telemetry.drift.*.found.*", "usual": "telemetry.drift.*.usual.*"},
        "camera figure kind",
    ),
    metric(
        "vigil_shadow_frames",
        "Frames of a shadow run: compared so far, and asked for.",
        {"compared": "telemetry.shadow.frames", "asked": "telemetry.shadow.of_frames"},
        "kind",
    ),
    metric(
        "vigil_shadow_skipped",
        "Frames that a shadow run left out, by reason.",
        "telemetry.shadow.skipped.*",
        "reason",
    ),
    metric(
        "vigil_shadow_agreement_ratio",
        "Objects that the running model and its shadow both see, of those that any of them sees.",
        "telemetry.shadow.agreement",
    ),
    metric(
        "vigil_shadow_class_agreement_ratio",
        "The same of the classes in which they agree least.",
        "telemetry.shadow.classes.*",
        "class",
    ),
    metric(
        "vigil_shadow_left_seconds",
        "About how long a shadow run still takes.",
        "telemetry.shadow.left_s",
    ),
    metric("vigil_camera_fps", "Processed frames a second.", "cameras.*.fps", "camera"),
    metric(
        "vigil_camera_frames_total",
        "Frames by what became of them.",
        {kind: f"cameras.*.{kind}" for kind in ("captured", "processed", "dropped", "gated")},
        "camera kind",
    ),
    metric(
        "vigil_camera_reconnects_total",
        "Times it was opened again.",
        "cameras.*.reconnects",
        "camera",
    ),
    metric("vigil_camera_failures_total", "Times it failed.", "cameras.*.failures", "camera"),
    metric(
        "vigil_camera_clock_jumps_total",
        "Jumps of the wall clock between two frames.",
        "cameras.*.clock_jumps",
        "camera",
    ),
    metric(
        "vigil_camera_pixels",
        "Size of the newest picture, 0 before the first.",
        {side: f"cameras.*.{side}" for side in ("width", "height")},
        "camera side",
    ),
    metric(
        "vigil_camera_gate_closed",
        "1 while the motion gate keeps frames from the model.",
        "cameras.*.gate",
        "camera",
        among("closed"),
    ),
    metric(
        "vigil_zone_objects",
        "Objects in a zone now.",
        "cameras.*.zones.*.occupancy.*",
        "camera zone label",
    ),
    metric(
        "vigil_zone_entered_total",
        "Objects that entered a zone.",
        "cameras.*.zones.*.entered",
        "camera zone",
    ),
    metric(
        "vigil_line_crossings_total",
        "Crossings of a line.",
        {way: f"cameras.*.lines.*.{way}" for way in ("forward", "backward")},
        "camera line direction",
    ),
)

_EVENTS = (
    metric("vigil_events_kept", "Events in the device's store.", "telemetry.events.events"),
    metric("vigil_events_bytes", "Room that they take.", "telemetry.events.bytes"),
    metric(
        "vigil_events_lost_total",
        "Events and pictures that could not be kept.",
        "telemetry.events.lost",
    ),
)

VISION_METRICS = (*_PIPELINE, *_CAMERAS, *_EVENTS)
