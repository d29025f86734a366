"""Why a board is slower than it could be: Raspberry Pi's flags, Jetson's power mode and over-current.

Sources: Raspberry Pi documentation, "vcgencmd", `get_throttled`; NVIDIA Jetson Linux Developer Guide,
"Platform Power and Performance" (nvpmodel, over-current throttling).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from agent.host.reading import number, text
from agent.schema.facts import Throttling

# Bit 0 to 3 of `get_throttled`: now; the same 16 bits higher: since the start.
_FLAGS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_SINCE_START = 16
_FIRMWARE = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc*/*firmware*/get_throttled",
    "sys/devices/platform/*firmware*/get_throttled",
)
_COMMAND_TIMEOUT_S = 2.0
_REAL_ROOT = Path("/")


def throttling(root: Path = _REAL_ROOT) -> Throttling:
    """Return the flags by name; empty lists where the board has none to show."""
    flags = _pi_flags(root)
    return Throttling(
        now=_named(flags),
        earlier=_named(flags >> _SINCE_START),
        over_current=over_current(root),
    )


def over_current(root: Path = _REAL_ROOT) -> dict[str, int]:
    """Return Jetson's over-current events since the start, by counter."""
    counters = sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"))
    values = {path.name.partition("_")[0]: number(path) for path in counters}
    return {name: value for name, value in values.items() if value is not None}


def power_mode(root: Path = _REAL_ROOT) -> str:
    """Return the name of the Jetson's power mode, its number if it has no name, or an empty string.

    `nvpmodel` keeps the mode's number in its status file; the names differ by module and JetPack and
    stand in its configuration.
    """
    mode = re.search(r"pmode:\s*(\d+)", text(root / "var/lib/nvpmodel/status"))
    catalogue = text(root / "etc/nvpmodel.conf")
    default = re.search(r"<\s*PM_CONFIG\s+DEFAULT\s*=\s*(\d+)", catalogue)
    chosen = mode or default
    if chosen is None:
        return ""
    names = re.findall(r"<\s*POWER_MODEL\s+ID\s*=\s*(\d+)\s+NAME\s*=\s*([^\s>]+)", catalogue)
    by_number: dict[int, str] = {int(identity): name for identity, name in names}
    return by_number.get(int(chosen[1]), str(int(chosen[1])))


def _pi_flags(root: Path) -> int:
    for pattern in _FIRMWARE:
        for path in root.glob(pattern):
            # The firmware driver writes hexadecimal digits without a prefix.
            try:
                return int(text(path), 16)
            except ValueError:
                continue
    return _ask_firmware() if root == _REAL_ROOT else 0


def _ask_firmware() -> int:
    try:
        answer = subprocess.run(
            ["vcgencmd", "get_throttled"],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", answer.stdout)
    return int(found[1], 16) if found else 0


def _named(flags: int) -> list[str]:
    return [name for bit, name in enumerate(_FLAGS) if flags >> bit & 1]
