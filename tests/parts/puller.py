"""A process that only fetches one file over MQTT blocks, as the updater does, so that it can be killed.

    python -m tests.parts.puller BROKER_PORT TARGET_JSON FOLDER

It prints the position after every block, and ends with 0 when the file is whole.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from agent.control.link import Link
from agent.host.disk import REAL_DISK
from agent.schema.config import BrokerConfig
from agent.schema.document import parse_json
from agent.schema.messages import Progress
from agent.schema.topics import DeviceTopics
from agent.update.fetch import fetch_file
from agent.update.sources.blocks import BlockLimits, BlockSource
from agent.update.sources.failover import FailoverSource
from agent.update.targets import Target

DEVICE = "cam-1"


def pull(port: int, target: Target, folder: Path) -> None:
    """Fetch `target` into `folder/blob`."""
    broker = BrokerConfig(
        host="127.0.0.1", port=port, protocol="5", keepalive_s=5, allow_plaintext=True
    )
    link = Link(broker, DeviceTopics(DEVICE))
    source = FailoverSource([BlockSource(link.channel("blk"), BlockLimits(answer_s=1.0))])
    link.start()
    try:
        fetch_file(source, target, folder / "part", folder / "blob", REAL_DISK, _tell)
    finally:
        link.stop(1.0)


def _tell(progress: Progress) -> None:
    print(progress.done, flush=True)  # noqa: T201 - what the test reads


def read_target(path: Path) -> Target:
    """Read what `write_target` wrote."""
    fields: dict[str, Any] = parse_json(path.read_bytes(), dict[str, Any])
    return Target(**{**fields, "block_sha256": tuple(fields["block_sha256"])})


if __name__ == "__main__":
    pull(int(sys.argv[1]), read_target(Path(sys.argv[2])), Path(sys.argv[3]))
