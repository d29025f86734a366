"""Roll-outs as `vigil fleet rollout status` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from agent.fleet.rollout_store import Rollout, RolloutStore, Row


def overview(store: RolloutStore, chosen: list[Rollout]) -> Table:
    """Return where roll-outs are, a line each."""
    table = Table("roll-out", "release", "standing", "waves", "have it", "failed", "devices", "why")
    for one in chosen:
        rows = store.devices(one.name)
        steps = [row.step.value for row in rows]
        asked = max((row.wave + 1 for row in rows if row.sends), default=0)
        table.add_row(
            one.name,
            one.plan.release,
            one.standing.value,
            f"{asked}/{len(one.plan.waves)}",
            str(steps.count("committed")),
            str(steps.count("failed")),
            str(len(rows)),
            one.reason,
        )
    return table


def device_table(rows: list[Row]) -> Table:
    """Return where every device of a roll-out is."""
    table = Table("device", "wave", "step", "why")
    for row in rows:
        table.add_row(row.device, str(row.wave + 1), row.step.value, row.code)
    return table


def told_of(rollout: Rollout, rows: list[Row]) -> dict[str, Any]:
    """Return a roll-out with its devices, for programs."""
    return {
        "name": rollout.name,
        "release": rollout.plan.release,
        "standing": rollout.standing.value,
        "reason": rollout.reason,
        "devices": [
            {"device": row.device, "wave": row.wave + 1, "step": row.step.value, "code": row.code}
            for row in rows
        ],
    }
