"""What a real mosquitto makes of devices that join, renew and are revoked, told by the controller alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event

import pytest
from cryptography import x509

from agent.control.link.links import make_links
from agent.control.link.traffic import Presence
from agent.control.renewal import Renewal
from agent.errors import TrustError
from agent.fleet.access import CONTROLLER
from agent.fleet.blocks import BlockServer
from agent.fleet.controller import Controller, Services
from agent.fleet.enrolment import Site, admit, invite
from agent.fleet.home import FleetHome
from agent.fleet.joining import join, request
from agent.fleet.keys import KeyService
from agent.fleet.operators import SignedCommand
from agent.fleet.renewal import RenewalService
from agent.fleet.tokens import Invitation
from agent.schema.certificates import CertificateReply, CertificateRequest
from agent.schema.config import BrokerConfig, TlsConfig
from agent.schema.document import to_json
from agent.schema.messages import State
from agent.schema.topics import DeviceTopics
from agent.trust.identity import certificate_request
from agent.trust.keys import load_private
from tests.fleet.fleet_site import fleet_site
from tests.fleet.mqtt_device import WAIT_S, Device
from tests.parts.processes import until

LIFE = timedelta(days=90)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetHome]:
    """A fleet as `vigil fleet init` makes it, with its mosquitto running."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "public").mkdir()
    with fleet_site(folder) as home:
        yield home


@pytest.fixture(scope="module")
def controller(home: FleetHome) -> Iterator[Controller]:
    renewals = RenewalService(home.registry, home.authority, LIFE)
    services = Services(KeyService(home.registry), BlockServer(home.repository), renewals)
    controller = Controller(home.broker(CONTROLLER), services)
    controller.start()
    yield controller
    controller.stop()


def enrol(home: FleetHome, folder: Path, device: str, *, life: timedelta = LIFE) -> TlsConfig:
    """Let a device join by its bundle; return its certificates."""
    bundle, place = folder / f"{device}-stick", folder / device
    site = Site("127.0.0.1", home.config.broker_port, b"{}")
    invite(bundle, home.registry, home.authority, Invitation(device, "gate", ("north",)), site)
    request(bundle, place)
    admit(bundle, home.registry, home.authority, life=life)
    join(bundle, place)
    own = place / "identity"
    return TlsConfig(ca=str(own / "ca.crt"), cert=str(own / "device.crt"), key=str(own / "tls.key"))


def let_in(home: FleetHome, tls: TlsConfig, device: str) -> bool:
    try:
        client = Device(home.config.broker_port, tls, client_id=device)
    except OSError:
        return False
    # With TLS 1.3 a certificate is refused after the handshake.
    decided = lambda: not client.codes.empty() or client.lost.is_set()  # noqa: E731
    until(decided, WAIT_S, "the broker lets it in or hangs up")
    accepted = not client.codes.empty() and client.accepted()
    client.close()
    return accepted


def await_refusal(home: FleetHome, tls: TlsConfig, device: str) -> None:
    until(lambda: not let_in(home, tls, device), WAIT_S, f"{device} is let in no more")


def say(device: Device, name: str, at_ms: int) -> None:
    device.publish(*told(name, at_ms))


def told(name: str, at_ms: int) -> tuple[str, bytes]:
    state = State(v=1, device=name, online=True, at_ms=at_ms)
    return f"vigil/1/d/{name}/state", to_json(state)


def test_a_revoked_device_is_muted_at_once_and_not_let_in_again(
    home: FleetHome, controller: Controller, tmp_path: Path
) -> None:
    clients = {}
    for name in ("bad-1", "good-1"):
        tls = enrol(home, tmp_path, name)
        clients[name] = (Device(home.config.broker_port, tls, client_id=name), tls)
        assert clients[name][0].accepted()
        say(clients[name][0], name, 1)
        controller.inbox.wait_state(name, lambda state: state.at_ms == 1, WAIT_S)
    home.registry.revoke("bad-1")
    assert home.write_access()
    await_refusal(home, clients["bad-1"][1], "bad-1")
    # Not waited for: who asked in the same name has ended the revoked device's connection, or the broker has.
    clients["bad-1"][0].client.publish(*told("bad-1", 2))
    say(clients["good-1"][0], "good-1", 2)
    controller.inbox.wait_state("good-1", lambda state: state.at_ms == 2, WAIT_S)
    seen = controller.inbox.state("bad-1")
    assert seen is not None
    assert seen.at_ms == 1
    assert let_in(home, clients["good-1"][1], "good-1")
    for client, _ in clients.values():
        client.close()


