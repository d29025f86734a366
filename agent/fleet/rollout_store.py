"""Roll-outs as the controller remembers them, in the registry's database: written before anything is sent.

Every change names the state it expects, so two processes that act at once cannot both do the same thing,
and nothing is claimed for sending once a roll-out was paused, halted or aborted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError

from agent.errors import ConfigError
from agent.fleet.database import Database
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_commands import expiry_s
from agent.fleet.rollout_plan import Plan
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_tally import OPEN, Step
from agent.fleet.tables import ROLLOUT_DEVICES, ROLLOUT_MOVES, ROLLOUTS
from agent.schema.document import parse_json, to_json

_BEFORE = {
    Step.WORKING: (Step.ASKED,),
    Step.COMMITTED: (Step.ASKED, Step.WORKING),
    Step.FAILED: (Step.ASKED, Step.WORKING),
}
_NAMES = 500  # of one question; SQLite takes no more than some tens of thousands
# Everything but the envelope, a kilobyte for each device that is wanted only once.
_DEVICES = sql.select(
    *(column for column in ROLLOUT_DEVICES.c if column.name not in {"rollout", "envelope"})
)


@dataclass(frozen=True)
class Rollout:
    """One roll-out; `path` and `sha256` are those of the release's manifest."""

    name: str
    plan: Plan
    path: str
    sha256: str
    standing: Standing
    reason: str
    started_ms: int


@dataclass(frozen=True)
class Row:
    """One device of a roll-out.

    Attributes:
        command: Id of its command, empty while none is signed.
        expires_s: When the command becomes void, Unix seconds.
        sends: How often it was written down to be sent.
        before_ms: Time of the device's last report about this release before it was asked, by its clock.
        code: Why it failed.
    """

    device: str
    wave: int
    step: Step
    command: str
    expires_s: int
    sends: int
    sent_ms: int
    before_ms: int
    settled_ms: int
    code: str


