"""The broker's and the controllers' own certificates: made anew when a third of their life is left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from agent.errors import ConfigError
from agent.fleet.access import CONTROLLER
from agent.fleet.authority import Credentials
from agent.fleet.home import BROKER, FleetHome
from agent.host.disk import REAL_DISK, Disk

_LIMIT = 64 * 1024


def renew_own(home: FleetHome, now: datetime, disk: Disk = REAL_DISK) -> list[str]:
    """Replace what is due at `now` (with time zone), with new keys, and have a broker that runs here read them.

    Returns:
        The names whose certificates are new. Running controllers show theirs when they are started again.

    Raises:
        ConfigError: A file is no certificate.
        StorageError: A file cannot be read or written.
    """
    renewed = []
    for folder, name, present in list(_certificates(home, disk)):
        life = present.not_valid_after_utc - present.not_valid_before_utc
        if present.not_valid_after_utc - now < life / 3:
            _anew(home, name, present).write(folder, name, disk)
            renewed.append(name)
    if renewed:
        home.write_access(disk)
    return renewed


def _certificates(home: FleetHome, disk: Disk) -> Iterator[tuple[Path, str, x509.Certificate]]:
    own = home.folder / CONTROLLER
    for path in (home.folder / BROKER / f"{BROKER}.crt", *sorted(own.glob("*.crt"))):
        try:
            present = x509.load_pem_x509_certificate(disk.read(path, _LIMIT))
        except ValueError as error:
            raise ConfigError(f"{path}: expected a certificate in PEM") from error
        yield path.parent, path.stem, present


def _anew(home: FleetHome, name: str, present: x509.Certificate) -> Credentials:
    if name != BROKER:
        return home.authority.client_certificate(name)
    names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return home.authority.server_certificate([str(one.value) for one in names])
