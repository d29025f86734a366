"""`python -m agent.update.selfupdate.install BUNDLE SLOT VERSION`: fill an environment from a bundle, without network.

A process of its own, because it takes long and much memory. The environment is emptied first; everything is on disk
before it ends with 0. Its last line on standard error says what went wrong.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from agent.errors import PackageError, StorageError, VigilError

_WHEEL = re.compile(r"[A-Za-z0-9_.+]+(-[A-Za-z0-9_.+]+){4,5}\.whl")
_PIP = ("install", "--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check")
_MAX_WHEELS = 200
_MAX_BYTES = 4 << 30
# What a daemon of the new version loads: one that cannot even be imported is never started.
_CHECK = "import agent, agent.app, agent.cli, agent.config; print(agent.__version__)"


def install(bundle: Path, slot: Path, version: str) -> None:
    """Make `slot` an environment with the wheels of `bundle`, and see that the agent in it can be loaded.

    Raises:
        PackageError: Not a bundle of wheels (`package.bundle`), it does not install (`package.install`) or cannot
            be loaded (`package.import`).
        StorageError: The environment cannot be written.
    """
    wheels = slot / "wheels"
    try:
        _empty(slot)
        wheels.mkdir()
        _unpack(bundle, wheels)
    except OSError as error:
        raise StorageError(f"{slot}: {error.strerror or error}") from error
    _run("package.install", sys.executable, "-m", "venv", *_shared(), str(slot))
    python = str(slot / "bin/python")
    files = sorted(str(path) for path in wheels.iterdir())
    _run("package.install", python, "-m", "pip", *_PIP, *files)
    found = _run("package.import", python, "-c", _CHECK).strip()
    if found != version:
        message = f"the bundle of {version} brings agent {found}"
        raise PackageError(message, code="package.install")
    shutil.rmtree(wheels)
    os.sync()


def _empty(slot: Path) -> None:
    """Empty the folder without removing it: its parent need not be ours."""
    slot.mkdir(exist_ok=True)
    for path in slot.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _unpack(bundle: Path, folder: Path) -> None:
    count = size = 0
    try:
        with tarfile.open(bundle, "r:") as archive:
            for member in archive:
                count, size = count + 1, size + member.size
                source = archive.extractfile(member) if member.isreg() else None
                is_wheel = _WHEEL.fullmatch(member.name) is not None
                if source is None or not is_wheel or count > _MAX_WHEELS or size > _MAX_BYTES:
                    message = f"bundle: expected wheels only, found {member.name[:80]!r}"
                    raise PackageError(message, code="package.bundle")
                with (folder / member.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except tarfile.TarError as error:
        raise PackageError(f"bundle: {error}", code="package.bundle") from error


def _shared() -> tuple[str, ...]:
    """Return the option that lets the environment see the system's packages, if this one does (JetPack)."""
    own = Path(sys.prefix) / "pyvenv.cfg"
    text = own.read_text("utf-8") if own.exists() else ""
    sees = re.search(r"^include-system-site-packages\s*=\s*true", text, re.MULTILINE)
    return ("--system-site-packages",) if sees else ()


def _run(code: str, *command: str) -> str:
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PIP_CONFIG_FILE": os.devnull}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        last = said[-1][:300] if said else f"exit status {ended.returncode}"
        raise PackageError(f"{Path(command[0]).name} {command[2][:12]}: {last}", code=code)
    return ended.stdout


def main() -> None:
    """Install, or say what went wrong and end with 1."""
    bundle, slot, version = sys.argv[1:]
    try:
        install(Path(bundle), Path(slot), version)
    except VigilError as error:
        sys.exit(f"{error.code} {error}")


if __name__ == "__main__":
    main()
