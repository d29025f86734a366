"""The agent's own update, connected: what it fetches with, how it sees whether this version does its work."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.app.config_files import prepare_for
from agent.app.device import Device
from agent.app.lifecycle import Lifecycle
from agent.config.reading import filmed
from agent.control.commander import Handler
from agent.control.link import Link
from agent.control.replies import Replier, Replies, arguments
from agent.schema.agent_release import UpdateAgentArgs
from agent.schema.messages import CommandBody
from agent.telemetry.meters import Meters
from agent.update.installer import Updater
from agent.update.metered import MeteredSource, Road
from agent.update.selfupdate.launcher import AGAIN
from agent.update.selfupdate.slots import own_slots
from agent.update.selfupdate.updater import AgentStager, Ports, SelfUpdater
from agent.update.selfupdate.window import Vitals
from agent.update.sources.failover import FailoverSource
from agent.update.staging import Stager

UPDATE_AGENT = "update-agent"
_LATELY_S = 10.0


@dataclass(frozen=True)
class Surroundings:
    """What the self-updater sees of the agent.

    Attributes:
        config_path: The configuration file.
    """

    updater: Updater
    meters: Meters
    link: Link
    config_path: Path

    def vitals(self, device: Device) -> Vitals:
        """Return how this process does now; a model that should run and does not is expected to see, too."""
        read = self.meters.read(_LATELY_S)
        return Vitals(
            connected=self.link.connected,
            expects_frames=bool(filmed(device.config)) and self.updater.record.current is not None,
            frames=read.frames,
            errors=read.errors,
        )


def make_self_updater(
    device: Device,
    stager: Stager,
    around: Surroundings,
    replies: Callable[[], Replies],
    life: Lifecycle,
) -> SelfUpdater:
    """Return the updater of this agent; without the launcher it refuses every command."""

    def road() -> Road:
        source = FailoverSource(stager.sources, stager.deadline_s)
        return source if stager.meter is None else MeteredSource(source, stager.meter)

    ports = Ports(
        reply_to=lambda command_id: replies().of(command_id, UPDATE_AGENT),
        vitals=lambda: around.vitals(device),
        restart=lambda: life.finish(AGAIN),
        ended=partial(device.ledger.record, "agent"),
        before_stage=partial(prepare_for, around.config_path),
    )
    return SelfUpdater(
        own_slots(os.environ, device.disk),
        AgentStager(stager.trust, road, device.folder / "agent", device.disk),
        device.config.update.agent,
        ports,
    )


def update_agent_handler(updater: SelfUpdater) -> dict[str, Handler]:
    """Return what `update-agent` does."""

    def update_agent(body: CommandBody, replier: Replier) -> None:
        updater.submit(arguments(body, UpdateAgentArgs), body.id, replier)

    return {UPDATE_AGENT: update_agent}
