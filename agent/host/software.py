"""Versions of what the agent stands on: system, Jetson Linux, CUDA, vendors' libraries, Python packages.

Sources: NVIDIA's JetPack archive (which JetPack has which Jetson Linux), Jetson Linux' own
`/etc/nv_tegra_release`, dpkg(1) for `/var/lib/dpkg/status`, the NVIDIA driver's README for
`/proc/driver/nvidia`.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from agent.host.reading import text
from agent.schema.facts import Software

if TYPE_CHECKING:
    from collections.abc import Mapping

DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "ai-edge-litert",
    "tflite-runtime",
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
)
_REAL_ROOT = Path("/")
# Where a device keeps Python packages: the system's, an administrator's, the agent's own environment.
_PYTHON_FOLDERS = (
    "usr/lib/python3*/dist-packages",
    "usr/local/lib/python3*/dist-packages",
    "opt/vigil/current/lib/python3*/site-packages",
    "opt/vigil/lib/python3*/site-packages",
)
# The newest first: one that is newer than a row and older than the row above belongs to the row.
_JETPACKS: tuple[tuple[tuple[int, ...], str], ...] = (
    ((39, 2, 1), "7.2.1"),
    ((39, 2, 0), "7.2"),
    ((38, 4, 0), "7.1"),
    ((38, 2, 0), "7.0"),
    ((36, 5, 0), "6.2.2"),
    ((36, 4, 4), "6.2.1"),
    ((36, 4, 3), "6.2"),
    ((36, 4, 0), "6.1"),
    ((36, 3, 0), "6.0"),
    ((35, 6, 1), "5.1.5"),
    ((35, 6, 0), "5.1.4"),
    ((35, 5, 0), "5.1.3"),
    ((35, 4, 1), "5.1.2"),
    ((35, 3, 1), "5.1.1"),
    ((35, 2, 1), "5.1"),
    ((35, 1, 0), "5.0.2"),
    ((32, 7, 1), "4.6.1"),
    ((32, 6, 1), "4.6"),
    ((32, 0, 0), "4"),
)


def read_software(root: Path = _REAL_ROOT) -> Software:
    """Read what is installed under `root`; what is not there is empty."""
    packages = system_packages(root)
    l4t = _l4t(root)
    return Software(
        system=_release_name(root),
        kernel=text(root / "proc/sys/kernel/osrelease"),
        python=_system_python(root),
        l4t=l4t,
        l4t_packages=_upstream(packages.get("nvidia-l4t-core", "")),
        jetpack=_upstream(packages.get("nvidia-jetpack", "")) or _jetpack(l4t),
        firmware=text(root / "sys/class/dmi/id/bios_version"),
        cuda=_cuda(root),
        tensorrt=_tensorrt(root, packages),
        edgetpu=_upstream(packages.get("libedgetpu1-std", packages.get("libedgetpu1-max", ""))),
        packages=python_packages(root),
    )


def python_packages(root: Path = _REAL_ROOT) -> dict[str, str]:
    """Return the versions of those `DISTRIBUTIONS` that are installed for Python.

    On the real root they are this process's own; under another root those in the usual folders.
    """
    if root == _REAL_ROOT:
        return {name: version for name in DISTRIBUTIONS if (version := _own_version(name))}
    folders = [str(folder) for pattern in _PYTHON_FOLDERS for folder in root.glob(pattern)]
    versions: dict[str, str] = {}
    for found in importlib.metadata.distributions(path=folders):
        # A folder without metadata has no name, whatever the type says.
        name = str(found.metadata["Name"] or "").lower().replace("_", "-")
        if name in DISTRIBUTIONS:
            versions.setdefault(name, found.version)
    return versions


def system_packages(root: Path = _REAL_ROOT) -> dict[str, str]:
    """Return the versions of the installed Debian packages of NVIDIA and Coral, by name."""
    packages = {}
    for paragraph in text(root / "var/lib/dpkg/status").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line)
        name = fields.get("Package", "")
        is_installed = fields.get("Status", "").endswith(" installed")
        if is_installed and name.startswith(("nvidia-", "libnvinfer", "libedgetpu")):
            packages[name] = fields.get("Version", "")
    return packages


def _own_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _release_name(root: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text(root / "etc/os-release"), re.MULTILINE)
    return found[1] if found else ""


def _system_python(root: Path) -> str:
    """Return the version that `/usr/bin/python3` leads to; on the real root this process's own."""
    if root == _REAL_ROOT:
        return platform.python_version()
    found = [re.search(r"3\.\d+$", path.name) for path in root.glob("usr/bin/python3.*")]
    versions = [match[0] for match in found if match]
    return max(versions, key=lambda version: int(version.partition(".")[2]), default="")


def _l4t(root: Path) -> str:
    pattern = r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)"
    found = re.search(pattern, text(root / "etc/nv_tegra_release"))
    return f"{found[1]}.{found[2]}" if found else ""


def _jetpack(l4t: str) -> str:
    if not l4t:
        return ""
    asked = tuple(int(part) for part in l4t.split("."))
    return next((name for release, name in _JETPACKS if asked >= release), "")


def _cuda(root: Path) -> str:
    try:
        tree = json.loads(text(root / "usr/local/cuda/version.json") or "{}")
        return str(tree["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        older = re.search(r"CUDA Version ([\d.]+)", text(root / "usr/local/cuda/version.txt"))
        return older[1] if older else ""


def _tensorrt(root: Path, packages: Mapping[str, str]) -> str:
    """Return the version of the system's library: its package's, else that of its file."""
    named = [version for name, version in packages.items() if re.fullmatch(r"libnvinfer\d+", name)]
    if named:
        return _upstream(named[0])
    files = [*root.glob("usr/lib/*/libnvinfer.so.*"), *root.glob("usr/lib/libnvinfer.so.*")]
    versions = [path.name.partition(".so.")[2] for path in files]
    return max(versions, key=len, default="")


def _upstream(version: str) -> str:
    """Return a Debian version without epoch, revision and build (`10.3.0.30-1+cuda12.5`)."""
    return re.split(r"[-+~]", version.partition(":")[2] or version)[0]
