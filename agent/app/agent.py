"""The agent: its parts, and how they are connected.

The flows do not know each other; what they need of one another is handed to them here as plain callables.
"""

from __future__ import annotations

import logging

from agent import __version__
from agent.app.announcer import Announcer
from agent.app.commands import Commands
from agent.app.commands import Ports as CommandPorts
from agent.app.device import open_device
from agent.app.examples import make_examples
from agent.app.head_seal import HeadSeal
from agent.app.home import make_home
from agent.app.lifecycle import Lifecycle, Part
from agent.app.nightly import make_nightly
from agent.app.page import Doctor, make_page
from agent.app.reporting import make_exports, make_reporter, make_status_file
from agent.app.self_test import prove_model
from agent.app.self_update import Surroundings, make_self_updater
from agent.app.shadow import Neighbours, ShadowCommands, make_shadow
from agent.app.standing import Standing, UpdateWatch, WorkerWatch, offline_state
from agent.app.wiring import (
    make_drift,
    make_engines,
    make_governor,
    make_link_meter,
    make_pace,
    make_policy_keeper,
    make_renewal,
    make_stager,
    make_supervisor,
    make_updater,
)
from agent.config.settings import Settings
from agent.control.link.links import make_links
from agent.control.link.traffic import Presence, Subscription
from agent.events.keeper import EventKeeper
from agent.events.store import EventStore
from agent.host.logbook import Logbook
from agent.host.loop import Loop, Runnable
from agent.host.sandbox import forbid_dumps
from agent.schema.document import to_json
from agent.schema.ipc import FrameResult, ObjectEvent, PlaceNotice
from agent.schema.messages import Phase
from agent.schema.snapshot import Snapshot
from agent.schema.topics import DeviceTopics
from agent.supervisor import Happening, Listeners, Pictured
from agent.telemetry.meters import Meters
from agent.telemetry.outbox import Outbox
from agent.telemetry.spool import Priority
from agent.telemetry.streams import Streams
from agent.telemetry.survey import Ports, Subject, Survey

log = logging.getLogger(__name__)
_JUDGED = frozenset({Phase.TRIAL, Phase.PROBATION})


