"""The running agent and its page: what the status file says, and who has the console's port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from agent.doctor.findings import good, problem, unseen, warning
from agent.doctor.pace import judge_beside, judge_pace
from agent.doctor.patient import Patient
from agent.schema.config import ConsoleConfig
from agent.schema.doctor import Finding
from agent.telemetry.status_file import Status

_CONNECT_S = 2.0
_RESTARTS = 3


def look_at_agent(patient: Patient) -> Iterator[Finding]:
    """Judge what the agent says of itself."""
    if patient.status is not None:
        yield from judge(patient.status)
        state, measured = patient.status.state, patient.status.telemetry
        yield from judge_pace(state, measured)
        if patient.fleet is not None:
            yield from judge_beside(state, measured, patient.fleet)
        return
    silence = patient.silence
    code = silence.code if silence else "status.absent"
    what = str(silence or "the agent is not running")
    if code == "storage.denied":
        yield unseen("agent", what, "sudo -u vigil vigil doctor")
        return
    yield problem(
        "agent",
        code,
        what,
        "nothing is detected and nothing reported",
        "sudo systemctl restart vigil; see why it ended: sudo journalctl -u vigil -n 50",
    )


def judge(status: Status) -> Iterator[Finding]:
    """Say how the agent does: pure."""
    state, measured = status.state, status.telemetry
    if state.release is None:
        yield problem(
            "agent",
            "agent.no_model",
            f"the agent runs without a model: {state.problem or 'none was deployed yet'}",
            "nothing is detected",
            "deploy a release: vigil fleet deploy --help",
        )
    elif state.problem:
        yield problem(
            "agent",
            "agent.pipeline",
            f"{state.pipeline}: {state.problem}",
            "detection is interrupted",
            "sudo journalctl -u vigil -n 50; then: sudo systemctl restart vigil",
        )
    else:
        yield good("agent", f"{state.agent} runs {state.release}, {measured.fps:.1f} frames/s")
    if measured.worker_restarts > _RESTARTS:
        yield warning(
            "agent.worker",
            "agent.restarts",
            f"the worker ended unexpectedly {measured.worker_restarts} times since the start",
            "every time some seconds go unseen",
            "sudo journalctl -u vigil -g worker; memory: free -m; raise update.worker_memory_mb if it is killed",
        )
    if measured.outbox_dropped:
        yield warning(
            "agent.spool",
            "agent.dropped",
            f"{measured.outbox_dropped} messages were dropped, {measured.outbox_messages} wait",
            "the broker was away longer than the spool can bridge",
            "mend the connection (see `broker`), or raise telemetry.outbox.max_mb",
        )


def look_at_console(patient: Patient) -> Iterator[Finding]:
    """Judge the local page's port."""
    console = patient.config.console
    if not console.enabled or not console.port:
        yield good("console", "no fixed port is configured" if console.enabled else "switched off")
        return
    address = f"{console.host}:{console.port}"
    if patient.status is not None:
        yield _answers(console, address)
    elif _is_taken(console):
        yield problem(
            "console",
            "console.port_in_use",
            f"{address} is taken by another program",
            "the agent runs without its page",
            f"find it: sudo ss -ltnp 'sport = :{console.port}'; or choose another console.port",
        )
    else:
        yield good("console", f"{address} is free")


def _answers(console: ConsoleConfig, address: str) -> Finding:
    host = "127.0.0.1" if console.host in {"0.0.0.0", "::"} else console.host  # noqa: S104 - compared
    try:
        socket.create_connection((host, console.port), _CONNECT_S).close()
    except OSError as error:
        return problem(
            "console",
            "console.silent",
            f"nobody answers on {address}: {error.strerror or error}",
            "the agent's page cannot be opened; its port was taken when it started",
            "sudo journalctl -u vigil -g page; then: sudo systemctl restart vigil",
        )
    return good("console", f"{address} answers")


def _is_taken(console: ConsoleConfig) -> bool:
    family = socket.AF_INET6 if ":" in console.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((console.host, console.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
