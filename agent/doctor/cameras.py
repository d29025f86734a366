"""Cameras: what the running agent says of each, or one look through a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from agent.doctor.findings import good, problem, warning
from agent.doctor.patient import Patient
from agent.host.clock import monotonic_ns
from agent.schema.camera_report import CameraReport
from agent.schema.config import CameraConfig
from agent.schema.doctor import CameraLook, Finding
from agent.schema.document import Malformed, parse_json, to_json
from agent.telemetry.status_file import Status

LOOK_S = 20.0
STALE_S = 10.0
_DARK, _FLAT = 12.0, 4.0
_BLIND = "nothing is detected there"
_PROBE = (sys.executable, "-m", "agent.vision.look")
_FIXES = {
    "camera.unreachable": "is it powered and plugged in? Network camera: ping it, check address and password; USB:"
    " ls -l /dev/video*, and is the user in group video? sudo usermod -aG video vigil",
    "camera.missing": "correct `source` in vigil.yaml, or bring the file back: ls -l FILE",
    "camera.lost": "look at power and cable; USB: try another port; network: ping it",
    "camera.unknown": "correct `source` in vigil.yaml: a file, folder, /dev/videoN, rtsp:// or http:// URL",
}
_FIX = "correct `source` in vigil.yaml, or mend the camera"


def look_at_cameras(patient: Patient) -> Iterator[Finding]:
    """Judge every camera of the configuration."""
    cameras = patient.config.cameras
    if not cameras:
        yield warning(
            "camera",
            "camera.none",
            "no camera is configured",
            _BLIND,
            "name one under `cameras:` in vigil.yaml, then: sudo systemctl restart vigil",
        )
    for camera in cameras:
        streams = patient.status is not None and _report(patient.status, camera.name) is not None
        if patient.status is not None and (streams or camera.exclusive):
            yield judge_running(camera.name, patient.status, monotonic_ns())
        else:
            yield judge_look(camera, _look(camera))


def _report(status: Status, name: str) -> CameraReport | None:
    reports = {report.name: report for report in status.telemetry.cameras}
    report = reports.get(name)
    return report if report is not None and report.status == "streaming" else None


def judge_running(name: str, status: Status, now_ns: int) -> Finding:
    """Say how long ago the running agent had a good frame of a camera: pure."""
    check = f"camera.{name}"
    reports = {report.name: report for report in status.telemetry.cameras}
    if name not in reports:
        return warning(
            check,
            "camera.idle",
            "the running agent has not opened it",
            _BLIND,
            "without a model no camera is opened: deploy a release, or see `vigil status`",
        )
    report, last_ns = reports[name], status.last_frames_ns.get(name, 0)
    age_s = (now_ns - last_ns) / 1e9
    if last_ns and age_s <= STALE_S:
        return good(
            check, f"{report.status}, {report.fps:.1f} frames/s, the last {age_s:.1f} s ago"
        )
    since = f"the last good frame came {age_s:.0f} s ago" if last_ns else "no frame came yet"
    return problem(
        check,
        "camera.no_frames",
        f"{report.status}: {since}; {report.problem or 'no reason is known'}",
        _BLIND,
        f"{_FIXES['camera.lost']}; log: sudo journalctl -u vigil -g {name} -n 20",
    )


def _look(camera: CameraConfig) -> CameraLook | None:
    """Return what a process of its own saw; None when it had to be ended."""
    try:
        ended = subprocess.run(
            _PROBE, input=to_json(camera), capture_output=True, timeout=LOOK_S, check=False
        )
        return parse_json(ended.stdout, CameraLook)
    except subprocess.TimeoutExpired:
        return None
    except Malformed as error:
        last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return CameraLook(code="camera.crashed", message=f"{error}: {''.join(last)}")


def judge_look(camera: CameraConfig, seen: CameraLook | None) -> Finding:
    """Say what one look showed: pure."""
    check = f"camera.{camera.name}"
    if seen is None:
        what = f"it did not open or give a picture within {LOOK_S:.0f} s; its driver hangs"
        fix = "unplug it and plug it in again, or restart: sudo reboot"
        return problem(check, "camera.hangs", what, _BLIND, fix)
    if seen.code:
        fix = _FIXES.get(seen.code, seen.hint or _FIX)
        return problem(check, seen.code, seen.message, _BLIND, fix)
    if not seen.frames:
        return problem(check, "camera.empty", "it opened and gave no picture", _BLIND, _FIX)
    return _judge_picture(check, camera, seen)


def _judge_picture(check: str, camera: CameraConfig, seen: CameraLook) -> Finding:
    size = f"{seen.width}x{seen.height}"
    if seen.brightness < _DARK:
        what = f"its picture ({size}) is black: mean {seen.brightness} of 255"
        return warning(check, "camera.dark", what, _BLIND, "remove cap or dirt, or give light")
    if seen.contrast < _FLAT:
        what = f"its picture ({size}) is one colour: contrast {seen.contrast} of 255"
        return warning(
            check, "camera.flat", what, _BLIND, "clean and focus the lens; is it covered?"
        )
    if seen.same and camera.exclusive:
        what = f"{seen.frames} pictures ({size}) are the same, byte for byte"
        return warning(check, "camera.frozen", what, _BLIND, "restart the camera")
    return good(check, f"{size}, {seen.frames} pictures, the last {seen.age_ms:.0f} ms old")
