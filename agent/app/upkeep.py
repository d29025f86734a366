"""Commands that look after a device: log, cameras on and off, restart, rollback, self-test, diagnostics."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from agent.app.diagnostics import NAME, collect, joined, pack
from agent.app.self_test import device_checks, failures, run_checks
from agent.app.settings_keeper import SettingsKeeper
from agent.app.standing import Standing
from agent.config.settings import Origin, Settings
from agent.control.attachments import attach
from agent.control.commander import Handler
from agent.control.errands import Errands
from agent.control.replies import Replier, arguments
from agent.errors import CameraError, CommandError, ModelError
from agent.host.clock import monotonic_ns
from agent.host.logbook import Logbook, LogLine
from agent.schema.actions import CameraArgs, LogsArgs, NoArgs, RestartArgs, RestartWhat
from agent.schema.config import CameraConfig
from agent.schema.document import to_json
from agent.schema.messages import CommandBody
from agent.update.installer import Updater
from agent.update.ports import Offer

PAUSE, RESUME, RESTART = "pause-camera", "resume-camera", "restart"
LEARN_VIEW = "learn-view"
SENT_MAX_BYTES = 512 * 1024
_WORKER_S = 60.0
_LOOK_S = 0.2


@dataclass(frozen=True)
class Upkeep:
    """The handlers.

    Attributes:
        limit_bytes: Greatest size of a reply.
        reload: Lets the agent begin anew in its process.
        restart: Ends the agent so that the service manager starts it again.
    """

    settings: Settings
    keeper: SettingsKeeper
    standing: Standing
    updater: Updater
    errands: Errands
    logbook: Logbook
    limit_bytes: Callable[[], int]
    reload: Callable[[], None]
    restart: Callable[[], None]

    def handlers(self) -> dict[str, Handler]:
        """Return what is done for each command; those that take a while are errands."""
        later = self.errands.handler
        return {
            "logs": self._logs,
            PAUSE: self._switch_camera,
            RESUME: self._switch_camera,
            LEARN_VIEW: self._learn_view,
            RESTART: self._restart,
            "rollback": self._rollback,
            "self-test": later(self._self_test),
            "diagnostics": later(self._diagnostics),
        }

    def _logs(self, body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, LogsArgs)
        level = int(getattr(logging, asked.level.value.upper()))
        found = self.logbook.newest(level, asked.since_ms)[: asked.limit]
        lines, size = [], 0
        for line in map(_told, found):
            size += len(to_json(line)) + 1
            if size > self.limit_bytes() - 1024:
                break
            lines.append(line)
        replier.succeeded(lines=lines, more=len(found) - len(lines))

    def _switch_camera(self, body: CommandBody, replier: Replier) -> None:
        camera, pauses = self._camera(body), body.cmd == PAUSE
        if camera.paused == pauses:
            replier.succeeded(changed=False)
            return
        with self.updater.reserved():
            # No trial: what is out of sight must not come back by itself.
            change = {"cameras": {camera.name: {"paused": pauses or None}}}
            self.settings.amend(change, Origin(body.id, body.cmd))
        replier.running("the agent begins anew with it", camera=camera.name, paused=pauses)
        self.reload()  # the next life tells that it is so, once the camera is as asked

    def _learn_view(self, body: CommandBody, replier: Replier) -> None:
        camera = self._camera(body).name
        self.standing.drift.forget_view(camera)
        replier.succeeded(camera=camera)

    def _camera(self, body: CommandBody) -> CameraConfig:
        wanted = arguments(body, CameraArgs).camera
        cameras = {one.name: one for one in self.settings.config.cameras}
        if wanted not in cameras:
            known = ", ".join(cameras) or "none"
            message = f"there is no camera {wanted!r}; there are: {known}"
            raise CameraError(message, code="camera.unknown")
        return cameras[wanted]

    def _restart(self, body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, RestartArgs)
        with self.updater.reserved():
            self.keeper.require_rest()
            if asked.what is RestartWhat.AGENT:
                replier.running("the agent ends; its service manager starts it again")
                self.restart()
                return
        self.errands.handler(self._restart_worker)(body, replier)

    def _restart_worker(self, _body: CommandBody, replier: Replier) -> None:
        supervisor, started_ns = self.standing.supervisor, monotonic_ns()
        old = supervisor.worker_pid
        if old is None:
            raise ModelError("no worker runs", code="model.none")
        os.kill(old, signal.SIGKILL)
        while supervisor.worker_pid in {old, None} or supervisor.pipeline != "running":
            if monotonic_ns() - started_ns > _WORKER_S * 1e9:
                problem = f"{supervisor.pipeline} {supervisor.problem}".strip()
                raise ModelError(f"the worker did not come back: {problem}", code="model.timeout")
            self.errands.pause(_LOOK_S)
        replier.succeeded(what=RestartWhat.WORKER.value, pid=supervisor.worker_pid)

    def _rollback(self, body: CommandBody, replier: Replier) -> None:
        arguments(body, NoArgs)
        self.keeper.require_rest()
        previous = self.updater.record.previous
        if previous is None:
            raise CommandError("there is no release before", code="update.no_previous")
        self.updater.submit(Offer(previous, body.id, force=True, below_floor=True), replier)

    def _self_test(self, body: CommandBody, replier: Replier) -> None:
        arguments(body, NoArgs)
        replier.running("testing")
        results = run_checks(device_checks(self.standing.device, self.standing, self.updater))
        error = failures(results)
        if error is None:
            replier.succeeded(checks=results)
        else:
            replier.failed(error, checks=results)

    def _diagnostics(self, body: CommandBody, replier: Replier) -> None:
        arguments(body, NoArgs)
        device = self.standing.device
        data = pack(collect(self.settings, lambda: joined(self.logbook.newest()), device.disk))
        path = device.runtime_folder / NAME
        device.disk.write_atomic(path, data)
        sent = len(data) <= SENT_MAX_BYTES
        if sent:
            for part in attach(NAME, data, self.limit_bytes()):
                replier.running(f"part {part['part']} of {part['parts']}", attachment=part)
        replier.succeeded(path=str(path), bytes=len(data), sent=sent)


def _told(line: LogLine) -> dict[str, object]:
    return {
        "at_ms": line.at_ms,
        "level": logging.getLevelName(line.level).lower(),
        "thread": line.thread,
        "source": line.source,
        "text": line.text,
    }
