"""The road to the broker, step by step: name, port, TLS, login, topics, controller. The first that fails is it."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Iterator

from agent.control.link.examine import BrokerVisit, Errand, visit
from agent.control.link.rivals import RIVALS
from agent.control.link.tls import client_context
from agent.doctor.findings import from_error, good, problem, unseen, warning
from agent.doctor.patient import Patient
from agent.errors import ConfigError
from agent.schema.blocks import BlockRequest
from agent.schema.config import BrokerConfig
from agent.schema.doctor import Finding
from agent.schema.document import to_json
from agent.schema.topics import DeviceTopics

_CONNECT_S = 5.0
_ALERT_S = 0.6
_WARN_DAYS = 30
_UNREACHED = "commands, updates and reports wait until the broker is reached; detection goes on"
# OpenSSL, x509_vfy.h, X509_V_ERR_*: what the broker's certificate can be refused for.
_TLS_FAULTS: dict[int, tuple[str, str]] = {
    9: ("broker.not_yet_valid", "set this device's clock: sudo timedatectl set-ntp true"),
    10: ("broker.expired", "renew the broker's certificate, then restart the broker"),
    18: ("broker.unknown_authority", "put the CA that signed the broker's certificate at {ca}"),
    19: ("broker.unknown_authority", "put the CA that signed the broker's certificate at {ca}"),
    20: ("broker.unknown_authority", "put the CA that signed the broker's certificate at {ca}"),
    62: (
        "broker.other_name",
        "use the name in the broker's certificate as broker.host: not {host}",
    ),
    64: (
        "broker.other_name",
        "use the name in the broker's certificate as broker.host: not {host}",
    ),
}


def look_at_broker(patient: Patient) -> Iterator[Finding]:
    """Go from step to step until one fails."""
    broker = patient.config.broker
    address, step = f"{broker.host}:{broker.port}", "broker.tcp"
    try:
        yield _resolve(broker)
        with socket.create_connection((broker.host, broker.port), _CONNECT_S) as raw:
            yield good("broker.tcp", f"{address} accepts connections")
            step = "broker.tls"
            yield from _shake_hands(broker, raw)
    except socket.gaierror as error:
        yield _name_fault(broker, error)
    except ssl.SSLError as error:
        yield tls_fault(broker, error)
    except ConfigError as error:
        yield from_error("broker.tls", error, _UNREACHED, "vigil enroll --help")
    except OSError as error:
        yield _no_tls(broker, str(error)) if step == "broker.tls" else _port_fault(address, error)
    else:
        yield from _visit(patient)


def _resolve(broker: BrokerConfig) -> Finding:
    try:
        ipaddress.ip_address(broker.host)
    except ValueError:
        found = {str(one[4][0]) for one in socket.getaddrinfo(broker.host, broker.port)}
        return good("broker.dns", f"{broker.host} is {', '.join(sorted(found))}")
    return good("broker.dns", f"{broker.host} is an address")


def _name_fault(broker: BrokerConfig, error: socket.gaierror) -> Finding:
    return problem(
        "broker.dns",
        "broker.unknown_host",
        f"the name {broker.host} cannot be resolved: {error.strerror}",
        _UNREACHED,
        f"check name and name server: getent hosts {broker.host}; resolvectl status",
    )


def _port_fault(address: str, error: OSError) -> Finding:
    host, _, port = address.rpartition(":")
    return problem(
        "broker.tcp",
        "broker.unreachable",
        f"{address}: {error.strerror or error}",
        _UNREACHED,
        f"is the broker running, and does the firewall let it pass? nc -vz {host} {port}",
    )


def _shake_hands(broker: BrokerConfig, raw: socket.socket) -> Iterator[Finding]:
    context = client_context(broker)
    if context is None:
        why = "whoever is on this network reads everything and can pretend to be this device"
        fix = "give broker.tls (ca, cert, key) in vigil.yaml"
        yield warning("broker.tls", "broker.plaintext", "no TLS is configured", why, fix)
        return
    with context.wrap_socket(raw, server_hostname=broker.host) as secure:
        # With TLS 1.3 a refused client certificate shows only in what is read afterwards.
        secure.settimeout(_ALERT_S)
        with contextlib.suppress(TimeoutError):
            secure.recv(1)
        yield good("broker.tls", f"{secure.version()}, the broker's certificate is valid")
        yield from _broker_expiry(secure)


def _broker_expiry(secure: ssl.SSLSocket) -> Iterator[Finding]:
    ends = str((secure.getpeercert() or {}).get("notAfter", ""))
    if not ends:
        return
    left = dt.timedelta(seconds=ssl.cert_time_to_seconds(ends)) - dt.timedelta(
        seconds=dt.datetime.now(dt.timezone.utc).timestamp()
    )
    if left.days < _WARN_DAYS:
        yield warning(
            "broker.certificate",
            "broker.expires_soon",
            f"the broker's certificate ends in {left.days} days ({ends})",
            "then no device of the fleet can connect",
            "renew the broker's certificate and restart the broker",
        )


def tls_fault(broker: BrokerConfig, error: ssl.SSLError) -> Finding:
    """Say what a failed handshake means."""
    number = getattr(error, "verify_code", 0)
    reason = getattr(error, "verify_message", "") or error.reason or str(error)
    ca = broker.tls.ca if broker.tls else ""
    code, fix = _TLS_FAULTS.get(number, ("", ""))
    if code:
        fix = fix.format(ca=ca, host=broker.host)
        return problem("broker.tls", code, f"the broker's certificate: {reason}", _UNREACHED, fix)
    if "ALERT" in (error.reason or ""):
        cert = broker.tls.cert if broker.tls else ""
        return problem(
            "broker.tls",
            "broker.refuses_certificate",
            f"the broker refuses this device's certificate: {reason}",
            _UNREACHED,
            f"look at it: openssl x509 -noout -dates -subject -in {cert}; enrol anew if it ended or was revoked",
        )
    return _no_tls(broker, reason)


def _no_tls(broker: BrokerConfig, reason: str) -> Finding:
    return problem(
        "broker.tls",
        "broker.no_tls",
        f"no TLS 1.3 handshake: {reason}",
        _UNREACHED,
        f"is this the TLS port? openssl s_client -tls1_3 -connect {broker.host}:{broker.port}",
    )


def _visit(patient: Patient) -> Iterator[Finding]:
    """Log in and try the topics, unless that would throw out the running agent."""
    config = patient.config
    if patient.status is not None:
        yield from as_the_agent_says(patient.status.link, config.device.id)
        return
    topics = DeviceTopics(config.device.id, config.broker.prefix)
    request = BlockRequest(id=secrets.token_hex(8), p="metadata/timestamp.json", o=0, l=1)
    errand = Errand(
        [topics.command, topics.leaf("blk/rsp"), topics.leaf("key/rsp")],
        (topics.leaf("blk/req"), to_json(request)),
        topics.leaf("blk/rsp"),
    )
    try:
        yield from judge_visit(visit(config.broker, config.device.id, errand), config.device.id)
    except OSError as error:
        yield _port_fault(f"{config.broker.host}:{config.broker.port}", error)


def as_the_agent_says(link: str, device: str) -> Iterator[Finding]:
    """Say what the running agent knows of its link: pure."""
    if any(words in link for words in RIVALS):
        yield problem(
            "broker.login",
            "broker.rival",
            f"the running agent is thrown out: {link}",
            f"each throws the other out; whoever has a copy of its key reads the commands for {device} and speaks in its name",
            f"find the copy: a cloned card, a restored backup, a stolen box; else: vigil fleet revoke HOME {device}, and enrol it anew",
        )
    elif link.startswith("connected"):
        yield good("broker.login", f"the running agent is {link}")
        hint = "to try them, stop it for a moment: sudo systemctl stop vigil && vigil doctor"
        yield unseen("broker.topics", "a second connection would throw out the running agent", hint)
    else:
        yield problem(
            "broker.login",
            "broker.not_connected",
            f"the running agent is not connected: {link}",
            _UNREACHED,
            "sudo journalctl -u vigil -n 50; stop it for a closer look: sudo systemctl stop vigil && vigil doctor",
        )


def judge_visit(seen: BrokerVisit, device: str) -> Iterator[Finding]:
    """Say what login and topics showed: pure."""
    if not seen.accepted:
        said = seen.refused or "it closes the connection or does not answer"
        yield problem(
            "broker.login",
            "broker.refuses_device",
            f"the broker does not let {device} in: {said}",
            _UNREACHED,
            f"is it admitted? On the controller: vigil fleet admit FOLDER BUNDLE, then reload the broker ({device})",
        )
        return
    yield good("broker.login", f"logged in as {device} by MQTT {seen.protocol}")
    if seen.closed_topics:
        listed = ", ".join(f"{topic} ({why})" for topic, why in seen.closed_topics.items())
        yield problem(
            "broker.topics",
            "broker.may_not_read",
            f"the broker's access list closes {listed}",
            "commands and updates never arrive",
            "on the controller: does the access file name this device (vigil fleet devices)? then: sudo systemctl reload vigil-broker",
        )
    if seen.publish_refused or not seen.published:
        yield problem(
            "broker.topics",
            "broker.may_not_write",
            f"publishing is refused: {seen.publish_refused or 'never acknowledged'}",
            "reports, events and requests for updates are lost",
            "on the controller: does the access file name this device (vigil fleet devices)? then: sudo systemctl reload vigil-broker",
        )
    if seen.published and not seen.closed_topics:
        yield good("broker.topics", "own topics can be read and written")
    if seen.published and not seen.answered:
        yield warning(
            "controller",
            "controller.silent",
            "no controller answers a request for the release repository",
            "no update can be fetched",
            "start it: sudo systemctl start vigil-controller; does it serve this prefix?",
        )
    elif seen.answered:
        yield good("controller", "the controller serves the release repository")
