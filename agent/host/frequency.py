"""How fast the processor's cores run now, by what they could: Linux cpufreq.

Source: Linux kernel documentation, "CPU Performance Scaling" (admin-guide/pm/cpufreq).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.host.reading import number, text

_REAL_ROOT = Path("/")


@dataclass(frozen=True)
class CpuClock:
    """The slowest core: its frequency now and at most, MHz, and who decides (`ondemand`, `performance`…)."""

    now_mhz: float
    max_mhz: float
    governor: str


def cpu_clock(root: Path = _REAL_ROOT) -> CpuClock | None:
    """Return the clock of the core that runs slowest by its own maximum; None where the kernel does not say."""
    found = []
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
        now, most = number(folder / "scaling_cur_freq"), number(folder / "cpuinfo_max_freq")
        if now and most:
            governor = text(folder / "scaling_governor").strip()
            found.append(CpuClock(now / 1000, most / 1000, governor))
    return min(found, key=lambda one: one.now_mhz / one.max_mhz, default=None)
