"""The controller's folder: everything one fleet's controller keeps, made by `init` and opened by the rest.

```
fleet.yaml        broker, topic prefix and repository
fleet.db          devices, release keys, tokens (mode 0600)
ca/               the authority: ca.key never leaves this folder
broker/           ca.crt, revoked.pem, broker.crt, broker.key, acl, mosquitto.conf, data/: all that mosquitto needs
controller/       the controller's own client certificates
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec.structs import replace

from agent.errors import ConfigError
from agent.fleet.access import CONTROLLER, CONTROLLERS
from agent.fleet.authority import CA_CERT, DEVICE_LIFETIME, FleetAuthority, host_name
from agent.fleet.mosquitto import (
    BULK,
    MAIN,
    REVOKED,
    access_file,
    mosquitto_configuration,
    reload,
)
from agent.fleet.registry import Registry
from agent.host.disk import REAL_DISK, Disk
from agent.schema.config import BrokerConfig, Port, TlsConfig
from agent.schema.document import config_from_tree, config_from_yaml
from agent.schema.topics import DEFAULT_PREFIX
from agent.schema.values import Positive, Struct

FLEET_SCHEMA = 1
FLEET_FILE, REGISTRY_FILE = "fleet.yaml", "fleet.db"
AUTHORITY, BROKER = "ca", "broker"
MOSQUITTO_STATE = "data"
_LIMIT = 64 * 1024
_KEEPALIVE_S = 10  # the broker hands a controller's share on after one and a half of it


class FleetPageConfig(Struct):
    """The `page` section: where people look at the fleet. Paths are relative to the controller's folder.

    Attributes:
        port: 0 picks a free one.
        token_file: The secret that opens the page, one line of at least 16 characters, mode 0600; off loopback
            it is needed, and TLS too.
        tls_cert: Certificate chain (PEM); with `tls_key`, its private key, the page is served over https.
    """

    host: str = "127.0.0.1"
    port: Port = 8089
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


class FleetConfig(Struct):
    """`fleet.yaml`: the broker as devices reach it, and the repository whose public folder is served.

    Attributes:
        bulk_port: Of a second broker on the same host, for transfers; 0 where there is none.
        enrol_port: Where devices enrol over HTTPS, on the broker's host; 0 for by bundle only.
        certificate_days: How long a device's certificate is good; devices renew it when a third is left.
        database: URL of the database, see `agent.fleet.database`; `fleet.db` when empty.
        page: A read-only web page of the fleet; none where it is left out.
    """

    schema: int
    broker_host: str
    broker_port: Annotated[int, msgspec.Meta(gt=0, le=65535)]
    repository: str
    prefix: str = DEFAULT_PREFIX
    bulk_port: Port = 0
    enrol_port: Port = 0
    certificate_days: Positive = DEVICE_LIFETIME.days
    database: str = ""
    page: FleetPageConfig | None = None


@dataclass(frozen=True)
class FleetHome:
    """An opened controller's folder."""

    folder: Path
    config: FleetConfig
    authority: FleetAuthority
    registry: Registry

    def bulk_broker(self, name: str = CONTROLLER) -> BrokerConfig | None:
        """Return how the controller of this name connects to the broker for transfers, None where there is none."""
        port = self.config.bulk_port
        return replace(self.broker(name), port=port) if port else None

    def broker(self, name: str) -> BrokerConfig:
        """Return how the controller connects under one of its names, see `agent.fleet.access`."""
        own = self.folder / CONTROLLER
        tls = TlsConfig(
            ca=str(self.folder / AUTHORITY / CA_CERT),
            cert=str(own / f"{name}.crt"),
            key=str(own / f"{name}.key"),
        )
        config = self.config
        return BrokerConfig(
            host=config.broker_host,
            port=config.broker_port,
            prefix=config.prefix,
            keepalive_s=_KEEPALIVE_S,
            tls=tls,
        )

    def session(self, name: str = CONTROLLER) -> Path:
        """Where the serving controller of this name keeps the id of its session at the broker."""
        return self.folder / CONTROLLER / f"session{name.removeprefix(CONTROLLER)}"

    def appoint(self, name: str, disk: Disk = REAL_DISK) -> None:
        """Let a controller of this name in: make its certificate, where it has none, and tell the broker."""
        if not disk.exists(self.folder / CONTROLLER / f"{name}.crt"):
            self.authority.client_certificate(name).write(self.folder / CONTROLLER, name, disk)
            self.write_access(disk)

    @property
    def repository(self) -> Path:
        """The repository's folder."""
        return self.folder / self.config.repository

    @property
    def place(self) -> Path | str:
        """Where the database is."""
        return _place(self.folder, self.config)

    @property
    def life(self) -> timedelta:
        """How long a device's certificate is good."""
        return timedelta(days=self.config.certificate_days)

    def write_access(self, disk: Disk = REAL_DISK) -> bool:
        """Tell the brokers who may do what, after devices joined or were revoked.

        Returns:
            Whether a broker that runs here was told; another one must be told by hand (SIGHUP).
        """
        broker = self.folder / BROKER
        names = {*CONTROLLERS, *(path.stem for path in (self.folder / CONTROLLER).glob("*.crt"))}
        text = access_file(self.registry.devices(), self.config.prefix, sorted(names))
        disk.write_atomic(broker / "acl", text.encode())
        serials = self.registry.certificates.revoked()
        disk.write_atomic(broker / REVOKED, self.authority.revocation_list(serials), mode=0o644)
        return reload(broker)


