"""A device enrols over HTTPS: the real service, the real command line, and what either refuses."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.config import load_config
from agent.errors import InUseError, TransferError, TrustError, VigilError
from agent.fleet.authority import FleetAuthority
from agent.fleet.bundle import INVITATION, REQUEST, TICKET, has_certificate, read_terms
from agent.fleet.enrolment import Site, admit, invite
from agent.fleet.enrolment_client import fetch, send_request
from agent.fleet.enrolment_service import EnrolmentService
from agent.fleet.home import BROKER, FLEET_SCHEMA, FleetConfig, FleetHome, create_home
from agent.fleet.joining import request
from agent.fleet.ticket import fingerprint, read_ticket
from agent.fleet.tokens import Invitation
from agent.host.ports import free_port
from agent.web.serving import WebServer

DEVICE = Invitation("gate-7", "gate", ("north",))


@dataclass
class Office:
    """A controller's enrolment, served."""

    home: FleetHome
    site: Site
    admitted: list[str]
    server: WebServer | None = None

    def open(self) -> None:
        service = EnrolmentService(self.home, self.site, lambda: self.admitted.append("told"))
        own = self.home.folder / BROKER
        tls = (str(own / f"{BROKER}.crt"), str(own / f"{BROKER}.key"))
        self.server = WebServer(service.application(), "127.0.0.1", self.site.enrol_port, tls)

    def invite(self, bundle: Path, **options: Any) -> Path:
        invite(bundle, self.home.registry, self.home.authority, DEVICE, self.site, **options)
        return bundle


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port = free_port()
    config = FleetConfig(
        schema=FLEET_SCHEMA,
        broker_host="127.0.0.1",
        broker_port=8883,
        repository="repository",
        enrol_port=port,
    )
    home = create_home(tmp_path / "controller", config)
    site = Site("127.0.0.1", 8883, b'{"root": true}', enrol_port=port)
    office = Office(home, site, [])
    office.open()
    yield office
    assert office.server is not None
    office.server.stop()
    home.registry.close()


