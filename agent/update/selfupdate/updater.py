"""The agent's own update, from a command to a version that is kept or one that is gone.

    update-agent -> fetch (TUF) -> install into the spare environment -> stage -> restart by the launcher
                 -> the new version watches itself -> keep | give up -> the version before, which reports it

Everything before `stage` leaves the running version as it is; what a power cut leaves half done is emptied next time.
"""

from __future__ import annotations

import logging
import platform
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent import __version__
from agent.errors import CommandError, PackageError, StorageError, VigilError
from agent.host.clock import monotonic_ns
from agent.host.disk import REAL_DISK, Disk
from agent.schema.agent_release import AgentManifest, UpdateAgentArgs
from agent.schema.document import trusted_json
from agent.schema.messages import Progress
from agent.schema.update_config import AgentUpdateConfig
from agent.update.fetch import fetch_file, fetch_small
from agent.update.metered import Road
from agent.update.ports import Replier
from agent.update.selfupdate.admission import AgentFacts, admit_agent
from agent.update.selfupdate.slots import COMMITTED, Slots
from agent.update.selfupdate.window import Verdict, Vitals, Window
from agent.update.trust_client import TrustClient

log = logging.getLogger(__name__)
INSTALL_S = 900.0
TRANSFER_S = 3600.0
_MAX_MANIFEST_BYTES = 256 * 1024
_STEP_S = 1.0
_COMMAND = "update-agent"


@dataclass(frozen=True)
class AgentStager:
    """Brings the bundle of a version to `folder`.

    Attributes:
        trust: Says what may be fetched.
        road: Makes the road that a transfer takes.
    """

    trust: TrustClient
    road: Callable[[], Road]
    folder: Path
    disk: Disk = REAL_DISK

    def fetch(self, asked: UpdateAgentArgs, bad: dict[str, str]) -> tuple[AgentManifest, Path]:
        """Return the manifest and the complete bundle for this machine.

        Raises:
            TrustError, PackageError: It may not or cannot run here.
            TransferError: The road is bad; what has come is kept.
            StorageError: The disk is full or failing.
        """
        road = self.road()
        trusted = self.trust.check(road)
        target = trusted.agent_file(asked.agent, asked.sha256)
        manifest = trusted_json(
            fetch_small(road, target, _MAX_MANIFEST_BYTES), AgentManifest, asked.agent
        )
        python = ".".join(map(str, sys.version_info[:2]))
        facts = AgentFacts(__version__, python, platform.machine(), bad)
        bundle = admit_agent(manifest, asked.agent, facts, force=asked.force)
        place = f"{asked.agent.rpartition('/')[0]}/{bundle.file}"
        self.disk.make_dirs(self.folder)
        blob = self.folder / bundle.sha256
        for path in self.disk.list(self.folder):
            if bundle.sha256 not in path.name:
                self.disk.remove(path)
        part = blob.with_suffix(".part")
        listed = trusted.agent_file(place, bundle.sha256)
        fetch_file(road, listed, part, blob, self.disk, _quiet)
        return manifest, blob


def _quiet(_progress: Progress) -> None:
    pass


