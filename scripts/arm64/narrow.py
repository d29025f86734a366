"""Print a lock with only what an arm64 Debian with a given Python installs, markers resolved and removed.

python scripts/arm64/narrow.py requirements.lock 3.11
"""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement


def environment(python: str) -> dict[str, str]:
    """Return the markers' values there (PEP 508)."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.2",
        "python_version": python,
        "sys_platform": "linux",
    }


def narrowed(text: str, python: str) -> str:
    """Return `text` without the pins that do not apply, and without markers."""
    kept: list[str] = []
    wanted = False
    for line in text.splitlines():
        if line[:1].isalnum():
            pin = Requirement(line.rstrip(" \\"))
            wanted = pin.marker is None or pin.marker.evaluate(environment(python))
            line = f"{pin.name}{pin.specifier} \\"  # noqa: PLW2901 - the same line, shorter
        if wanted:
            kept.append(line)
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    sys.stdout.write(narrowed(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
