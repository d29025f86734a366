"""The examination: all probes side by side, each with a time limit, so that nothing that hangs holds it up.

report = examine(config)                  # in this process; opens no camera and no model itself
report = ask_doctor(Path("vigil.yaml"))   # in a process of its own, for the running agent
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import __version__
from agent.doctor.cameras import LOOK_S, look_at_cameras
from agent.doctor.certificates import look_at_certificates
from agent.doctor.files import look_at_files
from agent.doctor.findings import problem, verdict
from agent.doctor.machine_probe import look_at_board, look_at_clock, look_at_disk
from agent.doctor.model import look_at_model
from agent.doctor.network import look_at_broker
from agent.doctor.patient import Patient, admit
from agent.doctor.running import look_at_agent, look_at_console
from agent.errors import VigilError
from agent.host.clock import monotonic_ns, wall_ms
from agent.schema.config import Config
from agent.schema.doctor import DOCTOR_SCHEMA, DoctorReport, Finding
from agent.schema.document import Malformed, parse_json
from agent.schema.pace import FleetPaces

log = logging.getLogger(__name__)
LIMIT_S = 180.0
Look = Callable[[Patient], Iterator[Finding]]


@dataclass(frozen=True)
class Probe:
    """One part of the examination and the seconds it may take."""

    name: str
    look: Look
    limit_s: float


# In the order in which people read them: what runs, what it sees, what it stands on, whom it talks to.
PROBES = (
    Probe("agent", look_at_agent, 5.0),
    Probe("camera", look_at_cameras, LOOK_S),
    Probe("model", look_at_model, 130.0),
    Probe("software", look_at_board, 15.0),
    Probe("disk", look_at_disk, 10.0),
    Probe("clock", look_at_clock, 5.0),
    Probe("files", look_at_files, 5.0),
    Probe("certificate", look_at_certificates, 5.0),
    Probe("broker", look_at_broker, 40.0),
    Probe("console", look_at_console, 5.0),
)


class _Running:
    """A probe in a thread of its own; what it found until its time is up counts."""

    def __init__(self, probe: Probe, patient: Patient) -> None:
        extra = len(patient.config.cameras) if probe.look is look_at_cameras else 1
        self._probe, self._patient = probe, patient
        self._limit_s = probe.limit_s * max(extra, 1) + 1
        self._findings: list[Finding] = []
        self._started_ns = monotonic_ns()
        self._thread = threading.Thread(target=self._run, name=probe.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._findings.extend(self._probe.look(self._patient))
        except Exception as error:
            log.exception("probe %s failed", self._probe.name)
            self._findings.append(self._broken("doctor.failed", f"{type(error).__name__}: {error}"))

    def collect(self) -> list[Finding]:
        """Wait for the end, or for the time to be up."""
        self._thread.join(max(0.0, self._limit_s - (monotonic_ns() - self._started_ns) / 1e9))
        found = list(self._findings)
        if self._thread.is_alive():
            what = f"no end within {self._limit_s:.0f} s"
            found.append(self._broken("doctor.timeout", what))
        return found

    def _broken(self, code: str, what: str) -> Finding:
        why = "what hangs here may hang the agent, too"
        fix = "sudo journalctl -k -n 50; run it again with --log-level debug"
        return problem(self._probe.name, code, what, why, fix)


def examine(
    config: Config, root: Path = Path("/"), fleet: FleetPaces | None = None
) -> DoctorReport:
    """Run every probe and return all findings; never raises for anything about the device."""
    patient = admit(config, root, fleet)
    running = [_Running(probe, patient) for probe in PROBES]
    findings = [finding for one in running for finding in one.collect()]
    return _report(config.device.id, findings)


def refused(error: VigilError) -> DoctorReport:
    """Return the report of a device whose configuration cannot be read."""
    why = "the agent does not start (exit status 78), and nothing else can be examined"
    fix = error.hint or "correct vigil.yaml"
    return _report("", [problem("config", error.code, str(error), why, fix)])


def _report(device: str, findings: list[Finding]) -> DoctorReport:
    return DoctorReport(
        schema=DOCTOR_SCHEMA,
        device=device,
        agent=__version__,
        at_ms=wall_ms(),
        verdict=verdict(findings),
        findings=findings,
    )


def ask_doctor(config: Path, limit_s: float = LIMIT_S) -> DoctorReport:
    """Examine in a process of its own, which is ended after `limit_s` seconds.

    Raises:
        VigilError: `doctor.failed`: it did not end in time or said nothing that can be read.
    """
    command = [sys.executable, "-m", "agent", "doctor", "--json", "--config", str(config)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=limit_s, check=False)
        return parse_json(ended.stdout, DoctorReport)
    except subprocess.TimeoutExpired as error:
        message = f"the doctor took more than {limit_s:.0f} s and was ended"
        raise VigilError(message, code="doctor.failed") from error
    except Malformed as error:
        raise VigilError(f"the doctor's answer: {error}", code="doctor.failed") from error