def create_home(
    folder: Path, config: FleetConfig, hosts: Sequence[str] = (), disk: Disk = REAL_DISK
) -> FleetHome:
    """Make a controller's folder: authority, certificates, registry and mosquitto's files.

    Args:
        folder: Is made if it is missing.
        config: Content of `fleet.yaml`.
        hosts: Further names of the broker, for its certificate.
        disk: Where to write.

    Raises:
        ConfigError: The folder has a fleet already, or a value is not possible; nothing was made.
        StorageError: It cannot be written.
    """
    if disk.exists(folder / FLEET_FILE):
        hint = "use it, or name another folder"
        raise ConfigError(f"{folder}: a fleet is there already", hint=hint)
    # What may be wrong is looked at before anything is made: names, numbers, a database that is elsewhere.
    names = [config.broker_host, *hosts]
    for name in names:
        host_name(name)
    config_from_tree(msgspec.to_builtins(config), FleetConfig, FLEET_FILE)
    if not config.database:
        disk.make_dirs(folder)
    registry = _registry(folder, config)
    authority = FleetAuthority.create(folder / AUTHORITY, disk=disk)
    broker = folder / BROKER
    authority.server_certificate(names).write(broker, BROKER, disk)
    for name in CONTROLLERS:
        authority.client_certificate(name).write(folder / CONTROLLER, name, disk)
    disk.write_atomic(broker / CA_CERT, authority.ca_pem, mode=0o644)
    disk.make_dirs(broker / MOSQUITTO_STATE)
    place = broker.resolve()
    settings = mosquitto_configuration(
        place, config.broker_port, config.broker_host, place / MOSQUITTO_STATE
    )
    disk.write_atomic(broker / f"{MAIN}.conf", settings.encode(), mode=0o644)
    if config.bulk_port:
        bulk = mosquitto_configuration(place, config.bulk_port, config.broker_host, name=BULK)
        disk.write_atomic(broker / f"{BULK}.conf", bulk.encode(), mode=0o644)
    home = FleetHome(folder, config, authority, registry)
    home.write_access(disk)
    # A section that is not there is not mentioned: people add it as the guides have it.
    said = {name: value for name, value in msgspec.to_builtins(config).items() if value is not None}
    text = yaml.safe_dump(said, sort_keys=False)
    disk.write_atomic(folder / FLEET_FILE, text.encode(), mode=0o644)
    return home


def open_home(folder: Path, disk: Disk = REAL_DISK) -> FleetHome:
    """Open a controller's folder.

    Raises:
        ConfigError: There is no fleet, or a file of it is not what it should be.
        StorageError: A file cannot be read.
    """
    config = _read_config(folder, disk)
    authority = FleetAuthority.load(folder / AUTHORITY, disk)
    return FleetHome(folder, config, authority, _registry(folder, config))


def place_of(folder: Path, disk: Disk = REAL_DISK) -> Path | str:
    """Return where the database of a controller's folder is, without opening it.

    Raises:
        ConfigError: There is no fleet.
        StorageError: A file cannot be read.
    """
    return _place(folder, _read_config(folder, disk))


def members_of(registry: Registry) -> Callable[[str], AbstractSet[str] | None]:
    """Return who may connect to an embedded broker: a registered device's groups, None for others."""

    def members(device: str) -> AbstractSet[str] | None:
        record = registry.device(device)
        return None if record is None or record.revoked else frozenset(record.groups)

    return members


def _read_config(folder: Path, disk: Disk) -> FleetConfig:
    path = folder / FLEET_FILE
    if not disk.exists(path):
        raise ConfigError(f"{path}: not there", hint="make a fleet with `vigil fleet init`")
    text = disk.read(path, _LIMIT).decode(errors="replace")
    config = config_from_yaml(text, FleetConfig, str(path))
    if config.schema != FLEET_SCHEMA:
        raise ConfigError(f"{path}: at $.schema: expected {FLEET_SCHEMA}, found {config.schema}")
    return config


def _place(folder: Path, config: FleetConfig) -> Path | str:
    return config.database or folder / REGISTRY_FILE


def _registry(folder: Path, config: FleetConfig) -> Registry:
    return Registry(_place(folder, config))
