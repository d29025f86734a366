"""What a machine is made of: processor, CUDA device, storage, cameras, accelerators.

Nothing is opened but small files: device nodes are looked for, never used.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from agent.host.reading import any_path, number, text
from agent.schema.facts import CameraDevice, Cpu, Gpu, Storage

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEATURES = (
    "aes", "sha2", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
    "sha_ni", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
)  # fmt: skip
# Arm's CPU part numbers, from Linux, arch/arm64/include/asm/cputype.h.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd42": "Cortex-A78AE",
    "0x004": "Carmel",
}
# Coral USB accelerator: as it powers up (Global Unichip), and with its firmware loaded (Google).
_EDGETPU_USB = frozenset({("1a6e", "089a"), ("18d1", "9302")})
# Coral on PCIe (Global Unichip 1ac1:089a); the node is there once its driver is.
_EDGETPU_PCI = ("0x1ac1", "0x089a")
_EDGETPU_NODE = ("dev/apex_0",)
# Jetson's integrated GPU (L4T), and a discrete one.
_CUDA = ("dev/nvhost-gpu", "dev/nvgpu/igpu0", "dev/nvidia0")
_TENSORRT = ("usr/lib/*/libnvinfer.so.*", "usr/lib/libnvinfer.so.*")
# Compute capability: NVIDIA, "CUDA GPU Compute Capability"; by device-tree name of the SoC, …
_SOC_GPUS = {
    "nvidia,tegra210": ("Tegra X1 (Maxwell)", "5.3"),
    "nvidia,tegra186": ("Tegra X2 (Pascal)", "6.2"),
    "nvidia,tegra194": ("Xavier (Volta)", "7.2"),
    "nvidia,tegra234": ("Orin (Ampere)", "8.7"),
    "nvidia,tegra264": ("Thor (Blackwell)", "11.0"),
}
# … and by the name that the driver gives a discrete GPU.
_DISCRETE_GPUS = (
    (r"\bT4\b|RTX 20\d0|T1000|T600\b", "7.5"),
    (r"\bA100\b|\bA30\b", "8.0"),
    (r"\bA(2|10|16|40)\b|RTX 30\d0|RTX A\d000", "8.6"),
    (r"\bL4\b|\bL40S?\b|RTX 40\d0|RTX \d000 Ada", "8.9"),
    (r"\bH100\b|\bH200\b|\bGH200\b", "9.0"),
    (r"\bB200\b|\bGB200\b", "10.0"),
    (r"RTX 50\d0|RTX PRO \d000 Blackwell", "12.0"),
)


def read_cpu(cpuinfo: str) -> Cpu:
    """Return name and features from `/proc/cpuinfo`; ARM calls them `Features`, x86 `flags`."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    listed = set(fields.get("Features", fields.get("flags", "")).split())
    name = fields.get("model name") or _ARM_PARTS.get(fields.get("CPU part", "").lower(), "")
    return Cpu(name=name, features=[feature for feature in _FEATURES if feature in listed])


def cores(cpuinfo: str) -> int:
    """Return the number of processors that the kernel lists."""
    listed = sum(line.startswith("processor") for line in cpuinfo.splitlines())
    return listed or os.cpu_count() or 1


def memory_mb(meminfo: str, field: str = "MemTotal") -> int:
    """Return a field of `/proc/meminfo`, MiB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def read_gpu(root: Path, compatible: Iterable[str]) -> Gpu:
    """Return the CUDA device: a Jetson's by its SoC, a discrete one as its driver names it."""
    for name in compatible:
        if name in _SOC_GPUS:
            title, capability = _SOC_GPUS[name]
            return Gpu(name=title, compute_capability=capability)
    driver = re.search(
        r"Kernel Module\s+(?:for \S+\s+)?(\d[\d.]+)", text(root / "proc/driver/nvidia/version")
    )
    cards = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    found = re.search(r"^Model:\s*(.+)$", text(cards[0]) if cards else "", re.MULTILINE)
    model = found[1].strip() if found else ""
    return Gpu(
        name=model,
        compute_capability=_capability(model),
        driver=driver[1] if driver else "",
    )


def accelerators(root: Path) -> dict[str, bool]:
    """Return which accelerators are there, by name."""
    edgetpu = (
        any_path(root, _EDGETPU_NODE)
        or bool(_EDGETPU_USB & _usb_devices(root))
        or _EDGETPU_PCI in _pci_devices(root)
    )
    return {
        "edgetpu": edgetpu,
        "cuda": any_path(root, _CUDA),
        "tensorrt": any_path(root, _TENSORRT),
    }


def read_storage(root: Path) -> Storage:
    """Return what `/` lies on: kind by the name of its device, size and free space, MiB."""
    mounts = [line.split() for line in text(root / "proc/mounts").splitlines()]
    devices = [fields[0] for fields in mounts if fields[1:2] == ["/"]]
    kind = _storage_kind(root, devices[-1]) if devices else ""
    try:
        figures = os.statvfs(root)
    except OSError:
        return Storage(kind=kind)
    block_mb = figures.f_frsize / 2**20
    return Storage(
        kind=kind,
        total_mb=int(figures.f_blocks * block_mb),
        free_mb=int(figures.f_bavail * block_mb),
    )


def capture_devices(root: Path) -> list[CameraDevice]:
    """Return the video devices by number, as their drivers name them."""
    folders = (root / "sys/class/video4linux").glob("video*")
    by_number = sorted(folders, key=lambda folder: int(re.sub(r"\D", "", folder.name) or 0))
    return [
        CameraDevice(device=f"/dev/{folder.name}", name=text(folder / "name"))
        for folder in by_number
    ]


def _capability(model: str) -> str:
    return next((found for pattern, found in _DISCRETE_GPUS if re.search(pattern, model)), "")


def _storage_kind(root: Path, device: str) -> str:
    name = device.rpartition("/")[2]
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("mmcblk"):
        disk = re.sub(r"p\d+$", "", name)
        return {"SD": "sd", "MMC": "emmc"}.get(text(root / f"sys/block/{disk}/device/type"), "sd")
    disk = re.sub(r"\d+$", "", name)
    rotates = number(root / f"sys/block/{disk}/queue/rotational")
    return "" if rotates is None else "disk" if rotates else "ssd"


def _usb_devices(root: Path) -> frozenset[tuple[str, str]]:
    devices = (root / "sys/bus/usb/devices").glob("*/idVendor")
    return frozenset((text(vendor), text(vendor.with_name("idProduct"))) for vendor in devices)


def _pci_devices(root: Path) -> frozenset[tuple[str, str]]:
    devices = (root / "sys/bus/pci/devices").glob("*/vendor")
    return frozenset((text(vendor), text(vendor.with_name("device"))) for vendor in devices)
