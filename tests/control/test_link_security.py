"""Who is let in, and what is never done: TLS 1.3 on both sides, names checked, no plaintext by accident."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest

from agent.control.link import Link
from agent.control.link.tls import client_context
from agent.errors import ConfigError
from agent.schema.config import BrokerConfig, TlsConfig
from agent.schema.topics import DeviceTopics
from tests.control.world import DEVICE, TOPICS, WAIT_S, mutual, until
from tests.parts.broker import Tls, needs_mosquitto
from tests.parts.certificates import Authority, Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.parts.broker import Broker, BrokerFactory

pytestmark = needs_mosquitto


@pytest.fixture
def own(authority: Authority) -> Credentials:
    return authority.client(DEVICE)


@pytest.fixture
def dial() -> Iterator[Callable[[BrokerConfig], Link]]:
    links: list[Link] = []

    def start(broker: BrokerConfig) -> Link:
        links.append(Link(broker, TOPICS))
        links[-1].start()
        return links[-1]

    yield start
    for link in links:
        link.stop(1.0)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_certificates_on_both_sides_connect(
    tls_mosquitto: Broker,
    authority: Authority,
    own: Credentials,
    dial: Callable[[BrokerConfig], Link],
    protocol: str,
) -> None:
    link = dial(mutual(tls_mosquitto, authority, own, protocol=protocol))
    assert until(lambda: link.connected), link.problem
    assert link.publish(TOPICS.reply, bytes(100_000)).wait(WAIT_S)


def test_only_version_1_3_is_spoken(authority: Authority, own: Credentials) -> None:
    tls = TlsConfig(ca=str(authority.certificate), cert=str(own.certificate), key=str(own.key))
    context = client_context(BrokerConfig(host="localhost", tls=tls))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_broker_of_an_unknown_authority_is_not_talked_to(
    tls_mosquitto: Broker, tmp_path: Path, own: Credentials, dial: Callable[[BrokerConfig], Link]
) -> None:
    (tmp_path / "foreign").mkdir()
    link = dial(mutual(tls_mosquitto, Authority(tmp_path / "foreign", "Other CA"), own))
    assert until(lambda: "TLS handshake failed" in link.problem)
    assert "CERTIFICATE_VERIFY_FAILED" in link.problem
    assert not link.connected


def test_a_broker_of_another_name_is_not_talked_to(
    broker_factory: BrokerFactory,
    authority: Authority,
    own: Credentials,
    dial: Callable[[BrokerConfig], Link],
) -> None:
    broker = broker_factory(tls=Tls(authority, authority.server("elsewhere")))
    link = dial(mutual(broker, authority, own))
    assert until(lambda: "TLS handshake failed" in link.problem)
    assert "Hostname mismatch" in link.problem


@pytest.mark.parametrize("fault", ["revoked", "expired", "foreign"])
def test_a_device_the_broker_does_not_know_is_kept_out_and_stays_alive(
    tls_mosquitto: Broker,
    authority: Authority,
    tmp_path: Path,
    dial: Callable[[BrokerConfig], Link],
    fault: str,
) -> None:
    (tmp_path / "foreign").mkdir()
    own = {
        "revoked": lambda: authority.client("revoked"),
        "expired": lambda: authority.client("expired", dt.timedelta(days=-1)),
        "foreign": lambda: Authority(tmp_path / "foreign", "Other CA").client(DEVICE),
    }[fault]()
    if fault == "revoked":
        authority.revoke(own)
        tls_mosquitto.restart()
    link = dial(mutual(tls_mosquitto, authority, own))
    assert until(lambda: link.problem)
    assert not link.connected


def test_plaintext_needs_permission_and_says_so() -> None:
    with pytest.raises(ConfigError, match="plaintext") as caught:
        Link(BrokerConfig(host="broker.example"), TOPICS)
    assert caught.value.code == "config.plaintext"
    assert "allow_plaintext" in caught.value.diagnostics()


@pytest.mark.parametrize("place", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [None, b"", b"not PEM at all"], ids=["absent", "empty", "text"])
def test_a_wrong_file_is_named(
    authority: Authority, own: Credentials, tmp_path: Path, place: str, content: bytes | None
) -> None:
    wrong = tmp_path / "wrong.pem"
    if content is not None:
        wrong.write_bytes(content)
    paths = {"ca": authority.certificate, "cert": own.certificate, "key": own.key, place: wrong}
    tls = TlsConfig(**{name: str(path) for name, path in paths.items()})
    with pytest.raises(ConfigError, match=f"broker.tls.{place}.*wrong.pem"):
        Link(BrokerConfig(host="localhost", tls=tls), TOPICS)


def test_a_key_of_another_certificate_is_noticed(authority: Authority, own: Credentials) -> None:
    other = authority.client("dev-2")
    tls = TlsConfig(ca=str(authority.certificate), cert=str(own.certificate), key=str(other.key))
    with pytest.raises(ConfigError, match=r"broker\.tls\.key"):
        Link(BrokerConfig(host="localhost", tls=tls), TOPICS)


@pytest.mark.parametrize(
    ("place", "broker", "prefix"),
    [
        ("host", BrokerConfig(host=" ", allow_plaintext=True), "vigil/1"),
        ("port", BrokerConfig(host="localhost", port=0, allow_plaintext=True), "vigil/1"),
        ("prefix", BrokerConfig(host="localhost", allow_plaintext=True), "vigil/+"),
        ("prefix", BrokerConfig(host="localhost", allow_plaintext=True), "/vigil"),
        ("prefix", BrokerConfig(host="localhost", allow_plaintext=True), ""),
    ],
)
def test_an_address_that_can_never_work_is_refused_at_once(
    place: str, broker: BrokerConfig, prefix: str
) -> None:
    with pytest.raises(ConfigError, match=rf"broker\.{place}: expected"):
        Link(broker, DeviceTopics(DEVICE, prefix))
