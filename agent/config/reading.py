"""Reading `/etc/vigil/vigil.yaml`: strict, with relative paths resolved against the file's folder.

Every fault is a `ConfigError` (exit status 78) that names the file, the place in the document, what was
expected and what was found. Nothing is ever replaced by a default because it was wrong.
"""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.errors import ConfigError, TrustError
from agent.schema.config import (
    CONFIG_SCHEMA,
    BrokerConfig,
    CameraConfig,
    Config,
    ConsoleConfig,
    TlsConfig,
)
from agent.schema.config_versions import migrate
from agent.schema.document import config_from_tree, config_tree
from agent.schema.keystore import key_config, located
from agent.schema.reporting import OpenTelemetryConfig
from agent.schema.update_config import UpdateConfig
from agent.schema.zones import Places, find_faults
from agent.trust.keys import load_point

DEFAULT_PATH = Path("/etc/vigil/vigil.yaml")
PROTOCOLS = ("auto", "5", "3.1.1")
_MAX_BYTES = 256 * 1024


def load_config(path: Path) -> Config:
    """Read and check the configuration file at `path`, without what was changed on the device since.

    Raises:
        ConfigError: The file is missing, unreadable, not YAML, or says something that cannot be.
    """
    return config_of(read_tree(path), path, str(path))


def read_tree(path: Path) -> Any:
    """Return the file as plain lists and dictionaries in this version's schema, otherwise unchecked.

    An older file is brought up in memory. For a newer one the copy beside it holds (`kept_copy`).

    Raises:
        ConfigError: The file is missing, unreadable or not YAML, or no way leads to this schema.
    """
    tree = config_tree(read_text(path), str(path))
    schema = tree.get("schema") if isinstance(tree, dict) else None
    if schema == CONFIG_SCHEMA or not isinstance(schema, int):
        return tree
    kept = kept_copy(path, CONFIG_SCHEMA)
    if schema > CONFIG_SCHEMA and kept.exists():
        return config_tree(read_text(kept), str(kept))
    try:
        return migrate(tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", code=error.code, hint=error.hint) from error


def kept_copy(path: Path, schema: int) -> Path:
    """Return where the configuration for another schema is kept: `vigil.schema-1.yaml`."""
    return path.with_name(f"{path.stem}.schema-{schema}{path.suffix}")


def config_of(tree: Any, path: Path, source: str) -> Config:
    """Check a whole document and make its paths absolute; `source` names it in errors.

    Args:
        tree: The document.
        path: The operator's file, to whose folder paths are relative.
        source: What to call the document.

    Raises:
        ConfigError: It says something that cannot be.
    """
    config = config_from_tree(tree, Config, source)
    _check(config, source)
    return _absolute(config, path.resolve().parent)


def read_text(path: Path) -> str:
    """Return the text of a configuration file.

    Raises:
        ConfigError: Missing, unreadable, too long or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        hint = "give the file with --config, or create it with `vigil enroll`"
        raise ConfigError(
            f"{path}: {error.strerror}", code="config.unreadable", hint=hint
        ) from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: expected at most {_MAX_BYTES} bytes, found more")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, found byte {error.start} is not"
        ) from error


def filmed(config: Config) -> list[CameraConfig]:
    """Return the cameras that are not paused."""
    return [camera for camera in config.cameras if not camera.paused]


def _check(config: Config, source: str) -> None:
    if config.schema != CONFIG_SCHEMA:
        _fail(source, "$.schema", str(CONFIG_SCHEMA), config.schema)
    if config.broker.protocol not in PROTOCOLS:
        _fail(source, "$.broker.protocol", " or ".join(PROTOCOLS), config.broker.protocol)
    if config.broker.tls is None and not config.broker.allow_plaintext:
        _fail(source, "$.broker.tls", "ca, cert and key (or allow_plaintext: true)", "nothing")
    if config.examples.key:
        _check_fleet_key(config.examples.key, source)
    for index, camera in enumerate(config.cameras):
        if camera.password_file is not None and "://" not in camera.source:
            place = f"$.cameras[{index}].password_file"
            _fail(source, place, "a source that is a URL beside it", camera.source)
    counts = Counter(camera.name for camera in config.cameras)
    for index, camera in enumerate(config.cameras):
        if counts[camera.name] > 1:
            _fail(source, f"$.cameras[{index}].name", "unique camera names", camera.name)
        places = Places(camera.zones, camera.lines, camera.speeds, camera.privacy.masks)
        for fault in find_faults(places):
            _fail(source, f"$.cameras[{index}].{fault.place}", fault.expected, fault.found)


def _check_fleet_key(key: str, source: str) -> None:
    try:
        load_point(base64.b64decode(key))
    except TrustError:
        _fail(source, "$.examples.key", "a key that `vigil fleet examples-key` printed", key)


def _fail(source: str, place: str, expected: str, found: object) -> None:
    message = f"{source}: at {place}: expected {expected}, found {found!r}"
    raise ConfigError(message, hint=f"correct {place} in {source}")


def _absolute(config: Config, folder: Path) -> Config:
    state_dir = str(folder / config.state_dir)
    return replace(
        config,
        state_dir=state_dir,
        runtime_dir=str(folder / config.runtime_dir),
        key=located(key_config(config.key), folder),
        trust_root=str(folder / config.trust_root),
        broker=_absolute_broker(config.broker, folder),
        cameras=[_absolute_camera(camera, folder) for camera in config.cameras],
        console=_absolute_console(config.console, folder),
        update=_absolute_update(config.update, folder),
        opentelemetry=_absolute_collector(config.opentelemetry, folder),
    )


def _absolute_update(update: UpdateConfig, folder: Path) -> UpdateConfig:
    repository = update.repository
    if repository is None or repository.ca is None:
        return update
    return replace(update, repository=replace(repository, ca=str(folder / repository.ca)))


def _absolute_collector(
    collector: OpenTelemetryConfig | None, folder: Path
) -> OpenTelemetryConfig | None:
    if collector is None:
        return None
    return replace(
        collector,
        ca=_absolute_path(collector.ca, folder),
        token_file=_absolute_path(collector.token_file, folder),
    )


def _absolute_broker(broker: BrokerConfig, folder: Path) -> BrokerConfig:
    if broker.tls is None:
        return broker
    tls = broker.tls
    paths = TlsConfig(
        ca=str(folder / tls.ca), cert=str(folder / tls.cert), key=str(folder / tls.key)
    )
    return replace(broker, tls=paths)


def _absolute_camera(camera: CameraConfig, folder: Path) -> CameraConfig:
    is_url = ":" in camera.source.split("/", 1)[0]
    secret = camera.password_file
    return replace(
        camera,
        source=camera.source if is_url else str(folder / camera.source),
        password_file=None if secret is None else str(folder / secret),
    )


def _absolute_console(console: ConsoleConfig, folder: Path) -> ConsoleConfig:
    return replace(
        console,
        token_file=_absolute_path(console.token_file, folder),
        operator_token_file=_absolute_path(console.operator_token_file, folder),
        tls_cert=_absolute_path(console.tls_cert, folder),
        tls_key=_absolute_path(console.tls_key, folder),
    )


def _absolute_path(path: str | None, folder: Path) -> str | None:
    return None if path is None else str(folder / path)