def install_apart(bundle: Path, slot: Path, version: str) -> None:
    """Install in a process of its own, at low priority.

    Raises:
        PackageError: `package.install` and others of `install`; also when it takes longer than `INSTALL_S`.
    """
    command = ["nice", "-n", "10", sys.executable, "-m", "agent.update.selfupdate.install"]
    try:
        ended = subprocess.run(
            [*command, str(bundle), str(slot), version],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"installing {version} took more than {INSTALL_S:.0f} s"
        raise PackageError(message, code="package.install") from error
    if ended.returncode:
        code, _, said = (ended.stderr.strip().splitlines() or ["package.install failed"])[
            -1
        ].partition(" ")
        is_code = code.startswith(("package.", "storage."))
        message = f"{version} is not installed: {said if is_code else ended.stderr[-300:]}"
        raise PackageError(message, code=code if is_code else "package.install")


@dataclass(frozen=True)
class Ports:
    """What the self-updater needs of the agent.

    Attributes:
        reply_to: Returns the replier of an `update-agent` command by its id.
        vitals: Says how this process does.
        restart: Ends this process so that the launcher starts another.
        ended: Told how an update ended, for the audit record.
        before_stage: Prepares the configuration for the schema that the new version reads.
    """

    reply_to: Callable[[str], Replier]
    vitals: Callable[[], Vitals]
    restart: Callable[[], None]
    ended: Callable[[str], None]
    before_stage: Callable[[int], None] = lambda _schema: None
    install: Callable[[Path, Path, str], None] = install_apart


@dataclass
class SelfUpdater:
    """Takes commands from any thread; `step` works in the updater's thread, `run` watches a new version."""

    slots: Slots | None
    stager: AgentStager
    config: AgentUpdateConfig
    ports: Ports
    _jobs: queue.Queue[tuple[UpdateAgentArgs, str, Replier]] = field(
        default_factory=lambda: queue.Queue(1)
    )

    @property
    def patience_s(self) -> float:
        """How long `step` may show no sign of life: an installation, and the transfer before it."""
        return INSTALL_S + TRANSFER_S if self.slots is not None else 0.0

    def submit(self, asked: UpdateAgentArgs, command_id: str, replier: Replier) -> None:
        """Ask for a version.

        Raises:
            CommandError: No such installation (`command.unsupported`), or busy (`command.busy`).
        """
        if self.slots is None:
            hint = "install it with scripts/provision.sh, and let /opt/vigil/launch start it"
            message = "this agent was not started by the launcher: it has no second environment"
            raise CommandError(message, code="command.unsupported", hint=hint)
        if self.slots.on_trial:
            message = "this version is on trial itself"
            raise CommandError(message, code="command.busy", hint="wait until it is kept")
        try:
            self._jobs.put_nowait((asked, command_id, replier))
        except queue.Full:
            raise CommandError("an agent update is under way", code="command.busy") from None

    def step(self) -> None:
        """Carry out what was asked for, between updates of models; every fault ends in the reply."""
        if self.slots is None or self._jobs.empty():
            return
        asked, command_id, replier = self._jobs.get_nowait()
        try:
            version = self._prepare(self.slots, asked, command_id)
        except VigilError as error:
            log.warning("agent update %s: %s", asked.agent, error.diagnostics())
            self.ports.ended(f"{asked.agent} refused {error.code}")
            replier.failed(error)
            return
        replier.running(f"{version} is installed and starts now")
        self.ports.restart()

    def _prepare(self, slots: Slots, asked: UpdateAgentArgs, command_id: str) -> str:
        manifest, bundle = self.stager.fetch(asked, slots.read()["bad"])
        slots.clear()
        self.ports.install(bundle, slots.prefix / slots.spare, manifest.version)
        self.ports.before_stage(manifest.config_schema)
        limits = {
            "ready_s": self.config.ready_s,
            "silence_s": self.config.silence_s,
            "deadline_s": self.config.deadline_s + self.config.ready_s,
        }
        slots.stage(manifest.version, command_id, limits)
        return manifest.version

    def resume(self) -> set[str]:
        """Tell how an update of the previous life ended; return commands that are still under way."""
        if self.slots is None:
            return set()
        if self.slots.on_trial:
            return {self.slots.read()["candidate"]["command_id"]}
        last = self.slots.untold()
        if last is None:
            return set()
        self._tell(self.slots)
        return {last["command_id"]}

    def run(self, stop: threading.Event) -> None:
        """Watch this version while it is on trial; then there is nothing more to do."""
        if self.slots is None or not self.slots.on_trial:
            _stay(stop)
            return
        window, before_ns = Window(self.config.health_s, self.config.deadline_s), monotonic_ns()
        while not stop.wait(_STEP_S):
            now_ns = monotonic_ns()
            window = window.after(self.ports.vitals(), (now_ns - before_ns) / 1e9)
            before_ns = now_ns
            if window.verdict is not Verdict.WAIT:
                self._decide(self.slots, window)
                break
        _stay(stop)

    def _decide(self, slots: Slots, window: Window) -> None:
        try:
            if window.verdict is Verdict.KEEP:
                slots.keep()
                log.info("agent %s is kept", __version__)
                self._tell(slots)
                return
            reason = f"not well for {window.health_s:.0f} s within {window.deadline_s:.0f} s"
            slots.give_up(f"{reason}: {window.fault}")
        except StorageError as error:
            # The launcher's deadline ends what cannot be decided here.
            log.error("the state of the agent's update cannot be written: %s", error)
            return
        log.error("agent %s gives up: %s", __version__, window.fault)
        self.ports.restart()

    def _tell(self, slots: Slots) -> None:
        last = slots.untold()
        if last is None:
            return
        version, outcome, reason = last["version"], last["outcome"], last["reason"]
        self.ports.ended(f"{version} {outcome} {reason}".rstrip())
        if last["command_id"]:
            replier = self.ports.reply_to(last["command_id"])
            if outcome == COMMITTED:
                replier.succeeded(version=version)
            else:
                replier.failed(PackageError(f"{version}: {reason}", code="agent.rolled_back"))
        slots.told()


def _stay(stop: threading.Event) -> None:
    """Wait for the end, showing signs of life."""
    while not stop.wait(_STEP_S):
        pass
