"""What a measurement says of memory."""

from __future__ import annotations

import os
from pathlib import Path

from agent.schema.config import OutboxConfig
from agent.telemetry.meters import Meters
from agent.telemetry.outbox import Outbox
from agent.telemetry.survey import Ports, Survey


def test_a_new_worker_is_weighed_at_once(tmp_path: Path) -> None:
    workers = [0]
    outbox = Outbox(tmp_path / "outbox.db", OutboxConfig())
    ports = Ports(worker_pid=lambda: workers[-1], reconnects=lambda: 0)
    survey = Survey("cam-1", 1.0, Meters(), outbox, ports)
    assert survey().worker_pss_mb == 0.0
    workers.append(os.getpid())
    assert survey().worker_pss_mb > 1.0
    outbox.close()