class RolloutStore:
    """The roll-outs in the database at `place`, see `agent.fleet.database`; safe to use from several threads and processes.

    Every method raises `StorageError` when it cannot be used.
    """

    def __init__(self, place: Path | str) -> None:
        self._database = Database(place)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def create(
        self, rollout: Rollout, waves: Mapping[str, int], commands: Mapping[str, SignedCommand]
    ) -> None:
        """Write down a new roll-out with all its devices, at once.

        Raises:
            ConfigError: There is one of this name (`rollout.exists`).
        """
        with self._database.transaction() as connection:
            values = {
                "name": rollout.name,
                "plan": to_json(rollout.plan),
                "path": rollout.path,
                "sha256": rollout.sha256,
                "standing": rollout.standing.value,
                "reason": rollout.reason,
                "started_ms": rollout.started_ms,
            }
            try:
                connection.execute(sql.insert(ROLLOUTS).values(values))
            except IntegrityError as error:
                message = f"roll-out {rollout.name}: there is one of this name"
                hint = "give the plan another name"
                raise ConfigError(message, code="rollout.exists", hint=hint) from error
            rows = [_row(rollout.name, device, wave) for device, wave in waves.items()]
            connection.execute(sql.insert(ROLLOUT_DEVICES), rows)
            _give(connection, rollout.name, commands)

    def add_commands(self, name: str, commands: Mapping[str, SignedCommand]) -> int:
        """Give devices that were not asked yet new commands; return how many took one."""
        with self._database.transaction() as connection:
            return _give(connection, name, commands)

    def rollouts(self, standing: Standing | None = None) -> list[Rollout]:
        """Return every roll-out, or those of one standing, the oldest first."""
        query = sql.select(ROLLOUTS).order_by(ROLLOUTS.c.started_ms, ROLLOUTS.c.name)
        if standing is not None:
            query = query.where(ROLLOUTS.c.standing == standing.value)
        return [_rollout(row) for row in self._database.rows(query)]

    def at_work(self) -> list[Rollout]:
        """Return the roll-outs that do not run and have devices that were asked, and of whose end nobody knows."""
        at_work = sql.select(ROLLOUT_DEVICES.c.rollout).where(
            ROLLOUT_DEVICES.c.rollout == ROLLOUTS.c.name,
            ROLLOUT_DEVICES.c.step.in_([step.value for step in OPEN]),
        )
        query = sql.select(ROLLOUTS).where(ROLLOUTS.c.standing != Standing.RUNNING.value)
        return [_rollout(row) for row in self._database.rows(query.where(at_work.exists()))]

    def rollout(self, name: str) -> Rollout:
        """Return one roll-out.

        Raises:
            ConfigError: There is none of this name (`rollout.unknown`).
        """
        found = {one.name: one for one in self.rollouts()}
        if name not in found:
            known = ", ".join(found) or "none"
            raise ConfigError(
                f"roll-out {name}: not known", code="rollout.unknown", hint=f"there are: {known}"
            )
        return found[name]

    def devices(self, name: str) -> list[Row]:
        """Return a roll-out's devices by wave and name."""
        query = _DEVICES.where(ROLLOUT_DEVICES.c.rollout == name)
        query = query.order_by(ROLLOUT_DEVICES.c.wave, ROLLOUT_DEVICES.c.device)
        return [_device(row) for row in self._database.rows(query)]

    def some_devices(self, name: str, devices: Collection[str]) -> list[Row]:
        """Return those of a roll-out's devices that are named."""
        query = _DEVICES.where(ROLLOUT_DEVICES.c.rollout == name)
        names, found = sorted(devices), []
        for start in range(0, len(names), _NAMES):
            wanted = ROLLOUT_DEVICES.c.device.in_(names[start : start + _NAMES])
            found += self._database.rows(query.where(wanted))
        return [_device(row) for row in found]

    def envelope(self, name: str, device: str) -> bytes:
        """Return the signed command of a device, empty while it has none."""
        query = sql.select(ROLLOUT_DEVICES.c.envelope).where(
            ROLLOUT_DEVICES.c.rollout == name, ROLLOUT_DEVICES.c.device == device
        )
        return bytes(self._database.rows(query)[0]["envelope"])

    def counts(self, name: str) -> dict[tuple[int, Step], int]:
        """Return how many of a roll-out's devices are where, by wave and step."""
        wave, step = ROLLOUT_DEVICES.c.wave, ROLLOUT_DEVICES.c.step
        query = sql.select(wave, step, sql.func.count().label("devices"))
        query = query.where(ROLLOUT_DEVICES.c.rollout == name).group_by(wave, step)
        rows = self._database.rows(query)
        return {(row["wave"], Step(row["step"])): row["devices"] for row in rows}

    def places(self, device: str, names: Collection[str]) -> list[dict[str, Any]]:
        """Return `rollout`, `wave` (from 1), `step` and `code` of one device in those of these roll-outs that it is part of."""
        table = ROLLOUT_DEVICES.c
        query = sql.select(table.rollout, table.wave, table.step, table.code)
        query = query.where(table.rollout.in_(names), table.device == device)
        return [{**row, "wave": row["wave"] + 1} for row in self._database.rows(query)]

    def claim(self, name: str, row: Row, now_ms: int, before_ms: int) -> bool:
        """Write down that a device is about to be asked; return whether it is for the caller to send.

        It is not when the roll-out no longer runs, or somebody else has claimed or heard of the device.
        """
        runs = sql.select(ROLLOUTS.c.name).where(
            ROLLOUTS.c.name == name, ROLLOUTS.c.standing == Standing.RUNNING.value
        )
        change = (
            sql.update(ROLLOUT_DEVICES)
            .where(
                ROLLOUT_DEVICES.c.rollout == name,
                ROLLOUT_DEVICES.c.device == row.device,
                ROLLOUT_DEVICES.c.sends == row.sends,
                ROLLOUT_DEVICES.c.step == row.step.value,
                ROLLOUT_DEVICES.c.command == row.command,
                runs.exists(),
            )
            .values(step=Step.ASKED.value, sends=row.sends + 1, sent_ms=now_ms, before_ms=before_ms)
        )
        return self._change(change)

    def note(self, command: str, device: str, step: Step, at_ms: int, code: str = "") -> bool:
        """Write down what a device said of its command; late, repeated and unknown words change nothing."""
        before = [one.value for one in _BEFORE[step]]
        settled_ms = 0 if step is Step.WORKING else at_ms
        change = (
            sql.update(ROLLOUT_DEVICES)
            .where(
                ROLLOUT_DEVICES.c.command == command,
                ROLLOUT_DEVICES.c.device == device,
                ROLLOUT_DEVICES.c.step.in_(before),
            )
            .values(step=step.value, settled_ms=settled_ms, code=code)
        )
        return self._change(change)

    def move(self, name: str, before: Standing, after: Standing, reason: str, at_ms: int) -> bool:
        """Change a roll-out's standing if it is still `before`, and note when; return whether it was."""
        note = {"rollout": name, "at_ms": at_ms, "standing": after.value, "reason": reason}
        with self._database.transaction() as connection:
            moved = connection.execute(_standing(name, before, after, reason)).rowcount == 1
            if moved:
                connection.execute(sql.insert(ROLLOUT_MOVES).values(note))
        return moved

    def explain(self, name: str, reason: str) -> None:
        """Write down what a running roll-out waits for."""
        self._change(_standing(name, Standing.RUNNING, Standing.RUNNING, reason))

    def _change(self, change: sql.Update) -> bool:
        return self._database.change(change) == 1


def _standing(name: str, before: Standing, after: Standing, reason: str) -> sql.Update:
    return (
        sql.update(ROLLOUTS)
        .where(ROLLOUTS.c.name == name, ROLLOUTS.c.standing == before.value)
        .values(standing=after.value, reason=reason)
    )


def _give(connection: sql.Connection, name: str, commands: Mapping[str, SignedCommand]) -> int:
    given = 0
    for device, command in commands.items():
        change = (
            sql.update(ROLLOUT_DEVICES)
            .where(
                ROLLOUT_DEVICES.c.rollout == name,
                ROLLOUT_DEVICES.c.device == device,
                ROLLOUT_DEVICES.c.step == Step.WAITING.value,
            )
            .values(command=command.id, envelope=command.envelope, expires_s=expiry_s(command))
        )
        given += connection.execute(change).rowcount
    return given


def _row(rollout: str, device: str, wave: int) -> dict[str, Any]:
    numbers = dict.fromkeys(("expires_s", "sends", "sent_ms", "before_ms", "settled_ms"), 0)
    texts = {"step": Step.WAITING.value, "command": "", "code": "", "envelope": b""}
    return {"rollout": rollout, "device": device, "wave": wave, **numbers, **texts}


def _device(row: sql.RowMapping) -> Row:
    return Row(**{**row, "step": Step(row["step"])})


def _rollout(row: sql.RowMapping) -> Rollout:
    plan, standing = parse_json(row["plan"], Plan), Standing(row["standing"])
    return Rollout(**{**row, "plan": plan, "standing": standing})
