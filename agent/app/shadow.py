"""Shadow mode on this device: what it may cost, where the candidate comes from, and its commands."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from agent.app.device import Device
from agent.app.examples import Examples, require_link
from agent.app.shadow_page import shadow_page
from agent.app.wiring import worker_settings
from agent.control.attachments import attach
from agent.control.commander import Handler
from agent.control.errands import Errands
from agent.control.replies import Replier, arguments
from agent.errors import CommandError, ModelError, StorageError
from agent.governor.governor import Governor
from agent.governor.sensing import Board
from agent.host.clock import wall_ms
from agent.host.pressure import memory_pressure
from agent.host.sensors import temperature_c
from agent.models.store import InstalledRelease
from agent.schema.actions import NoArgs
from agent.schema.document import to_json
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import CommandBody
from agent.schema.shadow import ShadowRecord, ShadowView, StartShadowArgs
from agent.supervisor import Conversation, Shadow, Supervisor
from agent.supervisor.comparison import alone_in, progress_of, report_of
from agent.supervisor.shadow import Means, Ports
from agent.supervisor.shadow_book import ShadowBook
from agent.update.endings import is_over
from agent.update.installer import Updater
from agent.update.metered import Meter
from agent.update.staging import Stager

_COOLER_C = 5.0  # below the governor's limit: the candidate must never be what reaches it


@dataclass(frozen=True)
class Neighbours:
    """The parts that decide whether there is room for a candidate."""

    supervisor: Supervisor
    updater: Updater
    governor: Governor
    examples: Examples


def make_shadow(device: Device, around: Neighbours) -> Shadow:
    """Return what compares models on this device; it goes on with what the last life left once its loop runs."""
    settings = replace(worker_settings(device), threads=1, streams=1)
    talk = Conversation(settings, device.opener.payload, device.opener.golden)
    ports = Ports(
        serving=lambda: around.supervisor.release,
        grab=around.supervisor.grab,
        open=lambda record: _load(device, record),
        is_updating=lambda: not is_over(around.updater.record) or around.supervisor.is_trying,
        rest=lambda: _reason_to_rest(device, around),
        pin=device.store.pin,
        on_differing=around.examples.differing,
    )
    means = Means(settings.memory_mb)
    return Shadow(device.folder, settings.cameras, talk, means, ports, device.disk)


def _load(device: Device, record: ShadowRecord) -> InstalledRelease:
    return device.store.load(record.candidate.ref).running(record.candidate.variant)


def _reason_to_rest(device: Device, around: Neighbours) -> str:
    if around.supervisor.pipeline != "running":
        return "no model runs"
    config, rung = device.config.governor, around.governor.report()
    limit_c = config.max_temperature_c or device.profile.limits.temperature_c
    board = Board(temperature_c=temperature_c(), memory_pressure=memory_pressure())
    return lack_of_room(board, rung.index if rung else 0, limit_c, config.max_memory_pressure)


def lack_of_room(board: Board, rung: int, limit_c: float, limit_pressure: float) -> str:
    """Return why the board has no room for a candidate: `hot`, `busy`, `memory`, or empty.

    Args:
        board: What it says of itself; what it does not say is no reason.
        rung: Index of the governor's rung, 0 the best.
        limit_c: The governor's greatest temperature, degrees Celsius.
        limit_pressure: Its greatest memory pressure, percent.
    """
    if board.temperature_c is not None and board.temperature_c >= limit_c - _COOLER_C:
        return "hot"
    if rung > 0:
        return "busy"
    if board.memory_pressure is not None and board.memory_pressure >= limit_pressure:
        return "memory"
    return ""


@dataclass(frozen=True)
class ShadowCommands:
    """`start-shadow`, `stop-shadow` and `shadow-report`.

    Attributes:
        link: Bytes of the day on a link that costs money.
    """

    device: Device
    shadow: Shadow
    supervisor: Supervisor
    updater: Updater
    stager: Stager
    link: Meter

    def handlers(self, errands: Errands, limit_bytes: Callable[[], int]) -> dict[str, Handler]:
        """Return what is done for each command; `limit_bytes` is the greatest size of a reply."""

        def report(body: CommandBody, replier: Replier) -> None:
            self._report(body, replier, limit_bytes())

        return {
            "start-shadow": errands.handler(self._start),
            "stop-shadow": self._stop,
            "shadow-report": errands.handler(report),
        }

    def _start(self, body: CommandBody, replier: Replier) -> None:
        asked = arguments(body, StartShadowArgs)
        if (asked.release is None) != (asked.sha256 is None):
            message = "release and sha256 belong together"
            raise CommandError(message, code="command.arguments")
        if not self.device.profile.limits.two_models:
            message = "two models do not fit this board's memory"
            raise CommandError(message, code="shadow.no_room")
        self.shadow.require_free()
        with self.updater.reserved():
            candidate = self._candidate(asked)
            self.shadow.start(asked, candidate)
        replier.succeeded(candidate=candidate.manifest.release_id, variant=candidate.variant.id)

    def _candidate(self, asked: StartShadowArgs) -> InstalledRelease:
        found = self.supervisor.release
        if asked.release is not None and asked.sha256 is not None:
            ref = ReleaseRef(path=asked.release, sha256=asked.sha256)
            found = self._brought(ref)
        if found is None:
            raise ModelError("no model is running", code="model.none")
        return found.running(asked.variant) if asked.variant else found

    def _brought(self, ref: ReleaseRef) -> InstalledRelease:
        here = {one.sha256: one for one in self.device.store.installed()}
        if ref.sha256 in here:
            return self.device.store.load(here[ref.sha256])
        return self.stager.open(self.stager.fetch(ref, lambda _progress: None))

    def _stop(self, body: CommandBody, replier: Replier) -> None:
        arguments(body, NoArgs)
        ended = report_of(self.shadow.stop(), self.device.id)
        replier.succeeded(frames=ended.frames, agreement=ended.whole.agreement)

    def _report(self, body: CommandBody, replier: Replier, limit_bytes: int) -> None:
        arguments(body, NoArgs)
        record = self.shadow.book.record
        if record is None:
            raise CommandError("there was no shadow run", code="shadow.none")
        require_link(self.link)
        report = report_of(record, self.device.id)
        files = {"report.json": to_json(report)}
        for one in record.pictures:
            try:
                files[one.file] = self.shadow.book.picture(one)
            except StorageError:
                continue  # it gave way to a worse one meanwhile
        html = shadow_page(report, record.candidate.labels, files)
        packed = _packed({**files, "report.html": html.encode()})
        for part in attach(f"shadow-{self.device.id}.tar", packed, limit_bytes):
            self.link.spend(len(part["base64"]))
            replier.running(f"part {part['part']} of {part['parts']}", attachment=part)
        whole = msgspec.to_builtins(report.whole)
        replier.succeeded(frames=report.frames, state=report.state.value, whole=whole)


@dataclass(frozen=True)
class ShadowFindings:
    """What the device's page shows of the newest run."""

    book: ShadowBook
    device: str

    def view(self) -> ShadowView | None:
        """Return how far it is and what it found so far; None before the first run."""
        record = self.book.record
        if record is None:
            return None
        return ShadowView(
            progress=progress_of(record, wall_ms()),
            report=report_of(record, self.device),
            labels=record.candidate.labels,
            alone={one.file: alone_in(one) for one in record.pictures},
        )

    def picture(self, file: str) -> bytes | None:
        """Return one of its pictures (JPEG); None when it is not kept, or not any more."""
        record = self.book.record
        known = {one.file: one for one in record.pictures} if record else {}
        try:
            return self.book.picture(known[file]) if file in known else None
        except StorageError:
            return None  # it gave way to a worse one meanwhile


def _packed(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"shadow/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()
