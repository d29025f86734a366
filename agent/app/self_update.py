"""The agent's own update, connected: what it fetches with, how it sees whether this version does its work."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agent.app.config_files import prepare_for
from agent.app.device import Device
from agent.control.commander import Handler
from agent.control.link import Link
from agent.control.replies import Replier, Replies, arguments
from agent.schema.agent_release import UpdateAgentArgs
from agent.schema.messages import CommandBody
from agent.supervisor import Supervisor
from agent.telemetry.meters import Meters
from agent.update.metered import MeteredSource, Road
from agent.update.selfupdate.slots import own_slots
from agent.update.selfupdate.updater import AgentStager, Ports, SelfUpdater
from agent.update.selfupdate.window import Vitals
from agent.update.sources.failover import FailoverSource
from agent.update.staging import Stager

UPDATE_AGENT = "update-agent"
_LATELY_S = 10.0


def make_self_updater(
    device: Device,
    stager: Stager,
    replies: Callable[[], Replies],
    vitals: Callable[[], Vitals],
    restart: Callable[[], None],
    config_path: Path | None,
) -> SelfUpdater:
    """Return the updater of this agent; without the launcher it refuses every command."""

    def road() -> Road:
        source = FailoverSource(stager.sources, stager.deadline_s)
        return source if stager.meter is None else MeteredSource(source, stager.meter)

    ports = Ports(
        reply_to=lambda command_id: replies().of(command_id, UPDATE_AGENT),
        vitals=vitals,
        restart=restart,
        ended=partial(device.ledger.record, "agent"),
        before_stage=partial(prepare_for, config_path) if config_path else lambda _schema: None,
    )
    return SelfUpdater(
        own_slots(os.environ, device.disk),
        AgentStager(stager.trust, road, device.folder / "agent", device.disk),
        device.config.update.agent,
        ports,
    )


def vitals_of(device: Device, supervisor: Supervisor, meters: Meters, link: Link) -> Vitals:
    """Return how this process does now."""
    read = meters.read(_LATELY_S)
    return Vitals(
        connected=link.connected,
        expects_frames=bool(device.config.cameras) and supervisor.release is not None,
        frames=read.frames,
        errors=read.errors,
    )


def update_agent_handler(updater: SelfUpdater) -> dict[str, Handler]:
    """Return what `update-agent` does."""

    def update_agent(body: CommandBody, replier: Replier) -> None:
        updater.submit(arguments(body, UpdateAgentArgs), body.id, replier)

    return {UPDATE_AGENT: update_agent}
