"""The doctor on real devices: a healthy one, a stopped one, and one that is broken in more than ten ways."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.cli.bench_installed import variants_here
from agent.config import load_config
from agent.config.settings import Settings
from agent.doctor.examination import Probe, _Running, ask_doctor, examine
from agent.doctor.findings import good
from agent.doctor.patient import admit
from agent.errors import ConfigError
from agent.schema.config import Config
from agent.schema.doctor import DoctorReport, Finding, Level
from agent.schema.document import parse_json
from agent.vision.benchmark import ModelFile
from agent.vision.detector import load_detector
from tests.parts.certificates import Authority
from tests.parts.processes import until, vigil
from tests.parts.site import Device, Site

# What depends on the machine that runs the tests, and not on the device under test.
OF_THE_MACHINE = ("clock", "journal", "disk", "power", "board", "software")


@pytest.fixture(scope="module")
def stopped(session_site: Site) -> Device:
    """A device with a committed release, stopped cleanly."""
    device = session_site.serving("patient")
    assert device.stop() == 0
    return device


def by_check(report: DoctorReport) -> dict[str, Finding]:
    return {finding.check: finding for finding in report.findings}


def troubles(report: DoctorReport) -> list[Finding]:
    return [
        finding
        for finding in report.findings
        if finding.level in {Level.WARNING, Level.PROBLEM}
        and not finding.check.startswith(OF_THE_MACHINE)
    ]


def test_a_healthy_device_has_nothing_wrong_while_it_runs(site: Site) -> None:
    device = site.serving("healthy")
    until(
        lambda: [one.status for one in device.status.telemetry.cameras] == ["streaming"],
        30,
        "a camera that streams in the status file",
    )
    report = ask_doctor(device.config)
    assert troubles(report) == []
    found = by_check(report)
    assert "frames/s" in found["agent"].what
    assert "streaming" in found["camera.belt"].what
    assert "recall 1.00" in found["model.golden"].what
    assert "valid signatures" in found["model.signature"].what
    assert found["broker.login"].level is Level.OK
    assert found["broker.topics"].level is Level.UNSEEN, "it must not throw out the agent"
    assert device.status.telemetry.link_reconnects == 0
    assert found["console"].what.endswith("answers")


def test_the_command_line_shows_the_fix_and_ends_with_2(stopped: Device) -> None:
    shown = vigil("doctor", "--config", str(stopped.config))
    assert shown.returncode == 2, shown.stderr
    assert "fix:     sudo systemctl restart vigil; see why it ended" in shown.stdout
    asked = vigil("doctor", "--json", "--config", str(stopped.config))
    report = parse_json(asked.stdout.encode(), DoctorReport)
    assert report.device == "patient"
    assert report.verdict is Level.PROBLEM
    assert {"check", "level", "code", "what", "why", "fix"} == set(
        json.loads(asked.stdout)["findings"][0]
    )


def test_a_stopped_device_is_examined_up_to_the_controller(stopped: Device) -> None:
    found = by_check(examine(load_config(stopped.config)))
    assert found["agent"].code in {"status.absent", "status.stale"}
    assert "5 pictures" in found["camera.belt"].what
    for step in ("broker.dns", "broker.tcp", "broker.tls", "broker.login", "broker.topics"):
        assert found[step].level in {Level.OK, Level.WARNING}, found[step]
    assert found["controller"].level is Level.OK, found["controller"]
    assert found["model.golden"].level is Level.OK


def test_the_release_on_a_device_is_opened_in_memory_for_a_measurement(
    stopped: Device, tmp_path: Path
) -> None:
    stated = ModelFile(path="", source="", threads=1)
    with variants_here(stopped.config, stated) as found:
        for _, file in found:
            detector = load_detector(Path(file.path), family=file.family, labels=file.labels)
            assert list(detector.facts.labels) == file.labels
        assert "memfd" in str(Path(found[0][1].path).readlink())
    assert not Path(found[0][1].path).exists()
    empty = tmp_path / "vigil.yaml"
    config = yaml.safe_load(stopped.config.read_text())
    empty.write_text(yaml.safe_dump({**config, "state_dir": str(tmp_path / "state")}))
    with (
        pytest.raises(ConfigError, match="no release is installed"),
        variants_here(empty, stated),
    ):
        pytest.fail("nothing is there to be measured")


def test_a_config_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "vigil.yaml"
    path.write_text("schema: 1\ndevice: {id: UPPER, class: gate}\n")
    shown = vigil("doctor", "--config", str(path))
    assert shown.returncode == 2
    assert "$.device.id" in shown.stdout
    assert "Traceback" not in shown.stdout + shown.stderr


def test_a_probe_that_hangs_or_fails_does_not_hold_up_the_others(stopped: Device) -> None:
    def hang(_patient: object) -> Iterator[Finding]:
        yield good("before", "seen")
        time.sleep(600)

    def fail(_patient: object) -> Iterator[Finding]:
        yield good("before", "seen")
        raise RuntimeError("bug")

    patient = admit(load_config(stopped.config))
    for look, code in ((hang, "doctor.timeout"), (fail, "doctor.failed")):
        found = _Running(Probe("stuck", look, -0.5), patient).collect()
        assert [finding.code for finding in found] == ["ok", code]


# ten breakages --------------------------------------------------------------------------------------


@pytest.fixture
def wreck(site: Site, tmp_path: Path) -> Iterator[tuple[Config, Path]]:
    """A device on which nearly everything is wrong, and the root of its machine."""
    device = site.serving("wreck")
    blob = max((device.folder / "state/models/blobs").iterdir(), key=lambda one: one.stat().st_size)
    device.kill()
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    (device.folder / "state/floor").write_text("torn")
    with socket.socket() as taken, socket.socket() as closed:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        folder = tmp_path / "pki"
        folder.mkdir()
        authority = Authority(folder)
        expired = authority.client("wreck", valid=-dt.timedelta(days=1))
        expired.key.chmod(0o644)
        tls = {
            "ca": str(authority.certificate),
            "cert": str(expired.certificate),
            "key": str(expired.key),
        }
        device.configure(
            broker={"host": "127.0.0.1", "port": closed.getsockname()[1], "tls": tls},
            cameras=[
                {"name": "gate", "source": str(tmp_path / "unplugged.mp4")},
                {"name": "yard", "source": "carrier-pigeon:1"},
            ],
            console={"port": taken.getsockname()[1]},
        )
        yield load_config(device.config), _broken_machine(tmp_path / "root", device.folder)


def _broken_machine(root: Path, folder: Path) -> Path:
    """A Raspberry Pi's `/` with a weak supply, a worn card, wrong packages, no time zone and no kept journal."""
    number = folder.stat().st_dev
    partition = root / "sys/devices/mmcblk0/mmcblk0p2"
    files = {
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
        "sys/devices/mmcblk0/device/life_time": "0x09 0x0a",
        "sys/devices/mmcblk0/device/pre_eol_info": "0x02",
        "sys/devices/mmcblk0/mmcblk0p2/partition": "2",
        "sys/fs/ext4/mmcblk0p2/errors_count": "3",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "93000",
        "usr/lib/python3/dist-packages/numpy-2.1.0.dist-info/METADATA": "Name: numpy\nVersion: 2.1.0\n",
        "usr/lib/python3/dist-packages/tflite_runtime-2.14.0.dist-info/METADATA": "Name: tflite-runtime\nVersion: 2.14.0\n",
        "run/log/journal/keep": "",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    link = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(partition)
    return root


BREAKAGES = {
    "the agent was killed": ("status.", "systemctl restart vigil"),
    "a camera's file is gone": ("camera.missing", "bring the file back"),
    "a camera of no known kind": ("camera.unknown", "correct `source` in vigil.yaml"),
    "the model's file rotted": ("model.damaged", "asked for again"),
    "the rollback floor is torn": ("storage.damaged", "enrol the device anew"),
    "the certificate ended": ("certificate.expired", "vigil enroll"),
    "others may read the TLS key": ("files.exposed", "chmod 600"),
    "the broker's port is closed": ("broker.unreachable", "nc -vz 127.0.0.1"),
    "the page's port is taken": ("console.port_in_use", "ss -ltnp"),
    "the supply is too weak": ("power.under_voltage", "5 V supply"),
    "the board throttles": ("power.throttled", "cool it"),
    "the card is worn": ("disk.worn", "plan a replacement"),
    "the file system has errors": ("disk.errors", "replace /dev/mmcblk0p2"),
    "packages do not go together": ("skew.tflite_numpy", "ai-edge-litert"),
    "no time zone": ("journal.no_zone", "timedatectl set-timezone"),
    "the journal is not kept": ("journal.volatile", "mkdir -p /var/log/journal"),
}


def test_a_machine_broken_in_ten_ways_has_each_named_with_its_fix(
    wreck: tuple[Config, Path],
) -> None:
    report = examine(*wreck)
    assert report.verdict is Level.PROBLEM
    for breakage, (code, fix) in BREAKAGES.items():
        named = [finding for finding in report.findings if finding.code.startswith(code)]
        assert named, f"{breakage}: not found in {[one.code for one in report.findings]}"
        assert fix in named[0].fix, f"{breakage}: {named[0].fix}"
        assert named[0].why, breakage


def test_cameras_that_were_added_from_afar_are_examined_too(stopped: Device) -> None:
    change = {"cameras": {"second": {"source": "nowhere.mp4"}}}
    Settings(stopped.config).amend(change)
    shown = vigil("doctor", "--json", "--config", str(stopped.config))
    report = parse_json(shown.stdout.encode(), DoctorReport)
    assert by_check(report)["camera.second"].code == "camera.missing"
