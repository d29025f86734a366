"""What the kernel tells of the disk under a folder: device, wear, recorded errors.

Sources: Linux, Documentation/ABI/testing/sysfs-bus-mmc and drivers/mmc (`life_time`, `pre_eol_info`),
Documentation/ABI/testing/sysfs-fs-ext4 (`errors_count`). SD cards and NVMe tell no wear in sysfs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent.host.reading import number, text

_STEP_PERCENT = 10


@dataclass(frozen=True)
class StorageHealth:
    """Device (empty when not known), eMMC's estimate of wear (%) and warning level, errors of ext4."""

    device: str = ""
    life_percent: int | None = None
    pre_eol: int | None = None
    errors: int = 0


def storage_health(folder: Path, root: Path = Path("/")) -> StorageHealth:
    """Return what is known of the device that `folder` lies on."""
    link = root / "sys/dev/block" / _numbers(folder)
    if not link.exists():
        return StorageHealth()
    partition = link.resolve()
    disk = partition.parent if (partition / "partition").exists() else partition
    worst = max((int(part, 16) for part in text(disk / "device/life_time").split()), default=0)
    return StorageHealth(
        device=f"/dev/{partition.name}",
        # 0x01 is 0 to 10 % used, 0x0b more than all of it; 0 says nothing.
        life_percent=worst * _STEP_PERCENT if worst else None,
        pre_eol=number(disk / "device/pre_eol_info"),
        errors=number(root / "sys/fs/ext4" / partition.name / "errors_count") or 0,
    )


def _numbers(folder: Path) -> str:
    device = folder.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"
