"""Every command that this agent knows, and what the parts do for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.app.device import Device
from agent.app.rare_commands import rare_handlers
from agent.app.self_update import update_agent_handler
from agent.app.settings_keeper import SettingsKeeper
from agent.app.standing import Standing
from agent.app.wiring import policy_path
from agent.config.settings import Settings
from agent.control.builtin import builtin_handlers
from agent.control.commander import Audience, Commander, Handler
from agent.control.policy_file import PolicyFile
from agent.control.replies import Replier, Replies, arguments
from agent.host.clock import wall_ms
from agent.schema.governor import PinRungArgs
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import CommandBody, DeployArgs, Telemetry
from agent.update.installer import Updater
from agent.update.ports import Offer
from agent.update.selfupdate.updater import SelfUpdater


@dataclass(frozen=True)
class Ports:
    """What commands need of the agent.

    Attributes:
        publish: Hands the JSON of a reply to the spool.
        telemetry: Measures now.
        reload: Lets the agent begin anew with the settings on disk.
    """

    settings: Settings
    standing: Standing
    updater: Updater
    self_updater: SelfUpdater
    publish: Callable[[bytes], None]
    telemetry: Callable[[], Telemetry]
    reload: Callable[[], None]


class Commands:
    """The commander with its handlers.

    Attributes:
        settings: The one way to change settings.
        commander: Takes commands from the link.
        replies: Where their outcome is told.
    """

    def __init__(self, device: Device, ports: Ports) -> None:
        self._device, self._ports = device, ports
        self.replies = Replies(device.id, device.ledger, ports.publish)
        self.settings = SettingsKeeper(
            ports.settings,
            ports.standing.sight,
            ports.updater.reserved,
            self.replies,
            ports.reload,
        )
        config = device.config.device
        audience = Audience(
            config.id, frozenset(config.groups), lambda: max(wall_ms() // 1000, device.floor.time_s)
        )
        self.commander = Commander(
            audience, self.replies, PolicyFile(policy_path(device)), self.handlers()
        )

    def report_past(self) -> None:
        """Tell what became of the commands that the last life left open; before the loops run."""
        self.commander.report_interrupted(
            self._adopt_update() | self.settings.report() | self._ports.self_updater.resume()
        )

    def handlers(self) -> dict[str, Handler]:
        """Return what is done for each command."""
        return {
            **builtin_handlers(self._ports.standing.state, self._ports.telemetry),
            "deploy": self._deploy,
            "pin-rung": self._pin_rung,
            **rare_handlers(self._device, self._ports.updater),
            **update_agent_handler(self._ports.self_updater),
            "set-config": self.settings.command,
            "set-config-protected": self.settings.protected_command,
        }

    def _adopt_update(self) -> set[str]:
        """Let an update of the previous life go on under its own command; return its id."""
        updater = self._ports.updater
        command_id = updater.resumed_command
        if not command_id:
            return set()
        names = {one.id: one.cmd for one in self._device.ledger.unfinished()}
        updater.adopt(self.replies.of(command_id, names.get(command_id, "deploy")))
        return {command_id}

    def _pin_rung(self, body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, PinRungArgs)
        self._ports.standing.governor.pinning.pin(asked)
        replier.succeeded(rung=asked.rung, minutes=asked.minutes)

    def _deploy(self, body: CommandBody, replier: Replier) -> None:
        self.settings.require_rest()
        asked = arguments(body, DeployArgs)
        ref = ReleaseRef(path=asked.release, sha256=asked.sha256)
        self._ports.updater.submit(Offer(ref, command_id=body.id, force=asked.force), replier)
