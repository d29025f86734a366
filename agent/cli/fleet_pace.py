"""The fleet's medians, as its controller wrote them and a device reads them."""

from __future__ import annotations

from pathlib import Path

from agent.errors import ConfigError, StorageError
from agent.host.disk import REAL_DISK
from agent.schema.document import Malformed, parse_json
from agent.schema.pace import PACE_VERSION, FleetPaces

_LIMIT = 1 << 20
_HINT = "write it on the controller: vigil fleet pace HOME --json > FILE"


def read_paces(file: Path) -> FleetPaces:
    """Read what `vigil fleet pace --json` wrote.

    Raises:
        ConfigError: It is not such a file.
    """
    try:
        found = parse_json(REAL_DISK.read(file, _LIMIT), FleetPaces)
    except StorageError as error:
        raise ConfigError(str(error), code="fleet.paces", hint=_HINT) from error
    except Malformed as error:
        raise ConfigError(f"{file}: {error}", code="fleet.paces", hint=_HINT) from error
    if found.v != PACE_VERSION:
        message = f"{file}: at $.v: expected {PACE_VERSION}, found {found.v}"
        raise ConfigError(message, code="fleet.paces", hint=_HINT)
    return found
