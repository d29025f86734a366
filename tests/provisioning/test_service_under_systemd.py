"""The service under a real systemd: watchdog, crashes, crash loops, mistakes, two at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.parts.nspawn import Machine
from tests.parts.processes import until
from tests.parts.provisioned import Provisioned, copy_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UNIT, REVIVE = "vigil.service", "vigil-revive.service"
# The tests' patience is shorter than a device's; nothing else differs from the unit that is shipped.
QUICK = """\
[Unit]
StartLimitBurst=4
[Service]
TimeoutAbortSec=2
RestartSec=200ms
"""


@pytest.fixture(scope="module")
def machine(
    provisioned: Provisioned, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    machine = copy_of(provisioned, tmp_path_factory.mktemp("service") / "machine")
    units = machine.root / "etc/systemd/system"
    (units / "vigil.service.d/90-test.conf").write_text(QUICK)
    (units / "vigil-revive.timer.d").mkdir()
    (units / "vigil-revive.timer.d/90-test.conf").write_text(
        "[Timer]\nOnActiveSec=\nOnActiveSec=2s\nAccuracySec=100ms\n"
    )
    machine.boot()
    yield machine
    machine.destroy()


@pytest.fixture
def service(machine: Machine) -> Machine:
    """The machine with its service freshly started."""
    machine.run("systemctl", "stop", "vigil-revive.timer", UNIT)
    machine.run("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "start", UNIT)
    is_active(machine)
    return machine


def is_active(machine: Machine) -> None:
    until(
        lambda: machine.show(UNIT, "ActiveState") == "active", 60, "the service runs", every_s=0.2
    )


def main_pid(machine: Machine) -> int:
    return int(machine.show(UNIT, "MainPID"))


def restarts(machine: Machine) -> int:
    return int(machine.show(UNIT, "NRestarts"))


def says(machine: Machine, words: str) -> None:
    """Wait for words in the journal, which takes them in a little after they were said."""
    until(lambda: words in machine.journal(UNIT), 30, words, every_s=0.2)


def test_it_runs_as_its_own_user_and_tells_systemd_when_it_is_ready(service: Machine) -> None:
    assert service.show(UNIT, "Type") == "notify"
    pid = main_pid(service)
    status = service.run("cat", f"/proc/{pid}/status").stdout
    own = service.run("id", "-u", "vigil").stdout.strip()
    assert f"Uid:\t{own}\t{own}" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status


def test_a_killed_agent_is_started_again(service: Machine) -> None:
    before = main_pid(service)
    service.run("systemctl", "kill", "-s", "KILL", UNIT)
    until(lambda: restarts(service), 30, "it is started again", every_s=0.2)
    is_active(service)
    assert main_pid(service) != before


def test_an_agent_that_hangs_trips_the_watchdog(service: Machine) -> None:
    service.run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", UNIT)
    until(lambda: restarts(service), 120, "it is started again", every_s=0.2)
    says(service, "Watchdog timeout")
    is_active(service)


def test_a_crash_loop_ends_and_is_tried_again_later(service: Machine) -> None:
    def gives_up() -> bool:
        service.run("systemctl", "kill", "-s", "KILL", UNIT)
        return "Start request repeated too quickly" in service.journal(UNIT)

    until(gives_up, 60, "no more restarts", every_s=0.5)
    until(lambda: REVIVE in service.journal(REVIVE), 60, "the timer tries again", every_s=0.2)
    is_active(service)


def test_a_mistake_in_the_configuration_is_not_tried_again(service: Machine) -> None:
    config = service.root / "etc/vigil/vigil.yaml"
    right = config.read_text()
    config.write_text(right + "colour: blue\n")
    try:
        service.run("systemctl", "restart", UNIT)
        until(lambda: service.show(UNIT, "ActiveState") == "failed", 30, "it gave up", every_s=0.2)
        assert service.show(UNIT, "ExecMainStatus") == "78"
        assert restarts(service) == 0
        says(service, "colour")
        until(lambda: service.show(REVIVE, "Result") == "exec-condition", 30, "nor by the timer")
        assert service.show(UNIT, "ActiveState") == "failed"
    finally:
        config.write_text(right)


def test_a_second_agent_on_the_same_state_is_refused(service: Machine) -> None:
    command = ["setpriv", "--reuid=vigil", "--regid=vigil", "--clear-groups"]
    key = "/run/credentials/vigil.service"
    second = service.run(
        *command,
        "env",
        f"CREDENTIALS_DIRECTORY={key}",
        "vigil",
        "run",
        "--config",
        "/etc/vigil/vigil.yaml",
    )
    assert second.returncode == 75, second.stderr
    assert f"another agent uses it, process {main_pid(service)}" in second.stderr
    assert "Traceback" not in second.stderr
    assert service.show(UNIT, "ActiveState") == "active"


def test_after_a_power_cut_it_starts_by_itself(service: Machine) -> None:
    service.power_off()
    service.boot()
    is_active(service)


def test_it_stops_when_asked(service: Machine) -> None:
    service.run("systemctl", "stop", UNIT)
    assert service.show(UNIT, "ActiveState") == "inactive"
    assert service.show(UNIT, "Result") == "success"
    assert service.show(UNIT, "ExecMainStatus") in {"0", str(int(signal.SIGTERM))}
