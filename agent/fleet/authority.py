"""The fleet's certificate authority: P-256, one level, certificates for the broker and its clients.

The common name of a client certificate is the device id; brokers take it as the user name. The authority's
key lies in `ca.key` (mode 0600) and never leaves the controller's machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import ConfigError, TrustError
from agent.host.disk import REAL_DISK, Disk
from agent.trust.keys import load_private, private_pem

CA_KEY, CA_CERT = "ca.key", "ca.crt"
CA_LIFETIME = timedelta(days=3650)
CERT_LIFETIME = timedelta(days=365)  # of the broker and the controller
DEVICE_LIFETIME = timedelta(days=90)  # renewed by the device itself
_BACKDATE = timedelta(hours=1)  # devices' clocks may be a little behind
_PEM_LIMIT = 64 * 1024
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Credentials:
    """A certificate and its private key, both PEM."""

    cert_pem: bytes
    key_pem: bytes

    def write(self, folder: Path, name: str, disk: Disk = REAL_DISK) -> tuple[Path, Path]:
        """Write `<name>.crt` and `<name>.key` (mode 0600) and return their paths."""
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        disk.make_dirs(folder)
        disk.write_atomic(key, self.key_pem)
        disk.write_atomic(cert, self.cert_pem, mode=0o644)
        return cert, key


@dataclass(frozen=True)
class Issued:
    """A client certificate (PEM), the serial number it is known by (hexadecimal), and its end."""

    cert_pem: bytes
    serial: str
    expires_ms: int = 0


class FleetAuthority:
    """Signs certificates; make it with `create` or `load`."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(
        cls, folder: Path, name: str = "Vigil fleet", disk: Disk = REAL_DISK
    ) -> FleetAuthority:
        """Create an authority in `folder`.

        Raises:
            ConfigError: There is one already.
            StorageError: The folder cannot be written.
        """
        if disk.exists(folder / CA_KEY):
            hint = "name another folder; if this one's making was cut off, remove it first"
            raise ConfigError(f"{folder / CA_KEY}: an authority is there already", hint=hint)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = _authority_certificate(subject, key)
        credentials = Credentials(certificate.public_bytes(Encoding.PEM), private_pem(key))
        credentials.write(folder, "ca", disk)
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path, disk: Disk = REAL_DISK) -> FleetAuthority:
        """Load the authority in `folder`.

        Raises:
            ConfigError: Its files are not what they should be, or others may read its key.
            KeyUnavailableError: Its key cannot be read.
            StorageError: Its certificate cannot be read.
        """
        key = load_private(folder / CA_KEY)
        try:
            pem = disk.read(folder / CA_CERT, _PEM_LIMIT)
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise ConfigError(f"{folder / CA_CERT}: expected a certificate in PEM") from error
        return cls(certificate, key)

    @property
    def ca_pem(self) -> bytes:
        """The authority's own certificate, which devices and the broker trust."""
        return self._certificate.public_bytes(Encoding.PEM)

    def server_certificate(self, hosts: Sequence[str]) -> Credentials:
        """Make a key and certificate for the broker, valid for these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([host_name(host) for host in hosts])
        certificate = self._leaf(
            hosts[0], key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, CERT_LIFETIME, names
        )
        return Credentials(certificate.public_bytes(Encoding.PEM), private_pem(key))

    def client_certificate(self, name: str) -> Credentials:
        """Make a key and certificate for a client on this machine, such as the controller."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = self._leaf(name, key.public_key(), usage, CERT_LIFETIME)
        return Credentials(certificate.public_bytes(Encoding.PEM), private_pem(key))

    def sign_csr(self, csr_pem: bytes, device: str, life: timedelta = DEVICE_LIFETIME) -> Issued:
        """Sign a device's request; the certificate's common name is `device`, whatever else it asks for.

        Raises:
            TrustError: Not a request, not by the key in it, for another name, or not P-256.
        """
        request = _read_request(csr_pem, device)
        certificate = self._leaf(device, request, ExtendedKeyUsageOID.CLIENT_AUTH, life)
        return Issued(
            cert_pem=certificate.public_bytes(Encoding.PEM),
            serial=f"{certificate.serial_number:x}",
            expires_ms=int(certificate.not_valid_after_utc.timestamp() * 1000),
        )

    def revocation_list(self, serials: Iterable[str]) -> bytes:
        """Return the list (PEM) of certificates that brokers must refuse, by hexadecimal serial number.

        It ends with the authority itself: a broker lets nobody in once its list is past its end.
        """
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _BACKDATE)
            .next_update(self._certificate.not_valid_after_utc)
        )
        for number in filter(None, (int(serial, 16) for serial in serials)):
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _leaf(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        usage: x509.ObjectIdentifier,
        life: timedelta,
        names: x509.SubjectAlternativeName | None = None,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer_key = self._key.public_key()
        builder = (
            _builder(subject, self._certificate.subject, key, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
            )
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _authority_certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    public = key.public_key()
    return (
        _builder(subject, subject, public, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def host_name(host: str) -> x509.GeneralName:
    """Return a broker's name or address as certificates have it.

    Raises:
        ConfigError: It is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            message = f"broker's host: expected a name or an address, found {host[:80]!r}"
            hint = "letters, digits, dots and hyphens, at most 64; others as punycode (xn--…)"
            raise ConfigError(message, hint=hint) from None
        return x509.DNSName(host)


def _read_request(csr_pem: bytes, device: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        is_signed = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        message = f"certificate request of {device}: expected PKCS#10 in PEM, found {error}"
        raise TrustError(message, code="trust.malformed") from error
    found = [name.value for name in names]
    if not is_signed or found != [device]:
        message = f"certificate request: expected CN {device} signed by its own key, found {found}"
        raise TrustError(message, code="trust.bad_request")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        message = f"certificate request of {device}: expected a P-256 key"
        raise TrustError(message, code="trust.bad_request")
    return key


def request_key(csr_pem: bytes) -> bytes:
    """Return the public key (DER) of a request that was checked before."""
    request = x509.load_pem_x509_csr(csr_pem)
    return request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
