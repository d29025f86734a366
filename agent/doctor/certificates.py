"""This device's certificate and its authority: whose, for which key, and how long. `judge` is pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from agent.doctor.findings import good, problem, unseen, warning
from agent.doctor.patient import Patient
from agent.schema.doctor import Finding

_WARN = dt.timedelta(days=30)
_OVERDUE = (
    4  # devices renew when a third of the life is left; with less than a fourth, that did not work
)


@dataclass(frozen=True)
class CertificateSeen:
    """A certificate: `name` is its common name, `is_pair` whether the key beside it is its own (None: no key)."""

    what: str
    path: str
    name: str
    starts: dt.datetime
    ends: dt.datetime
    wanted_name: str = ""
    is_pair: bool | None = None


def judge(seen: CertificateSeen, now: dt.datetime) -> Finding:
    """Say whether a certificate serves now, and for how long."""
    check, ends = f"certificate.{seen.what}", f"{seen.ends:%Y-%m-%d}"
    renew = "enrol the device again: vigil enroll --bundle FOLDER --folder /etc/vigil"
    why = "the broker lets this device in by it and by nothing else"
    if seen.is_pair is False:
        what = f"{seen.path} was not made for the key beside it"
        return problem(check, "certificate.other_key", what, why, renew)
    if seen.wanted_name and seen.name != seen.wanted_name:
        what = f"{seen.path} is of {seen.name!r}, device.id is {seen.wanted_name!r}"
        return problem(
            check, "certificate.other_device", what, why, f"{renew}; or correct device.id"
        )
    if now < seen.starts:
        what = f"{seen.path} is valid from {seen.starts:%Y-%m-%d}, the clock says {now:%Y-%m-%d}"
        fix = "set the clock: sudo timedatectl set-ntp true"
        return problem(check, "certificate.not_yet_valid", what, why, fix)
    if now >= seen.ends:
        return problem(check, "certificate.expired", f"{seen.path} ended {ends}", why, renew)
    if seen.ends - now < min(_WARN, (seen.ends - seen.starts) / _OVERDUE):
        what = f"{seen.path} ends {ends}, in {(seen.ends - now).days} days"
        return warning(check, "certificate.expires_soon", what, why, renew)
    return good(check, f"{seen.path} is valid until {ends}")


def look_at_certificates(patient: Patient) -> Iterator[Finding]:
    """Judge the certificates that the configuration names."""
    tls = patient.config.broker.tls
    if tls is None:
        return
    now = dt.datetime.now(dt.timezone.utc)
    own = patient.config.device.id
    for what, path, name, key in (("ca", tls.ca, "", ""), ("device", tls.cert, own, tls.key)):
        try:
            yield judge(_see(what, Path(path), name, key), now)
        except PermissionError as error:
            yield unseen(f"certificate.{what}", f"{error.filename}: {error.strerror}")
        except FileNotFoundError:
            continue  # `files` says so
        except (OSError, ValueError) as error:
            yield problem(
                f"certificate.{what}",
                "certificate.unreadable",
                f"{path}: {error}",
                "the broker lets this device in by it and by nothing else",
                "restore it, or enrol the device again: vigil enroll --help",
            )


def _see(what: str, path: Path, wanted: str, key: str) -> CertificateSeen:
    found = x509.load_pem_x509_certificate(path.read_bytes())
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return CertificateSeen(
        what=what,
        path=str(path),
        name=str(names[0].value) if names else "",
        starts=found.not_valid_before_utc,
        ends=found.not_valid_after_utc,
        wanted_name=wanted,
        is_pair=_is_pair(found, Path(key)) if key else None,
    )


def _is_pair(found: x509.Certificate, path: Path) -> bool:
    own = load_pem_private_key(path.read_bytes(), None).public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return own.public_bytes(*form) == found.public_key().public_bytes(*form)
