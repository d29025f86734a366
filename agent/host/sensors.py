"""Temperatures and power, from the kernel's thermal zones and hardware monitors.

Sources: Documentation/driver-api/thermal/sysfs-api (millidegrees), Documentation/hwmon/sysfs-interface
(millivolts, milliamperes), Documentation/hwmon/ina3221. Every reader takes a root folder.
"""

from __future__ import annotations

from pathlib import Path

from agent.host.reading import number, text
from agent.schema.facts import Rail, ThermalZone

# Jetson's PMIC zone is a constant 100 degrees, not a measurement.
_NOT_MEASURED = frozenset({"PMIC-Die"})
_PLAUSIBLE_C = (-40.0, 150.0)
_POWER_MONITORS = ("ina3221", "ina219", "ina226", "ina238")
_MAX_CHANNELS = 8


def temperature_c(root: Path = Path("/")) -> float | None:
    """Return the hottest plausible thermal zone, degrees Celsius; None when there is none to read."""
    readings = [zone.temperature_c for zone in thermal_zones(root)]
    return max((value for value in readings if value is not None), default=None)


def thermal_zones(root: Path = Path("/")) -> list[ThermalZone]:
    """Return the thermal zones that measure something, by number; degrees that make no sense are null."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=_number_of)
    named = [(zone, text(zone / "type") or zone.name) for zone in zones]
    return [
        ThermalZone(name=name, temperature_c=_plausible_c(number(zone / "temp")))
        for zone, name in named
        if name not in _NOT_MEASURED
    ]


def implausible(root: Path = Path("/")) -> list[str]:
    """Return the thermal zones without a believable reading, each with what it said."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=_number_of)
    problems = []
    for zone in zones:
        value = number(zone / "temp")
        if _plausible_c(value) is None and text(zone / "type") not in _NOT_MEASURED:
            said = "cannot be read" if value is None else f"says {value / 1000:.0f} degrees"
            problems.append(f"thermal zone {text(zone / 'type') or zone.name} {said}")
    return problems


def power_rails(root: Path = Path("/")) -> list[Rail]:
    """Return the power of every labelled channel of an INA power monitor, milliwatts."""
    monitors = sorted((root / "sys/class/hwmon").glob("hwmon*"), key=_number_of)
    return [
        rail
        for monitor in monitors
        if text(monitor / "name") in _POWER_MONITORS
        for rail in _rails_of(monitor)
    ]


def _rails_of(monitor: Path) -> list[Rail]:
    rails = []
    for channel in range(1, _MAX_CHANNELS + 1):
        label = text(monitor / f"in{channel}_label")
        volts_mv, amperes_ma = (
            number(monitor / f"{kind}{channel}_input") for kind in ("in", "curr")
        )
        if label and volts_mv is not None and amperes_ma is not None:
            rails.append(Rail(name=label, power_mw=round(volts_mv * amperes_ma / 1000, 1)))
    return rails


def _plausible_c(millidegrees: int | None) -> float | None:
    low, high = _PLAUSIBLE_C
    if millidegrees is None or not low < millidegrees / 1000 < high:
        return None
    return millidegrees / 1000


def _number_of(path: Path) -> int:
    digits = "".join(letter for letter in path.name if letter.isdigit())
    return int(digits or 0)
