"""Temperature of the board, from the kernel's thermal zones (Documentation/driver-api/thermal/sysfs-api)."""

from __future__ import annotations

from pathlib import Path

# Jetson's PMIC zone is a constant 100 degrees, not a measurement.
_NOT_MEASURED = frozenset({"PMIC-Die"})
_PLAUSIBLE_C = (-40.0, 150.0)


def temperature_c(root: Path = Path("/")) -> float | None:
    """Return the hottest plausible thermal zone, degrees Celsius; None when there is none to read."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*")
    readings = [_zone_c(zone) for zone in zones]
    low, high = _PLAUSIBLE_C
    return max(
        (value for value in readings if value is not None and low < value < high), default=None
    )


def _zone_c(zone: Path) -> float | None:
    try:
        if (zone / "type").read_text("ascii").strip() in _NOT_MEASURED:
            return None
        return int((zone / "temp").read_text("ascii")) / 1000
    except (OSError, ValueError):
        # Zones of parts that are powered down refuse to be read; the others still count.
        return None
