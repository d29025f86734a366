"""A broker inside this process, for demonstrations and tests without root: amqtt, MQTT 3.1.1, loopback only.

Clients must show a certificate of the fleet's authority; its common name is the user, and the rules of
`agent.fleet.access` hold. Sessions and retained messages live in memory and end with the broker.
Production uses mosquitto, see `agent.fleet.mosquitto`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.errors import BrokerError, PluginImportError, PluginInitError
from amqtt.session import Session

from agent.errors import TransferError
from agent.fleet.authority import FleetAuthority
from agent.fleet.broker_rules import Members
from agent.host.ports import free_port
from agent.schema.topics import DEFAULT_PREFIX

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_RULES = "agent.fleet.broker_rules.CertificateRules"
_START_S = 10.0


class EmbeddedBroker:
    """The broker; can be stopped and started again on the same port.

    Args:
        folder: Gets the broker's own key and certificate.
        authority: Signs them, and every client that is let in.
        members: Groups of a device that may connect, None for one that may not.
        prefix: First part of all topics.
        port: 0 for any free one.
    """

    def __init__(
        self,
        folder: Path,
        authority: FleetAuthority,
        members: Members,
        prefix: str = DEFAULT_PREFIX,
        port: int = 0,
    ) -> None:
        credentials = authority.server_certificate([HOST, "localhost"])
        cert, key = credentials.write(folder, "broker")
        ca = folder / "ca.crt"
        ca.write_bytes(authority.ca_pem)
        self.port = port or free_port()
        self._config: dict[str, Any] = {
            "listeners": {
                "default": {
                    "type": "tcp",
                    "bind": f"{HOST}:{self.port}",
                    "ssl": True,
                    "cafile": str(ca),
                    "certfile": str(cert),
                    "keyfile": str(key),
                }
            },
            "plugins": {_RULES: {"members": members, "prefix": prefix}},
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broker: Broker | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._problem = ""

    def start(self) -> None:
        """Start serving.

        Raises:
            TransferError: The port is taken or the broker does not come up.
        """
        self._ready.clear()
        self._problem = ""
        # It warns of every client that goes away and of every one that first tries MQTT 5.
        logging.getLogger("amqtt").setLevel(logging.ERROR)
        self._thread = threading.Thread(target=self._run, name="vigil-broker", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S) or self._problem:
            message = f"embedded broker on {HOST}:{self.port}: {self._problem or 'does not start'}"
            raise TransferError(message, code="transfer.broker")

    def stop(self) -> None:
        """Close every connection and the port; idempotent."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or self._broker is None:
            return
        asyncio.run_coroutine_threadsafe(self._broker.shutdown(), loop).result(_START_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_S)
        self._loop = self._thread = self._broker = None

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(_note)
        asyncio.set_event_loop(loop)
        try:
            self._broker = _OwnRetained(self._config, loop=loop)
            loop.run_until_complete(self._broker.start())
        except (BrokerError, PluginImportError, PluginInitError, OSError) as error:
            log.debug("embedded broker", exc_info=True)
            self._problem = str(error)
            self._ready.set()
            loop.close()
            return
        self._loop = loop
        self._ready.set()
        loop.run_forever()
        _finish(loop)


class _OwnRetained(Broker):  # type: ignore[misc]
    """amqtt, but without sending a new client the retained messages of other clients' subscriptions."""

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        holders = self.subscriptions.get(subscription[0], [])
        if any(holder.client_id == session.client_id for holder, _ in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a connection's handler raised: mostly clients that reset their connection."""
    log.debug("%s: %r", context.get("message"), context.get("exception"))


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left and close the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
