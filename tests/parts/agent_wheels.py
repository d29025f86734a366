"""Wheels of this very project, built once, and other versions made of them by changing files inside.

wheel = Wheels(folder).version("2.0.0", {"agent/app/__init__.py": ("", "import nonsense")})
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from agent import __version__

_ROOT = Path(__file__).parents[2]
Edits = Mapping[str, tuple[str, str]]
# Its worker cannot open a camera, and it reads the configuration in another schema.
_OPENING = "        detectors, loaded = self._model()\n        scene = Scene("
BLIND: Edits = {
    "agent/vision/worker.py": (
        _OPENING,
        f'        raise CommandError("this version is blind")\n{_OPENING}',
    ),
    "agent/schema/config.py": ("CONFIG_SCHEMA = 1", "CONFIG_SCHEMA = 2"),
    "agent/schema/config_versions.py": (
        "= {}\n\n\ndef migrate",
        "= {1: Step(lambda old: {**old, 'profile': 'auto'}, dict)}\n\n\ndef migrate",
    ),
}
NONSENSE: Edits = {"agent/app/__init__.py": ('"""', 'import no_such_module\n"""')}


class Wheels:
    """Builds into `folder`, one sub-folder for each version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        built = folder / "built"
        command = [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "-d",
            str(built),
        ]
        subprocess.run(command, cwd=_ROOT, check=True, capture_output=True)
        (self._own,) = built.glob("vigil_agent-*.whl")

    def version(self, version: str, edits: Edits | None = None) -> Path:
        """Return a folder with the wheel of another version; `edits` replace text in files."""
        out = self._folder / version
        out.mkdir()
        changes: dict[str, tuple[str, str]] = {
            **(edits or {}),
            "agent/__init__.py": (f'"{__version__}"', f'"{version}"'),
        }
        name = f"vigil_agent-{version}"
        with (
            zipfile.ZipFile(self._own) as source,
            zipfile.ZipFile(out / f"{name}-py3-none-any.whl", "w") as target,
        ):
            names = []
            for member in source.namelist():
                path = member.replace(f"vigil_agent-{__version__}", name)
                data = source.read(member)
                if path.endswith("/RECORD"):
                    record = path
                    continue
                if path.endswith(".dist-info/METADATA"):
                    changes[path] = (f"\nVersion: {__version__}\n", f"\nVersion: {version}\n")
                if path in changes:
                    data = _edited(data.decode(), *changes[path]).encode()
                target.writestr(path, data)
                names.append(path)
            lines = [*(f"{path},," for path in names), f"{record},,"]
            target.writestr(record, "\n".join(lines) + "\n")
        return out


def _edited(text: str, before: str, after: str) -> str:
    assert before in text, f"{before!r} is not there any more"
    return text.replace(before, after, 1)
