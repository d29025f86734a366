"""Boards as folders: what `/proc`, `/sys`, `/dev` and `/usr` look like on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ARM_CPU = "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU architecture: 8\n\n"
_X86_CPU = "processor\t: {n}\nvendor_id\t: GenuineIntel\nflags\t\t: {features}\n\n"


def put(root: Path, path: str, text: str = "") -> None:
    """Write one file of the board."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def raspberry_pi_5(root: Path) -> Path:
    """A Raspberry Pi 5 with 8 GB."""
    put(root, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    put(root, "proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0")
    cpu = [_ARM_CPU.format(n=n, features="fp asimd evtstrm aes pmull sha1 sha2") for n in range(4)]
    put(root, "proc/cpuinfo", "".join(cpu))
    put(root, "proc/meminfo", "MemTotal:        8255264 kB\nMemFree: 100 kB\n")
    put(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    put(root, "sys/class/thermal/thermal_zone0/temp", "48850\n")
    return root


def raspberry_pi_4_coral(root: Path) -> Path:
    """A Raspberry Pi 4 with 2 GB, without AES, with a Coral stick that has its firmware loaded."""
    put(root, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    put(root, "proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0")
    cpu = [_ARM_CPU.format(n=n, features="fp asimd evtstrm crc32 cpuid") for n in range(4)]
    put(root, "proc/cpuinfo", "".join(cpu))
    put(root, "proc/meminfo", "MemTotal:        1892788 kB\n")
    put(root, "sys/bus/usb/devices/usb1/idVendor", "1d6b\n")
    put(root, "sys/bus/usb/devices/usb1/idProduct", "0002\n")
    put(root, "sys/bus/usb/devices/2-1/idVendor", "18d1\n")
    put(root, "sys/bus/usb/devices/2-1/idProduct", "9302\n")
    return root


def jetson_orin_nano(root: Path) -> Path:
    """A Jetson Orin Nano developer kit with JetPack 6."""
    put(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    names = "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0"
    put(root, "proc/device-tree/compatible", names)
    cpu = [_ARM_CPU.format(n=n, features="fp asimd aes sha2") for n in range(6)]
    put(root, "proc/cpuinfo", "".join(cpu))
    put(root, "proc/meminfo", "MemTotal:        7802936 kB\n")
    put(root, "dev/nvhost-gpu")
    put(root, "usr/lib/aarch64-linux-gnu/libnvinfer.so.10")
    for number, (kind, value) in enumerate(
        [("cpu-thermal", "49500"), ("gpu-thermal", "51218"), ("PMIC-Die", "100000")]
    ):
        put(root, f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
        put(root, f"sys/class/thermal/thermal_zone{number}/temp", f"{value}\n")
    return root


def small_pc(root: Path) -> Path:
    """An x86 box with a BIOS and no device tree."""
    put(root, "sys/class/dmi/id/product_name", "NUC11ATKC4\n")
    put(
        root, "proc/cpuinfo", "".join(_X86_CPU.format(n=n, features="fpu aes avx2") for n in (0, 1))
    )
    put(root, "proc/meminfo", "MemTotal:       16161616 kB\n")
    return root
