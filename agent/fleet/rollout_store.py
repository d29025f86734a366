"""Roll-outs as the controller remembers them, in the registry's file: written before anything is sent.

Every change names the state it expects, so two processes that act at once cannot both do the same thing,
and nothing is claimed for sending once a roll-out was paused, halted or aborted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from agent.errors import ConfigError, StorageError
from agent.fleet.operators import SignedCommand
from agent.fleet.rollout_commands import expiry_s
from agent.fleet.rollout_plan import Plan
from agent.fleet.rollout_rules import Standing, Step
from agent.schema.document import parse_json, to_json

_META = sql.MetaData()
_ROLLOUTS = sql.Table(
    "rollouts",
    _META,
    sql.Column("name", sql.String, primary_key=True),
    sql.Column("plan", sql.LargeBinary, nullable=False),
    sql.Column("path", sql.String, nullable=False),
    sql.Column("sha256", sql.String, nullable=False),
    sql.Column("standing", sql.String, nullable=False),
    sql.Column("reason", sql.String, nullable=False),
    sql.Column("started_ms", sql.BigInteger, nullable=False),
)
_DEVICES = sql.Table(
    "rollout_devices",
    _META,
    sql.Column("rollout", sql.String, primary_key=True),
    sql.Column("device", sql.String, primary_key=True),
    sql.Column("wave", sql.Integer, nullable=False),
    sql.Column("step", sql.String, nullable=False),
    sql.Column("command", sql.String, nullable=False, index=True),
    sql.Column("envelope", sql.LargeBinary, nullable=False),
    sql.Column("expires_s", sql.BigInteger, nullable=False),
    sql.Column("sends", sql.Integer, nullable=False),
    sql.Column("sent_ms", sql.BigInteger, nullable=False),
    sql.Column("before_ms", sql.BigInteger, nullable=False),
    sql.Column("settled_ms", sql.BigInteger, nullable=False),
    sql.Column("code", sql.String, nullable=False),
)
_BEFORE = {
    Step.WORKING: (Step.ASKED,),
    Step.COMMITTED: (Step.ASKED, Step.WORKING),
    Step.FAILED: (Step.ASKED, Step.WORKING),
}


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
    envelope: bytes
    expires_s: int
    sends: int
    sent_ms: int
    before_ms: int
    settled_ms: int
    code: str


class RolloutStore:
    """The roll-outs in the registry's file; safe to use from several threads and processes.

    Every method raises `StorageError` when the file cannot be read or written.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._engine = sql.create_engine(f"sqlite:///{database}")
        sql.event.listen(self._engine, "connect", _durable)
        with self._transaction() as connection:
            _META.create_all(connection)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def create(
        self, rollout: Rollout, waves: Mapping[str, int], commands: Mapping[str, SignedCommand]
    ) -> None:
        """Write down a new roll-out with all its devices, at once.

        Raises:
            ConfigError: There is one of this name (`rollout.exists`).
        """
        with self._transaction() as connection:
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
                connection.execute(sql.insert(_ROLLOUTS).values(values))
            except IntegrityError as error:
                message = f"roll-out {rollout.name}: there is one of this name"
                hint = "give the plan another name"
                raise ConfigError(message, code="rollout.exists", hint=hint) from error
            rows = [_row(rollout.name, device, wave) for device, wave in waves.items()]
            connection.execute(sql.insert(_DEVICES), rows)
            _give(connection, rollout.name, commands)

    def add_commands(self, name: str, commands: Mapping[str, SignedCommand]) -> int:
        """Give devices that were not asked yet new commands; return how many took one."""
        with self._transaction() as connection:
            return _give(connection, name, commands)

    def rollouts(self) -> list[Rollout]:
        """Return every roll-out, the oldest first."""
        query = sql.select(_ROLLOUTS).order_by(_ROLLOUTS.c.started_ms, _ROLLOUTS.c.name)
        with self._transaction() as connection:
            return [_rollout(row) for row in connection.execute(query)]

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
        columns = [column for column in _DEVICES.c if column.name != "rollout"]
        query = sql.select(*columns).where(_DEVICES.c.rollout == name)
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(_DEVICES.c.wave, _DEVICES.c.device))
            return [Row(**{**row._mapping, "step": Step(row.step)}) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name

    def claim(self, name: str, row: Row, now_ms: int, before_ms: int) -> bool:
        """Write down that a device is about to be asked; return whether it is for the caller to send.

        It is not when the roll-out no longer runs, or somebody else has claimed or heard of the device.
        """
        runs = sql.select(_ROLLOUTS.c.name).where(
            _ROLLOUTS.c.name == name, _ROLLOUTS.c.standing == Standing.RUNNING.value
        )
        change = (
            sql.update(_DEVICES)
            .where(
                _DEVICES.c.rollout == name,
                _DEVICES.c.device == row.device,
                _DEVICES.c.sends == row.sends,
                _DEVICES.c.step == row.step.value,
                _DEVICES.c.command == row.command,
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
            sql.update(_DEVICES)
            .where(
                _DEVICES.c.command == command,
                _DEVICES.c.device == device,
                _DEVICES.c.step.in_(before),
            )
            .values(step=step.value, settled_ms=settled_ms, code=code)
        )
        return self._change(change)

    def move(self, name: str, before: Standing, after: Standing, reason: str) -> bool:
        """Change a roll-out's standing if it is still `before`; return whether it was."""
        change = (
            sql.update(_ROLLOUTS)
            .where(_ROLLOUTS.c.name == name, _ROLLOUTS.c.standing == before.value)
            .values(standing=after.value, reason=reason)
        )
        return self._change(change)

    def explain(self, name: str, reason: str) -> None:
        """Write down what a running roll-out waits for."""
        self.move(name, Standing.RUNNING, Standing.RUNNING, reason)

    def _change(self, change: sql.Update) -> bool:
        with self._transaction() as connection:
            return connection.execute(change).rowcount == 1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sql.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            fault = StorageError(f"{self._database}: {error}", hint="check the disk")
            raise fault from error


def _give(connection: sql.Connection, name: str, commands: Mapping[str, SignedCommand]) -> int:
    given = 0
    for device, command in commands.items():
        change = (
            sql.update(_DEVICES)
            .where(
                _DEVICES.c.rollout == name,
                _DEVICES.c.device == device,
                _DEVICES.c.step == Step.WAITING.value,
            )
            .values(command=command.id, envelope=command.envelope, expires_s=expiry_s(command))
        )
        given += connection.execute(change).rowcount
    return given


def _row(rollout: str, device: str, wave: int) -> dict[str, Any]:
    numbers = dict.fromkeys(("expires_s", "sends", "sent_ms", "before_ms", "settled_ms"), 0)
    texts = {"step": Step.WAITING.value, "command": "", "code": "", "envelope": b""}
    return {"rollout": rollout, "device": device, "wave": wave, **numbers, **texts}


def _rollout(row: Any) -> Rollout:
    plan = parse_json(row.plan, Plan)
    standing = Standing(row.standing)
    return Rollout(row.name, plan, row.path, row.sha256, standing, row.reason, row.started_ms)


def _durable(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA busy_timeout=10000")
    connection.execute("PRAGMA synchronous=FULL")
