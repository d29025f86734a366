"""Changes of settings while the agent runs: put on trial, watched, kept or undone, and reported."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from agent.config.settings import Origin, Settings
from agent.config.trial import Sight, Watch, needs_of
from agent.control.replies import Replier, Replies, arguments
from agent.errors import CommandError, ConfigError, StorageError
from agent.host.clock import monotonic_ns
from agent.schema.messages import CommandBody, SetConfigArgs
from agent.schema.settings import Verdict

log = logging.getLogger(__name__)

_LOOK_S = 0.25
_REST_S = 5.0
PAGE = Origin()  # the device's own page, or whoever else speaks for no command


class SettingsKeeper:
    """The one way to change settings: for commands and, by `propose`, for the device's own page.

    Args:
        settings: The configuration in force.
        sight: How the agent is, given the seconds since its start.
        reserved: Keeps updates from beginning, or raises `CommandError` while one is under way.
        replies: Where the end of a command's change is told.
        reload: Lets the agent begin anew with the settings on disk.
    """

    def __init__(
        self,
        settings: Settings,
        sight: Callable[[float], Sight],
        reserved: Callable[[], AbstractContextManager[None]],
        replies: Replies,
        reload: Callable[[], None],
    ) -> None:
        self._settings, self._sight, self._reserved = settings, sight, reserved
        self._replies, self._reload = replies, reload
        self._lock = threading.Lock()

    @property
    def last(self) -> Verdict | None:
        """How the last change ended."""
        return self._settings.last

    @property
    def on_trial(self) -> bool:
        """Whether a change is being tried."""
        return self._settings.trial is not None

    def propose(
        self, changes: Mapping[str, Any], origin: Origin = PAGE, within_s: float = 90.0
    ) -> bool:
        """Put a change on trial: the agent begins anew with it at once, and goes back if that is not well.

        Whatever works now must work with it, too: link, pipeline, and each camera that gives pictures.

        Returns:
            Whether anything changes; False where all is so already.

        Raises:
            ConfigError: The change is wrong or not allowed; the message says where.
            CommandError: `command.busy`.
            StorageError: It could not be written; nothing changed.
        """
        with self._lock, self._reserved():
            cameras = [camera.name for camera in self._settings.config.cameras]
            needs = needs_of(self._sight(0.0), cameras, within_s)
            changed = self._settings.propose(changes, needs, origin)
        if changed:
            log.info("settings are changed on trial: %s", ", ".join(changes))
            self._reload()
        return changed

    def require_rest(self) -> None:
        """Refuse what must not meet a change of settings; `CommandError` `command.busy`."""
        if self.on_trial:
            raise CommandError("a change of settings is on trial", code="command.busy")

    # commands ----------------------------------------------------------------------------------------

    def command(self, body: CommandBody, replier: Replier) -> None:
        """`set-config`."""
        self._obey(body, replier, Origin(body.id, body.cmd))

    def protected_command(self, body: CommandBody, replier: Replier) -> None:
        """`set-config-protected`."""
        self._obey(body, replier, Origin(body.id, body.cmd, may_change_protected=True))

    def _obey(self, body: CommandBody, replier: Replier, origin: Origin) -> None:
        asked = arguments(body, SetConfigArgs)
        if self.propose(asked.changes, origin, asked.within_s):
            replier.running("on trial: the agent begins anew with it")
        else:
            replier.succeeded(changed=False)

    def report(self) -> set[str]:
        """Tell how a change of the last life ended; return the commands that need no other report."""
        last, trial = self._settings.last, self._settings.trial
        if last is not None and last.command:
            open_commands = {one.id for one in self._replies.ledger.unfinished()}
            if last.command in open_commands:
                self._tell(last)
        return {trial.command} if trial is not None else set()

    def run(self, stop: threading.Event) -> None:
        """Watch the change on trial until it is kept or undone."""
        trial = self._settings.trial
        if trial is not None:
            self._watch(Watch(trial.needs), stop)
        while not stop.wait(_REST_S):
            pass  # nothing to watch: the next change comes with the next life

    def _watch(self, watch: Watch, stop: threading.Event) -> None:
        started_ns = monotonic_ns()
        while not stop.wait(_LOOK_S):
            try:
                if watch.judge(self._sight((monotonic_ns() - started_ns) / 1e9)):
                    self._settings.keep()
                    log.info("the change of settings is kept")
                    self._report_end()
                    return
            except (ConfigError, StorageError) as error:
                self._settings.give_up(error)
                self._reload()
                return

    def _report_end(self) -> None:
        last = self._settings.last
        if last is not None and last.command:
            self._tell(last)

    def _tell(self, verdict: Verdict) -> None:
        replier = self._replies.of(verdict.command, verdict.cmd)
        if verdict.kept:
            replier.succeeded(changed=True)
        else:
            reason = f"undone, the settings before are in force: {verdict.reason}"
            replier.failed(ConfigError(reason, code=verdict.code))
