"""Memory pressure: how long tasks had to wait for memory (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import re
from pathlib import Path

from agent.host.reading import text

_SOME = re.compile(r"^some avg10=(\d+\.\d+)", re.MULTILINE)
_MOST = 100.0


def memory_pressure(root: Path = Path("/")) -> float | None:
    """Return the percent of the last 10 s in which some task waited; None where the kernel does not tell."""
    found = _SOME.search(text(root / "proc/pressure/memory"))
    share = float(found[1]) if found else None
    return share if share is not None and share <= _MOST else None
