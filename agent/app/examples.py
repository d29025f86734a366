"""Frames that are worth a label: what collects them, where the configuration asks for it, and the command that sends them."""

from __future__ import annotations

from dataclasses import dataclass

from agent.app.device import Device
from agent.control.attachments import attach
from agent.control.replies import Replier, arguments
from agent.drift.keeper import DriftKeeper
from agent.errors import CommandError
from agent.examples.collector import Collector, Ports
from agent.examples.shelf import Shelf
from agent.host.loop import Runnable
from agent.schema.actions import CollectExamplesArgs
from agent.schema.ipc import FrameGrabbed, FrameResult
from agent.schema.messages import CommandBody
from agent.schema.update_config import MeteredConfig
from agent.supervisor import Supervisor
from agent.update.metered import MEGABYTE, Meter

SENT_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Examples:
    """Feeds and runs the collector, where there is one; sends what lies on the shelf.

    Attributes:
        link: Bytes of the day on a link that costs money.
    """

    collector: Collector | None
    shelf: Shelf
    link: Meter

    def frame(self, result: FrameResult) -> None:
        """Take a result of the serving worker; any thread, never blocks."""
        if self.collector is not None:
            self.collector.frame(result)

    def differing(self, frame: FrameGrabbed, jpeg: bytes) -> None:
        """Take a picture in which another model sees something else; any thread, never blocks."""
        if self.collector is not None:
            self.collector.differing(frame, jpeg)

    @property
    def bodies(self) -> list[Runnable]:
        """What has to run."""
        return [] if self.collector is None else [self.collector]

    def send(self, body: CommandBody, replier: Replier, limit_bytes: int) -> None:
        """Remove what has arrived, then send the oldest others, about `SENT_MAX_BYTES` of them.

        Raises:
            CommandError: The link must not be used now (`command.metered`).
        """
        asked = arguments(body, CollectExamplesArgs)
        if self.shelf.forget(asked.arrived):
            replier.running(f"removed up to {asked.arrived}")
        batch = self.shelf.batch(SENT_MAX_BYTES)
        if batch.pictures:
            require_link(self.link)
            name = f"examples-{batch.last.split('.')[0]}.tar"
            for part in attach(name, batch.data, limit_bytes):
                self.link.spend(len(part["base64"]))
                replier.running(f"part {part['part']} of {part['parts']}", attachment=part)
        replier.succeeded(examples=batch.pictures, last=batch.last, left=batch.left)


def require_link(link: Meter) -> None:
    """Raise `CommandError` `command.metered` when a link that costs money must not be used now."""
    held = link.pause
    if held is not None:
        raise CommandError(f"the link is metered: {held.reason}", code="command.metered")


def make_examples(
    device: Device, supervisor: Supervisor, drift: DriftKeeper, link: Meter
) -> Examples:
    """Return what collects and sends examples; it collects only with a key to seal them to."""
    config = device.config.examples
    shelf = Shelf(device.folder / "examples", device.disk, int(config.keep_mb * MEGABYTE))
    if not config.key:
        return Examples(None, shelf, link)
    day = MeteredConfig(daily_mb=config.daily_mb)
    ports = Ports(
        grab=supervisor.grab,
        serving=lambda: supervisor.release,
        drifted=drift.drifted,
        budget=Meter(day, device.folder / "examples-day.json", device.disk),
    )
    return Examples(Collector(device.id, config, shelf, ports), shelf, link)
