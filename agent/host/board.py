"""Which machine this is: facts for choosing a profile and a model variant.

Nothing here imports a runtime or opens a device: only small files under `root` are read, so that the
control process stays small and a test can show any board as a folder.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from agent.host.hardware import (
    accelerators,
    capture_devices,
    cores,
    memory_mb,
    read_cpu,
    read_gpu,
    read_storage,
)
from agent.host.reading import text
from agent.host.sensors import implausible, power_rails, thermal_zones
from agent.host.software import python_packages, read_software
from agent.host.throttling import power_mode, throttling
from agent.schema.profile import BoardFacts
from agent.schema.values import BackendName

if TYPE_CHECKING:
    from collections.abc import Mapping

DISTRIBUTIONS: dict[BackendName, tuple[str, ...]] = {
    BackendName.ONNXRUNTIME: ("onnxruntime", "onnxruntime-gpu"),
    BackendName.LITERT: ("ai-edge-litert", "tflite-runtime"),
    BackendName.TENSORRT: ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
}


def read_facts(root: Path = Path("/"), machine: str | None = None) -> BoardFacts:
    """Read what is known of this board; what cannot be read is empty, zero or false.

    Args:
        root: Where `/proc`, `/sys`, `/dev`, `/etc`, `/usr` and `/var` are looked for.
        machine: Architecture as `platform.machine()` names it; None asks the recorded board, or this
            process.
    """
    cpuinfo, meminfo = text(root / "proc/cpuinfo"), text(root / "proc/meminfo")
    cpu, compatible, software = read_cpu(cpuinfo), _compatible(root), read_software(root)
    return BoardFacts(
        model=_model(root),
        compatible=compatible,
        architecture=machine or text(root / "proc/sys/kernel/arch") or platform.machine(),
        cores=cores(cpuinfo),
        memory_mb=memory_mb(meminfo),
        cpu_aes="aes" in cpu.features,
        backends=_backends(software.packages),
        accelerators=accelerators(root),
        power_mode=power_mode(root),
        swap_mb=memory_mb(meminfo, "SwapTotal"),
        cpu=cpu,
        gpu=read_gpu(root, compatible),
        storage=read_storage(root),
        thermal=thermal_zones(root),
        throttling=throttling(root),
        rails=power_rails(root),
        cameras=capture_devices(root),
        software=software,
        unreadable=implausible(root),
    )


def installed_backends(root: Path = Path("/")) -> dict[BackendName, str]:
    """Return the version of each inference runtime that is installed for this Python."""
    return _backends(python_packages(root))


def _backends(packages: Mapping[str, str]) -> dict[BackendName, str]:
    versions = {
        name: next((packages[one] for one in names if one in packages), "")
        for name, names in DISTRIBUTIONS.items()
    }
    return {name: version for name, version in versions.items() if version}


def _compatible(root: Path) -> list[str]:
    names = text(root / "proc/device-tree/compatible")
    return [name for name in names.split("\0") if name]


def _model(root: Path) -> str:
    tree = text(root / "proc/device-tree/model")
    return tree or text(root / "sys/class/dmi/id/product_name") or "unknown"
