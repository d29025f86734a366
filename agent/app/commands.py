"""Every command that this agent knows, and what the parts do for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent import __version__
from agent.app.daily import DAILY_SUMMARIES, daily_handler
from agent.app.device import Device
from agent.app.examples import Examples
from agent.app.lifecycle import EXIT_RELOAD, EXIT_RESTART
from agent.app.rare_commands import rare_handlers
from agent.app.self_update import update_agent_handler
from agent.app.settings_keeper import SettingsKeeper
from agent.app.shadow import ShadowCommands
from agent.app.standing import Standing
from agent.app.upkeep import RESTART, Upkeep
from agent.app.wiring import policy_path
from agent.config.settings import Settings
from agent.control.builtin import builtin_handlers
from agent.control.commander import Audience, Commander, Handler
from agent.control.errands import Errands
from agent.control.link import Link, Subscription
from agent.control.pictures import Pictures
from agent.control.policy_file import PolicyFile
from agent.control.replies import Replier, Replies, arguments
from agent.host.clock import boot_id, wall_ms
from agent.host.logbook import Logbook
from agent.schema.governor import PinRungArgs
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import CommandBody, DeployArgs, Telemetry
from agent.schema.topics import DeviceTopics
from agent.telemetry.outbox import MAX_PAYLOAD_BYTES
from agent.update.installer import Updater
from agent.update.ports import Offer
from agent.update.selfupdate.updater import SelfUpdater


@dataclass(frozen=True)
class Ports:
    """What commands need of the agent.

    Attributes:
        publish: Hands the JSON of a reply to the spool.
        telemetry: Measures now.
        end: Ends the run of the agent with an exit status.
        logbook: The last lines of the log.
        examples: Pictures that are worth a label.
        shadow: Another model beside the running one.
    """

    settings: Settings
    standing: Standing
    updater: Updater
    self_updater: SelfUpdater
    publish: Callable[[bytes], None]
    telemetry: Callable[[], Telemetry]
    end: Callable[[int], None]
    logbook: Logbook
    examples: Examples
    shadow: ShadowCommands


class Commands:
    """The commander with its handlers.

    Attributes:
        settings: The one way to change settings.
        commander: Takes commands from the link.
        errands: Carries out those that take a while.
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
            self._reload,
        )
        self.errands = Errands()
        config = device.config.device
        audience = Audience(
            config.id, frozenset(config.groups), lambda: max(wall_ms() // 1000, device.floor.time_s)
        )
        self.commander = Commander(
            audience, self.replies, PolicyFile(policy_path(device)), self.handlers()
        )

    def listen(self, link: Link, topics: DeviceTopics) -> None:
        """Take commands for this device and its groups from `link`."""
        for topic in self.commander.topics(topics):
            link.subscribe(Subscription(topic, self.commander.receive))

    def report_past(self) -> None:
        """Tell what became of the commands that the last life left open; before the loops run."""
        self._report_restarts()
        self.commander.report_interrupted(
            self._adopt_update() | self.settings.report() | self._ports.self_updater.resume()
        )

    def handlers(self) -> dict[str, Handler]:
        """Return what is done for each command."""
        pictures = self._pictures()
        return {
            **builtin_handlers(self._ports.standing.state, self._ports.telemetry),
            "deploy": self._deploy,
            "pin-rung": self._pin_rung,
            **rare_handlers(self._device, self._ports.updater),
            **update_agent_handler(self._ports.self_updater),
            "set-config": self.settings.command,
            "set-config-protected": self.settings.protected_command,
            **self._upkeep().handlers(),
            **self._ports.shadow.handlers(self.errands, self._limit_bytes),
            DAILY_SUMMARIES: self.errands.handler(self._daily()),
            "snapshot": self.errands.handler(pictures.snapshot),
            "capture": self.errands.handler(pictures.capture),
            "collect-examples": self.errands.handler(self._collect_examples),
        }

    def _collect_examples(self, body: CommandBody, replier: Replier) -> None:
        self._ports.examples.send(body, replier, self._limit_bytes())

    def _daily(self) -> Handler:
        return daily_handler(self._device, self._ports.examples.link, self._limit_bytes)

    def _pictures(self) -> Pictures:
        device = self._device
        return Pictures(
            cameras=[camera.name for camera in device.config.cameras],
            grab=self._ports.standing.supervisor.grab,
            limit_bytes=self._limit_bytes,
            pause=self.errands.pause,
            folder=device.folder / "captures",
            disk=device.disk,
        )

    def _upkeep(self) -> Upkeep:
        ports = self._ports
        return Upkeep(
            settings=ports.settings,
            keeper=self.settings,
            standing=ports.standing,
            updater=ports.updater,
            errands=self.errands,
            logbook=ports.logbook,
            limit_bytes=self._limit_bytes,
            reload=self._reload,
            restart=lambda: ports.end(EXIT_RESTART),
        )

    def _limit_bytes(self) -> int:
        """Return how large a reply may be; the topic and the packet's head need a little, too."""
        return min(MAX_PAYLOAD_BYTES, self._ports.standing.link.max_packet_bytes - 512)

    def _reload(self) -> None:
        self._ports.end(EXIT_RELOAD)

    def _report_restarts(self) -> None:
        """Tell those who asked for a restart that it has happened: this is the next life."""
        for one in self._device.ledger.unfinished():
            if one.cmd == RESTART:
                self.replies.of(one.id, one.cmd).succeeded(agent=__version__, boot=boot_id())

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