class Agent:
    """All parts of one device, connected but not started.

    Args:
        settings: The configuration in force, and the change of it that may be on trial.
        logbook: The last lines of the log.
        doctor: Examines this device for its page, without holding up anything here.

    Raises:
        ConfigError: The configuration cannot work on this device.
        StorageError: The state folder cannot be used.
        KeyUnavailableError: The device key cannot be read.
    """

    def __init__(self, settings: Settings, logbook: Logbook, doctor: Doctor | None = None) -> None:
        config = settings.config
        self._settings = settings
        self._life = Lifecycle()
        self._device = device = open_device(config)
        self._topics = DeviceTopics(device.id, config.broker.prefix)
        self._meters = Meters()
        self._links = make_links(config.broker, self._topics, self._presence())
        self._outbox = Outbox(device.folder / "outbox.db", config.telemetry.outbox)
        self._streams = Streams(self._topics, self._outbox, self._links.control)
        self._events = EventStore(device.folder / "events", config.events.store, device.disk)
        self._announce = Announcer(self._streams, device, lambda: self._page.console)
        self._keeper = EventKeeper(self._events, self._announce.event, self._streams.zone)
        self._worker_watch = WorkerWatch(self._meters)
        self._update_watch = UpdateWatch(self._announce.update)
        self._engines = make_engines(device)
        self._supervisor = make_supervisor(device, self._listeners(), self._engines, self._held)
        watched = (self._supervisor, self._meters, self._held)
        self._governor = make_governor(device, *watched, self._announce.move)
        self._drift = make_drift(device, self._supervisor, self._announce.drift)
        self._pace = make_pace(device, *watched, self._announce.pace)
        self._survey = self._make_survey()
        self._connect_updates()
        self._connect_commands(logbook)
        desk, book = self._commands.settings, self._shadow.book
        self._page = make_page(self._standing, self._snapshot, self._events, desk, book, doctor)
        self._reporter = make_reporter(
            self._standing,
            self._topics,
            self._outbox,
            lambda: self._page.console.measured(self._survey()),
        )
        self._home = make_home(self._standing, self._topics, self._reporter.hasten)

    def run(self) -> int:
        """Run until a signal or a crashed loop; return the exit status, or raise `ConfigError`."""
        forbid_dumps()
        device = self._device
        log.info("vigil %s starts as %s", __version__, device.id)
        self._keeper.resume()
        release = self._updater.resume()
        self._supervisor.want(release, "" if release else self._updater.problem)
        self._commands.report_past()
        try:
            return self._life.run(self._parts())
        finally:
            self._outbox.close()
            device.close()

    # how the parts are connected ----------------------------------------------------------------------

    def _connect_updates(self) -> None:
        device = self._device
        meter = make_link_meter(device)
        stager = make_stager(device, self._links, meter)
        self._examples = make_examples(device, self._supervisor, self._drift, meter)
        self._policy = make_policy_keeper(device, stager, lambda: self._links.control.connected)
        self._updater = make_updater(
            device, stager, self._supervisor, self._update_watch, self._between_updates
        )
        neighbours = Neighbours(self._supervisor, self._updater, self._governor, self._examples)
        self._shadow = make_shadow(device, neighbours)
        self._shadow_commands = ShadowCommands(
            device, self._shadow, self._supervisor, self._updater, stager, meter
        )
        around = Surroundings(self._updater, self._meters, self._links.control, self._settings.path)
        self._self_updater = make_self_updater(
            device, stager, around, lambda: self._commands.replies, self._life
        )
        self._standing = Standing(
            device=device,
            supervisor=self._supervisor,
            updater=self._updater,
            update_watch=self._update_watch,
            worker_watch=self._worker_watch,
            policy=self._policy,
            link=self._links.control,
            governor=self._governor,
            drift=self._drift,
            seal=HeadSeal(device.config),
            unproven=lambda: self._nightly.problem,
            slow=lambda: self._pace.slow,
        )
        self._nightly = make_nightly(device, lambda: prove_model(self._standing, self._updater))

    def _connect_commands(self, logbook: Logbook) -> None:
        self._commands = Commands(
            self._device,
            CommandPorts(
                settings=self._settings,
                standing=self._standing,
                updater=self._updater,
                self_updater=self._self_updater,
                publish=lambda body: self._outbox.put(self._topics.reply, body, Priority.ALERT),
                telemetry=self._survey,
                end=self._life.finish,
                examples=self._examples,
                shadow=self._shadow_commands,
                logbook=logbook,
            ),
        )
        self._commands.listen(self._links.control, self._topics)
        self._links.control.subscribe(Subscription(self._topics.hint, self._policy.hint))

    def _listeners(self) -> Listeners:
        return Listeners(
            frame=self._on_frame,
            heartbeat=self._worker_watch.heard,
            restarted=self._meters.restarted,
            happening=self._on_happening,
            gone=self._keeper.gone,
        )

    def _make_survey(self) -> Survey:
        device = self._device
        subject = Subject(device.id, device.folder, device.interval_s)
        ports = Ports(
            worker_pid=lambda: self._supervisor.worker_pid or 0,
            link=lambda: self._links.control.quality,
            model=lambda: self._standing.model,
            governor=self._governor.report,
            progress=lambda: self._update_watch.progress,
            events=self._events.report,
            drift=self._drift.reports,
            shadow=lambda: self._shadow.progress,
            pace=lambda: self._pace.report,
        )
        return Survey(subject, self._meters, self._outbox, ports)

    def _presence(self) -> Presence:
        offline = to_json(offline_state(self._device.config.device))
        return Presence(self._topics.state, lambda: to_json(self._standing.state()), offline)

    def _parts(self) -> list[Part]:
        device = self._device
        status = make_status_file(self._standing, self._survey)
        trial_s = device.config.update.trial_timeout_s
        return [
            *([self._page] if device.config.console.enabled else []),
            *(self._loop(f"link-{n}", link, 60) for n, link in enumerate(self._links.all)),
            self._loop("reporter", self._reporter, 30),
            *(self._loop("engines", it, 60 + self._build_s) for it in [self._engines] if it),
            self._loop("events", self._events, 60),
            self._loop("drift", self._drift, 60),
            self._loop("pace", self._pace, 60),
            self._loop("supervisor", self._supervisor, 180),
            Loop(
                "updater",
                self._updater,
                60 + 4 * trial_s + self._build_s + self._self_updater.patience_s,
                self._life.on_crash,
                stop_s=3.0,  # the journal bears a cut anywhere, so a transfer is not waited for
                interrupt=self._abandon_trial,
            ),
            *(
                [self._loop("governor", self._governor, 60 + 4 * trial_s)]
                if device.config.governor.enabled
                else []
            ),
            *(self._loop("home", body, 60) for body in self._home.bodies),
            *(self._loop("examples", body, 60) for body in self._examples.bodies),
            *(
                self._loop("opentelemetry", body, 60 + body.interval_s)
                for body in make_exports(device, self._snapshot)
            ),
            self._loop("commander", self._commands.commander, 30),
            self._loop("settings", self._commands.settings, 30),
            self._loop("shadow", self._shadow, 180 + trial_s),
            self._loop("nightly", self._nightly, 180 + 4 * trial_s),
            self._loop("errands", self._commands.errands, 60 + 4 * trial_s),
            self._loop("status", status, 30),
            self._loop("self-update", self._self_updater, 30),
            *(self._loop("renewal", body, 120) for body in make_renewal(device, self._links)),
        ]

    def _loop(self, name: str, body: Runnable, patience_s: float) -> Loop:
        return Loop(name, body, patience_s, self._life.on_crash)

    @property
    def _build_s(self) -> float:
        """How long the build of an engine may take and its loop say nothing, 0 where none is built."""
        return self._engines.limits.timeout_s if self._engines is not None else 0

    # what the parts say to each other -------------------------------------------------------------------

    def _on_frame(self, result: FrameResult, release: str) -> None:
        self._meters.frame(result)
        self._home.frame(result)
        self._drift.frame(result)
        self._examples.frame(result)
        self._shadow.frame(result)
        if self._device.config.telemetry.detections:
            self._streams.detections(result, release)

    def _on_happening(self, message: Happening, worker: int) -> None:
        match message:
            case ObjectEvent():
                self._keeper.event(message.event, worker)
            case PlaceNotice():
                self._keeper.zone(message.event)
            case Pictured():
                self._keeper.picture(message.message.event, message.message.kind, message.data)

    def _abandon_trial(self) -> None:
        if self._engines is not None:
            self._engines.abandon()
        self._supervisor.abandon_trial()

    def _between_updates(self) -> None:
        """In the updater's thread: only there no trial of an update can be under way."""
        self._policy.refresh_if_due()
        self._self_updater.step()
        if self._engines is not None:
            self._engines.switch(self._supervisor)

    def _held(self) -> str:
        """Say why the governor must rest: a release on trial or probation is judged at its best."""
        phase = self._updater.record.phase
        return f"an update is on {phase.value}" if phase in _JUDGED else ""

    def _snapshot(self) -> Snapshot:
        return self._standing.snapshot(self._survey())
