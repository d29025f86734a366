"""`device.py FOLDER`: make a throw-away fleet and a device in it that runs a release of the bundled model; keep the device.

Leaves FOLDER/device, as `vigil run` left it: configuration, identity and state.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agent.demo.device import DemoDevice
from agent.demo.fleet import DemoFleet
from agent.demo.releases import Script, build

_WAIT_S = 120.0


def main(folder: Path) -> None:
    """Deploy a release to a new device, wait until it is kept, and stop everything."""
    fleet = DemoFleet(folder / "fleet")
    fleet.start()
    device = DemoDevice("device", folder / "device", fleet)
    release = fleet.repository.add_release(build(fleet, Script("1.0.0", 1, ("parts-1.onnx",))))
    fleet.publish()
    device.start()
    try:
        inbox = fleet.controller.inbox
        inbox.wait_state(device.name, lambda state: state.online and state.policy_ver > 0, _WAIT_S)
        reply = inbox.wait_reply(fleet.deploy(release, device.name).id, _WAIT_S)
        if reply.status.value != "succeeded":
            sys.exit(f"the release was not kept: {reply}")
    finally:
        device.stop()
        fleet.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