def test_a_device_that_joins_is_known_to_the_broker_without_a_hand(
    home: FleetHome, controller: Controller, tmp_path: Path
) -> None:
    tls = enrol(home, tmp_path, "new-1")
    device = Device(home.config.broker_port, tls, client_id="new-1")
    assert device.accepted()
    device.subscribe("vigil/1/g/north/cmd")
    assert home.write_access()

    def hears_its_group() -> bool:
        controller.send(SignedCommand("command-1", "g/north", b"to the north"))
        return not device.silent(0.1)

    until(hears_its_group, WAIT_S, "it hears its group")
    device.close()


def test_enrolling_anew_revokes_what_the_name_had_before(home: FleetHome, tmp_path: Path) -> None:
    old = enrol(home, tmp_path / "first", "twice-1")
    new = enrol(home, tmp_path / "second", "twice-1")
    home.write_access()
    await_refusal(home, old, "twice-1")
    assert let_in(home, new, "twice-1")


# renewal --------------------------------------------------------------------------------------------


def ends(tls: TlsConfig) -> datetime:
    return x509.load_pem_x509_certificate(Path(tls.cert).read_bytes()).not_valid_after_utc


def broker(home: FleetHome, tls: TlsConfig) -> BrokerConfig:
    return BrokerConfig(host="127.0.0.1", port=home.config.broker_port, tls=tls)


def test_a_certificate_is_renewed_over_the_link_and_used(
    home: FleetHome, controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.fleet.renewal._EVERY_MS", 0)
    tls = enrol(home, tmp_path, "old-1", life=timedelta(hours=1))
    before = ends(tls)
    state = to_json(State(v=1, device="old-1", online=True))
    links = make_links(
        broker(home, tls),
        DeviceTopics("old-1"),
        Presence("vigil/1/d/old-1/state", lambda: state, state),
    )
    channel = links.channel("crt")
    links.control.start()
    try:
        until(lambda: channel.generation > 0, WAIT_S, "the channel is open")
        later = datetime.now(timezone.utc) + timedelta(minutes=50)
        renewal = Renewal("old-1", tls, channel, now=lambda: later)
        assert renewal.is_due()
        until(lambda: renewal.renew(Event()), WAIT_S, "a certificate comes")
        assert not renewal.is_due()
        assert ends(tls) > before + timedelta(days=80)
        until(lambda: links.control.reconnects > 0, 30, "the link takes it")
    finally:
        links.control.stop(5)
    serials = {f"{x509.load_pem_x509_certificate(Path(tls.cert).read_bytes()).serial_number:x}"}
    record = home.registry.device("old-1")
    assert record is not None
    assert {record.serial} == serials
    home.registry.revoke("old-1")
    assert len(home.registry.certificates.revoked()) >= 2  # the one before, too


@pytest.mark.parametrize("case", ["revoked", "unknown", "too soon", "another name", "garbage"])
def test_the_controller_renews_only_for_who_asks_for_itself_and_rarely(
    home: FleetHome, tmp_path: Path, case: str
) -> None:
    name = f"dev-{case.replace(' ', '-')}"
    tls = enrol(home, tmp_path, name)
    key = load_private(Path(tls.key))
    csr = certificate_request(key, "other-1" if case == "another name" else name).decode()
    if case == "revoked":
        home.registry.revoke(name)
    service = RenewalService(
        home.registry,
        home.authority,
        LIFE,
        now_ms=lambda: 0 if case == "too soon" else 2**45,
    )
    body = to_json(CertificateRequest(v=1, id="request-1", csr=csr))
    reply = service.answer(
        "nobody" if case == "unknown" else name, b"{}" if case == "garbage" else body
    )
    expected = {"revoked": 403, "unknown": 403, "too soon": 503}
    assert (reply.status, reply.certificate) == (expected.get(case, 400), "")
    assert reply.message


class Mailbox:
    """A channel that answers with one certificate."""

    def __init__(self, pem: bytes) -> None:
        self._pem = pem
        self._id = ""

    def send(self, body: bytes) -> None:
        import json

        self._id = json.loads(body)["id"]

    def receive(self, _timeout_s: float) -> bytes:

        return to_json(
            CertificateReply(v=1, id=self._id, status=200, certificate=self._pem.decode())
        )


def test_a_certificate_for_another_key_or_an_older_one_is_not_taken(
    home: FleetHome, tmp_path: Path
) -> None:
    tls = enrol(home, tmp_path, "cam-8")
    present = Path(tls.cert).read_bytes()
    foreign = home.authority.client_certificate("cam-8").cert_pem
    own = certificate_request(load_private(Path(tls.key)), "cam-8")
    shorter = home.authority.sign_csr(own, "cam-8", timedelta(days=1)).cert_pem
    for pem in (foreign, shorter, b"nothing"):
        with pytest.raises(TrustError):
            Renewal("cam-8", tls, Mailbox(pem)).renew(Event())
        assert Path(tls.cert).read_bytes() == present
