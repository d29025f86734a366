"""The agent of a provisioned device is replaced under a real systemd, from bundles that hold every library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent.fleet.operators import Order
from agent.release.agent_release import build_agent_release
from agent.schema.messages import Reply
from tests.parts import nspawn
from tests.parts.agent_wheels import BLIND, NONSENSE, Edits, Wheels
from tests.parts.provisioned import DEVICE, Provisioned, copy_of
from tests.parts.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not os.environ.get("VIGIL_TEST_UPGRADE"),
        reason="takes three minutes; VIGIL_TEST_UPGRADE=1 runs it",
    ),
]
UNIT = "vigil.service"


def publish(site: Site, folder: Path, version: str, edits: Edits) -> dict[str, Any]:
    """Sign a version with all its libraries; return what the command must name."""
    wheels = Wheels(folder).version(version, edits)
    for library in nspawn.wheelhouse().iterdir():
        os.link(library, wheels / library.name)
    build_agent_release(folder / "release", {"3.11-x86_64": wheels}, "0.1", 1)
    asked = site.fleet.repository.add_agent(folder / "release")
    site.fleet.publish()
    return {"agent": asked.agent, "sha256": asked.sha256}


def update(site: Site, asked: dict[str, Any]) -> Reply:
    """Send the signed command and wait for its end."""
    return site.end_of(site.fleet.order(Order("update-agent", asked, f"d/{DEVICE}")), 400.0)


def test_systemd_sees_one_service_whatever_version_runs(
    provisioned: Provisioned, tmp_path: Path
) -> None:
    site = provisioned.site
    machine = copy_of(provisioned, tmp_path / "machine")
    try:
        machine.boot()
        inbox = site.fleet.controller.inbox
        inbox.wait_state(DEVICE, lambda state: state.online and state.policy_ver > 0, 90)
        deployed = site.fleet.deploy(site.release("1.0.0"), DEVICE)
        assert site.end_of(deployed, 120.0).status.value == "succeeded"
        reply = update(site, publish(site, tmp_path / "good", "0.9.1", {}))
        assert reply.status.value == "succeeded", f"{reply}\n{machine.journal(UNIT)[-3000:]}"
        assert machine.run("vigil", "--version").stdout.strip() == "0.9.1"
        libraries = machine.root / "opt/vigil/b/lib/python3.11/site-packages"
        assert (libraries / "cv2").is_dir(), "the new environment stands by itself"

        reply = update(site, publish(site, tmp_path / "blind", "0.9.2", BLIND))
        assert reply.code == "agent.rolled_back", f"{reply}\n{machine.journal(UNIT)[-3000:]}"
        reply = update(site, publish(site, tmp_path / "broken", "0.9.3", NONSENSE))
        assert reply.code == "package.import"
        assert machine.run("vigil", "--version").stdout.strip() == "0.9.1"
        assert machine.show(UNIT, "ActiveState") == "active"
        assert machine.show(UNIT, "NRestarts") == "0", "the service itself never ended"
    finally:
        machine.destroy()
