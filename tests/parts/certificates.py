"""A small certificate authority: real keys, real X.509, good for one test session.

authority = Authority(tmp_path)
server = authority.server()          # for 127.0.0.1 and localhost
device = authority.client("dev-1")   # CN dev-1; .certificate, .key and authority.certificate are paths
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Credentials:
    """Paths of a PEM certificate and of its private key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates, and a revocation list, into one folder."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self.revocations = folder / "ca.crl"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        own = self._builder(self._name, self._key.public_key(), 30 * _DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        _write_public(self.certificate, own.sign(self._key, hashes.SHA256()))
        self.revoke()

    def server(self, name: str = "localhost", valid: dt.timedelta = 7 * _DAY) -> Credentials:
        """A server certificate for `name` and the loopback address; a negative `valid` has run out."""
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self._issue(f"server-{name}", name, ExtendedKeyUsageOID.SERVER_AUTH, names, valid)

    def client(self, name: str, valid: dt.timedelta = 7 * _DAY) -> Credentials:
        """A client certificate whose common name is `name`; a negative `valid` has run out."""
        return self._issue(name, name, ExtendedKeyUsageOID.CLIENT_AUTH, [], valid)

    def revoke(self, *revoked: Credentials) -> None:
        """Writes a revocation list that names exactly the certificates given."""
        now = dt.datetime.now(dt.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - _DAY)
            .next_update(now + 7 * _DAY)
        )
        for one in revoked:
            serial = x509.load_pem_x509_certificate(one.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        _write_public(self.revocations, builder.sign(self._key, hashes.SHA256()))

    def _issue(
        self,
        file_name: str,
        name: str,
        usage: x509.ObjectIdentifier,
        alternatives: list[x509.GeneralName],
        valid: dt.timedelta = 7 * _DAY,
    ) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_common_name(name), key.public_key(), valid)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternatives:
            names = x509.SubjectAlternativeName(alternatives)
            builder = builder.add_extension(names, critical=False)
        made = Credentials(self.folder / f"{file_name}.crt", self.folder / f"{file_name}.key")
        _write_public(made.certificate, builder.sign(self._key, hashes.SHA256()))
        made.key.write_bytes(_private_pem(key))
        return made

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: dt.timedelta
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * _DAY)
            .not_valid_after(now + valid)
        )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_public(path: Path, signed: x509.Certificate | x509.CertificateRevocationList) -> None:
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A fresh certificate authority of this test's own."""
    folder = tmp_path / "pki"
    folder.mkdir()
    return Authority(folder)
