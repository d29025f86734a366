"""What the tests of the control room share: an observer at the broker, and people who sign commands."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from securesystemslib.signer import CryptoSigner

from agent.schema.config import BrokerConfig, TlsConfig
from agent.schema.messages import COMMAND_TYPE, Policy, PolicyRule, PolicyUser, Role
from agent.schema.topics import DeviceTopics
from agent.trust.envelope import sign_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.parts.broker import Broker
    from tests.parts.certificates import Authority, Credentials

WAIT_S = 30.0
DEVICE = "dev-1"
TOPICS = DeviceTopics(DEVICE)


def until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> bool:
    """Whether `condition` became true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def plain(broker: Broker, **changes: Any) -> BrokerConfig:
    """Configuration for a broker without TLS."""
    settings = {"protocol": "5", "keepalive_s": 5, "allow_plaintext": True, **changes}
    return BrokerConfig(host=broker.host, port=broker.port, **settings)


def mutual(broker: Broker, authority: Authority, own: Credentials, **changes: Any) -> BrokerConfig:
    """Configuration for a broker with client certificates."""
    tls = TlsConfig(ca=str(authority.certificate), cert=str(own.certificate), key=str(own.key))
    settings = {"host": "localhost", "protocol": "5", **changes}
    return BrokerConfig(port=broker.port, tls=tls, **settings)


class Observer:
    """Sees every message of a plain broker and can send some."""

    def __init__(self, port: int) -> None:
        self.seen: list[paho.MQTTMessage] = []
        self._news = threading.Condition()
        ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"observer-{secrets.token_hex(4)}")
        self._client.on_socket_open = _without_delay
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port, 30)
        self._client.loop_start()
        assert ready.wait(WAIT_S), "the observer could not subscribe"

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Sends a message and waits until the broker has it."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(WAIT_S)

    def payloads(self, topic: str) -> list[bytes]:
        """What came on a topic, in order."""
        return [bytes(one.payload) for one in list(self.seen) if one.topic == topic]

    def wait(self, topic: str, wanted: Callable[[bytes], bool], timeout_s: float = WAIT_S) -> bytes:
        """The first payload on `topic` that is wanted."""
        deadline_s = time.monotonic() + timeout_s
        for position in itertools.count():
            with self._news:
                while len(self.seen) <= position:
                    left_s = deadline_s - time.monotonic()
                    assert self._news.wait(max(0.0, left_s)), f"nothing wanted came on {topic}"
                message = self.seen[position]
            if message.topic == topic and wanted(bytes(message.payload)):
                return bytes(message.payload)
        raise AssertionError

    def close(self) -> None:
        """Ends it."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.seen.append(message)
            self._news.notify_all()


def _without_delay(_client: Any, _user: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Person:
    """Somebody with a key."""

    def __init__(self, name: str, role: Role) -> None:
        self.name = name
        private = Ed25519PrivateKey.generate()
        self.signer = CryptoSigner(private)
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.user = PolicyUser(name=name, role=role, keys=[pem.decode()])


class People:
    """A small company and its policy."""

    def __init__(self) -> None:
        self.ada = Person("ada", Role.ADMIN)
        self.ben = Person("ben", Role.ADMIN)
        self.dee = Person("dee", Role.DEPLOYER)
        self.oli = Person("oli", Role.OPERATOR)
        self.vic = Person("vic", Role.VIEWER)
        self.eve = Person("eve", Role.ADMIN)
        self._counter = itertools.count(1000)

    def policy(self, *, version: int = 3, without: str = "") -> Policy:
        """Everybody but eve, who works elsewhere, and but the one who is `without`."""
        staff = (self.ada, self.ben, self.dee, self.oli, self.vic)
        return Policy(
            schema=1,
            version=version,
            users=[one.user for one in staff if one.name != without],
            commands={
                "status": PolicyRule(role=Role.VIEWER),
                "probe": PolicyRule(role=Role.OPERATOR),
                "deploy": PolicyRule(role=Role.DEPLOYER),
                "restart": PolicyRule(role=Role.ADMIN, approvals=2),
                "unheard": PolicyRule(role=Role.VIEWER),
            },
        )

    def body(self, issuer: Person, cmd: str = "probe", **changes: Any) -> dict[str, Any]:
        """A command's body as it should be, but for `changes`."""
        now_s = int(time.time())
        return {
            "v": 1,
            "id": f"cmd-{secrets.token_hex(6)}",
            "iss": issuer.name,
            "cmd": cmd,
            "args": {},
            "aud": f"d/{DEVICE}",
            "ctr": next(self._counter),
            "iat": now_s,
            "exp": now_s + 300,
            "policy_ver": 3,
            **changes,
        }

    def command(self, issuer: Person, cmd: str = "probe", **changes: Any) -> bytes:
        """A signed command."""
        return signed(self.body(issuer, cmd, **changes), issuer)


def signed(body: dict[str, Any] | bytes, *signers: Person, kind: str = COMMAND_TYPE) -> bytes:
    """An envelope around `body`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sign_envelope(data, kind, [one.signer for one in signers])
