"""Which machine this is: facts for choosing a profile and a model variant.

Nothing here imports a runtime or opens a device: only small files under `root` are read, so that the
control process stays small and a test can show any board as a folder.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from agent.schema.profile import BoardFacts
from agent.schema.values import BackendName

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTIONS: dict[BackendName, tuple[str, ...]] = {
    BackendName.ONNXRUNTIME: ("onnxruntime", "onnxruntime-gpu"),
    BackendName.LITERT: ("ai-edge-litert", "tflite-runtime"),
    BackendName.TENSORRT: ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
}
# Coral USB accelerator: as it powers up (Global Unichip), and with its firmware loaded (Google).
_EDGETPU_USB = frozenset({("1a6e", "089a"), ("18d1", "9302")})
_EDGETPU_PCIE = ("dev/apex_0",)
# Jetson's integrated GPU (L4T), and a discrete one.
_CUDA = ("dev/nvhost-gpu", "dev/nvgpu/igpu0", "dev/nvidia0")
_TENSORRT = ("usr/lib/*/libnvinfer.so.*", "usr/lib/libnvinfer.so.*")


def read_facts(root: Path = Path("/"), machine: str | None = None) -> BoardFacts:
    """Read what is known of this board; what cannot be read is empty, zero or false.

    Args:
        root: Where `/proc`, `/sys`, `/dev` and `/usr` are looked for.
        machine: Architecture as `platform.machine()` names it; None for this process's own.
    """
    cpu = _text(root / "proc/cpuinfo")
    return BoardFacts(
        model=_model(root),
        compatible=_compatible(root),
        architecture=machine or platform.machine(),
        cores=_cores(cpu),
        memory_mb=_memory_mb(_text(root / "proc/meminfo")),
        cpu_aes=_has_aes(cpu),
        backends=installed_backends(),
        accelerators=_accelerators(root),
    )


def installed_backends() -> dict[BackendName, str]:
    """Return the version of each inference runtime that is installed for this Python."""
    found = {name: _first_version(names) for name, names in DISTRIBUTIONS.items()}
    return {name: version for name, version in found.items() if version}


def _first_version(distributions: Iterable[str]) -> str:
    return next(filter(None, map(_version, distributions)), "")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _compatible(root: Path) -> list[str]:
    text = _text(root / "proc/device-tree/compatible")
    return [name for name in text.split("\0") if name]


def _model(root: Path) -> str:
    tree = _text(root / "proc/device-tree/model").rstrip("\0")
    return tree or _text(root / "sys/class/dmi/id/product_name").strip() or "unknown"


def _cores(cpu: str) -> int:
    listed = sum(line.startswith("processor") for line in cpu.splitlines())
    return listed or os.cpu_count() or 1


def _memory_mb(meminfo: str) -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def _has_aes(cpu: str) -> bool:
    """Say whether the CPU has AES instructions; ARM lists them as `Features`, x86 as `flags`."""
    lines = (line.partition(":") for line in cpu.splitlines())
    return any(
        "aes" in values.split() for key, _, values in lines if key.strip() in {"Features", "flags"}
    )


def _accelerators(root: Path) -> dict[str, bool]:
    return {
        "edgetpu": _any_path(root, _EDGETPU_PCIE) or bool(_EDGETPU_USB & _usb_devices(root)),
        "cuda": _any_path(root, _CUDA),
        "tensorrt": _any_path(root, _TENSORRT),
    }


def _usb_devices(root: Path) -> frozenset[tuple[str, str]]:
    devices = (root / "sys/bus/usb/devices").glob("*/idVendor")
    return frozenset((_text(v).strip(), _text(v.with_name("idProduct")).strip()) for v in devices)


def _any_path(root: Path, patterns: Iterable[str]) -> bool:
    return any(next(root.glob(pattern), None) is not None for pattern in patterns)