def vigil(line: str) -> str:
    result = CliRunner().invoke(app, line.split())
    if result.exception is not None:
        raise result.exception
    return result.output


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def post(office: Office, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    context = ssl.create_default_context(cadata=office.home.authority.ca_pem.decode())
    connection = http.client.HTTPSConnection(
        "127.0.0.1", office.site.enrol_port, timeout=10, context=context
    )
    connection.request("POST", path, body)
    answer = connection.getresponse()
    status, told = answer.status, json.loads(answer.read())
    connection.close()
    return status, told


def test_a_device_joins_by_its_ticket_alone(office: Office, tmp_path: Path) -> None:
    ticket = office.invite(tmp_path / "stick") / TICKET
    assert ticket.stat().st_mode & 0o777 == 0o600
    device = tmp_path / "device"
    shown = vigil(f"enroll --ticket {ticket} --folder {device} --key-store file")
    assert read_ticket(ticket.read_text()).token not in shown
    config = load_config(device / "vigil.yaml")
    record = office.home.registry.device("gate-7")
    assert record is not None
    assert (config.device.id, record.groups) == ("gate-7", ("north",))
    assert config.broker.tls is not None
    assert Path(config.broker.tls.ca).read_bytes() == office.home.authority.ca_pem
    assert Path(config.trust_root).read_bytes() == office.site.root
    assert not (device / "bundle").exists()  # it held the token
    assert office.admitted == ["told"]


def test_a_bundle_on_a_stick_is_answered_at_once_where_the_network_is_there(
    office: Office, tmp_path: Path
) -> None:
    bundle = office.invite(tmp_path / "stick")
    vigil(f"enroll --bundle {bundle} --folder {tmp_path / 'device'} --key-store file")
    assert load_config(tmp_path / "device/vigil.yaml").device.id == "gate-7"
    assert has_certificate(bundle)


def test_offline_the_bundle_is_carried_as_before(office: Office, tmp_path: Path) -> None:
    bundle = office.invite(tmp_path / "stick")
    line = f"enroll --bundle {bundle} --folder {tmp_path / 'device'} --key-store file --offline"
    assert "carry" in vigil(line)
    admit(bundle, office.home.registry, office.home.authority)
    assert "ready" in vigil(line)


def test_a_controller_that_cannot_be_reached_is_tried_again_with_the_same_keys(
    office: Office, tmp_path: Path
) -> None:
    ticket = office.invite(tmp_path / "stick") / TICKET
    line = f"enroll --ticket {ticket} --folder {tmp_path / 'device'} --key-store file"
    assert office.server is not None
    office.server.stop()
    with pytest.raises(InUseError) as unreachable:
        vigil(line)
    assert unreachable.value.exit_status == 75
    assert str(office.site.enrol_port) in str(unreachable.value)
    assert office.home.registry.devices() == []
    office.open()
    assert "ready" in vigil(line)


def test_a_lost_answer_is_given_again_to_the_same_keys_and_to_no_others(
    office: Office, tmp_path: Path
) -> None:
    bundle = office.invite(tmp_path / "stick")
    terms = request(bundle, tmp_path / "device")
    send_request(bundle, terms)
    first = office.home.registry.device("gate-7")
    send_request(bundle, terms)
    again = office.home.registry.device("gate-7")
    assert first is not None
    assert again is not None
    assert (first.public_key, first.serial) != (again.public_key, again.serial)
    assert office.home.registry.certificates.revoked() == [first.serial]
    request(bundle, tmp_path / "thief")
    with pytest.raises(TrustError, match="used up") as refusal:
        send_request(bundle, terms)
    assert refusal.value.code == "trust.token"
    assert office.home.registry.device("gate-7") == again


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"token": "guessed-token"}, "unknown"),
        ({"device": "gate-8"}, "signed by its own key|not made for"),
        ({"public_key": "AAAA"}, "point|public key"),
        ({"csr": "-----BEGIN"}, "PKCS#10"),
    ],
)
def test_a_request_that_is_not_good_is_refused_in_words_and_changes_nothing(
    office: Office, tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    bundle = office.invite(tmp_path / "stick")
    terms = request(bundle, tmp_path / "device")
    path = bundle / REQUEST
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(TrustError, match=reason):
        send_request(bundle, terms)
    assert office.home.registry.devices() == []
    assert not has_certificate(bundle)
    assert office.admitted == []


def test_an_expired_token_is_named(office: Office, tmp_path: Path) -> None:
    bundle = office.invite(tmp_path / "stick", life=timedelta(milliseconds=1))
    ticket = read_ticket((bundle / TICKET).read_text())
    with pytest.raises(TrustError, match="expired"):
        fetch(ticket, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    terms = request(bundle, tmp_path / "device")
    with pytest.raises(TrustError, match="expired"):
        send_request(bundle, terms)


def test_who_guesses_must_wait(office: Office, tmp_path: Path) -> None:
    for _ in range(5):
        status, told = post(office, "/invitation", b'{"token": "a-guess-of-a-token"}')
        assert (status, told["code"]) == (403, "trust.token")
    bundle = office.invite(tmp_path / "stick")
    with pytest.raises(TransferError, match="wait"):
        fetch(read_ticket((bundle / TICKET).read_text()), tmp_path / "fetched")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": 1}', b'{"token": "x", "more": 1}'])
def test_what_is_no_request_is_refused(office: Office, body: bytes) -> None:
    assert post(office, "/invitation", body)[0] == 400


def test_a_body_without_end_is_cut_off(office: Office) -> None:
    assert post(office, "/enrol", b"x" * 40_000)[0] == 413


def test_an_impostor_is_not_told_the_token(office: Office, tmp_path: Path) -> None:
    bundle = office.invite(tmp_path / "stick")
    other = FleetAuthority.create(tmp_path / "other").ca_pem
    line = (bundle / TICKET).read_text()
    forged = line.replace(fingerprint(office.home.authority.ca_pem), fingerprint(other))
    with pytest.raises(TrustError, match="another fleet") as refusal:
        fetch(read_ticket(forged), tmp_path / "fetched")
    assert refusal.value.code == "trust.authority"
    (bundle / "ca.crt").write_bytes(other)
    terms = request(bundle, tmp_path / "device")
    with pytest.raises(TrustError) as unproven:
        send_request(bundle, terms)
    assert unproven.value.code == "trust.authority"


@pytest.mark.parametrize(
    "text", ["", "https://a:1/", "http://a:1/#" + "0" * 64 + ".token-123", "https://a:x/#y"]
)
def test_what_is_no_ticket_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(TrustError) as refusal:
        read_ticket(text)
    assert refusal.value.code == "trust.ticket"


def test_a_ticket_or_a_bundle_must_be_given(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["enroll", "--folder", str(tmp_path)]).exit_code == 2


def test_the_terms_of_a_ticket_are_those_of_the_bundle(office: Office, tmp_path: Path) -> None:
    bundle = office.invite(tmp_path / "stick")
    fetch(read_ticket((bundle / TICKET).read_text()), tmp_path / "fetched")
    assert read_terms(tmp_path / "fetched") == read_terms(bundle)
    assert INVITATION in files(tmp_path / "fetched")


def test_a_registry_that_is_gone_is_no_fault_of_the_device(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.errors import StorageError

    bundle = office.invite(tmp_path / "stick")
    terms = request(bundle, tmp_path / "device")

    def fail(*_: object) -> None:
        raise StorageError("fleet.db: gone")

    monkeypatch.setattr(office.home.registry.tokens, "redeem", fail)
    with pytest.raises(VigilError) as refusal:
        send_request(bundle, terms)
    assert isinstance(refusal.value, TransferError)
