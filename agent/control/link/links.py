"""The device's connections: control, and bulk where the site gives block transfers one of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agent.control.link.loop import Link

if TYPE_CHECKING:
    from agent.control.link.channels import RequestChannel
    from agent.control.link.traffic import Presence
    from agent.schema.config import BrokerConfig
    from agent.schema.topics import DeviceTopics


@dataclass(frozen=True)
class Links:
    """Both connections; `bulk` is `control` where the configuration names no bulk broker."""

    control: Link
    bulk: Link

    @property
    def all(self) -> tuple[Link, ...]:
        """The distinct links, in start order."""
        return (self.control,) if self.bulk is self.control else (self.control, self.bulk)

    def channel(self, name: str) -> RequestChannel:
        """Return the request channel `key` or `crt` of the control link, or `blk` of the bulk link."""
        return (self.bulk if name == "blk" else self.control).channel(name)


def make_links(broker: BrokerConfig, topics: DeviceTopics, presence: Presence) -> Links:
    """Build the links that `broker` asks for; nothing is connected yet.

    Raises:
        ConfigError: As `Link`.
    """
    control = Link(broker, topics, presence=presence)
    if broker.bulk is None:
        return Links(control, control)
    bulk = replace(
        broker, host=broker.bulk.host or broker.host, port=broker.bulk.port or broker.port
    )
    return Links(control, Link(bulk, topics, client_id=f"{topics.device}-bulk", session_s=0))
