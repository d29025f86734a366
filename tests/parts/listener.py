"""Hears everything that devices of a fleet say, as raw bytes, under a console's certificate."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.fleet.access import DESK

if TYPE_CHECKING:
    from tests.parts.site import Site

_WAIT_S = 30.0


class Listener:
    """Everything on a broker with client certificates, by topic.

    Args:
        address: Host and port.
        ca: The fleet's authority (PEM).
        cert: A console's certificate and key (PEM files).
    """

    def __init__(self, address: tuple[str, int], ca: Path, cert: tuple[Path, Path]) -> None:
        self.heard: list[tuple[str, bytes]] = []
        ready = threading.Event()
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(*map(str, cert))
        self._client = paho.Client(CallbackAPIVersion.VERSION2, DESK, protocol=paho.MQTTv311)
        self._client.tls_set_context(context)
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.connect(*address)
        self._client.loop_start()
        assert ready.wait(_WAIT_S), "the listener could not subscribe"

    def close(self) -> None:
        """End it."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))


def fleet_listener(site: Site) -> Listener:
    """Return a listener at the broker of a site."""
    credentials = site.fleet.authority.client_certificate(DESK)
    cert = credentials.write(site.folder / "listener", "listener")
    ca = site.folder / "fleet" / "broker" / "ca.crt"
    return Listener(("127.0.0.1", site.fleet.broker.port), ca, cert)
