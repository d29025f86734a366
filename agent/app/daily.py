"""What a device kept of its last days: for `vigil report`, and for the fleet, which asks with `daily-summaries`."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from agent.app.device import Device
from agent.app.diagnostics import LEDGER
from agent.app.examples import require_link
from agent.control.attachments import attach
from agent.control.commander import Handler
from agent.control.replies import Replier, arguments
from agent.host.clock import wall_ms
from agent.schema.actions import DailySummariesArgs
from agent.schema.days import DAYS_VERSION, NOTED, DayHistory, Noted
from agent.schema.document import to_json
from agent.schema.messages import CommandBody
from agent.telemetry.days import FOLDER, date_of, read_days
from agent.trust.audit import read_trail
from agent.update.metered import Meter

DAILY_SUMMARIES = "daily-summaries"
_NOTED_MAX = 2000
_TEXT = 300


def history_of(device: str, state: Path, now_ms: int, count: int) -> DayHistory:
    """Return what is kept in a state folder of the `count` days until now; the agent may run meanwhile.

    Raises:
        StorageError: A folder or the audit record cannot be read.
    """
    days, unread = read_days(state / FOLDER, date_of(now_ms), count)
    since_ms = now_ms - count * 86_400_000
    rows = read_trail(state / LEDGER).rows if days or unread else []
    noted = [
        Noted(at_ms=row.at_ms, kind=row.kind, text=row.text[:_TEXT])
        for row in rows
        if row.kind in NOTED and row.at_ms >= since_ms
    ]
    return DayHistory(
        v=DAYS_VERSION,
        device=device,
        at_ms=now_ms,
        days=[replace(days[day], date=day.isoformat()) for day in sorted(days)],
        noted=noted[-_NOTED_MAX:],
        unread=unread,
    )


def daily_handler(device: Device, link: Meter, limit_bytes: Callable[[], int]) -> Handler:
    """Return what `daily-summaries` does; it takes a while.

    Args:
        device: Whose days.
        link: Bytes of the day on a link that costs money.
        limit_bytes: Greatest size of a reply.
    """

    def send(body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, DailySummariesArgs)
        require_link(link)
        device.days.save()
        found = history_of(device.id, device.folder, wall_ms(), asked.days)
        data = gzip.compress(to_json(found), mtime=0)
        for part in attach(f"days-{device.id}.json.gz", data, limit_bytes()):
            link.spend(len(part["base64"]))
            replier.running(f"part {part['part']} of {part['parts']}", attachment=part)
        replier.succeeded(days=len(found.days))

    return send
