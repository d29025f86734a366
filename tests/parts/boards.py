"""Boards as folders: what `/proc`, `/sys`, `/dev`, `/etc`, `/usr` and `/var` look like on them.

Written from documentation, not copied from devices. Sources: device-tree names from Linux,
Documentation/devicetree/bindings/arm/bcm/bcm2835.yaml and arch/arm64/boot/dts/broadcom; CPU parts from
arch/arm64/include/asm/cputype.h; throttling flags from Raspberry Pi's documentation of `vcgencmd
get_throttled`, whose driver shows them as hexadecimal digits; USB and PCI ids of the Coral from its own
udev rules; memory as `free` shows it on a board of that size; `/proc/driver/nvidia` from the README of
NVIDIA's driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ARM_CPU = "processor\t: {n}\nFeatures\t: {features}\nCPU part\t: {part}\n\n"
_X86_CPU = "processor\t: {n}\nmodel name\t: {name}\nflags\t\t: {features}\n\n"
_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
_PI_RUNTIMES = {"ai-edge-litert": "2.3.0", "onnxruntime": "1.32.0", "numpy": "2.4.6"}
_A53 = "fp asimd evtstrm crc32 cpuid"
_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def put(root: Path, path: str, text: str = "") -> None:
    """Write one file of the board."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def install(root: Path, python: str, **packages: str) -> None:
    """Install Python packages for the system's Python, names with `_` for `-`."""
    put(root, f"usr/bin/python{python}")
    for name, version in packages.items():
        info = f"usr/lib/python{python}/dist-packages/{name}-{version}.dist-info/METADATA"
        put(root, info, _METADATA.format(name=name.replace("_", "-"), version=version))


def tree(root: Path, model: str, *compatible: str) -> None:
    """Write the device tree's names."""
    put(root, "proc/device-tree/model", f"{model}\0")
    put(root, "proc/device-tree/compatible", "".join(f"{name}\0" for name in compatible))
    put(root, "proc/sys/kernel/arch", "aarch64\n")


def arm_cpu(root: Path, cores: int, part: str, features: str) -> None:
    """Write `/proc/cpuinfo` of ARM cores."""
    lines = [_ARM_CPU.format(n=n, features=features, part=part) for n in range(cores)]
    put(root, "proc/cpuinfo", "".join(lines))


def memory(root: Path, total_kb: int, swap_kb: int = 0) -> None:
    """Write `/proc/meminfo`."""
    put(
        root, "proc/meminfo", f"MemTotal: {total_kb} kB\nMemFree: 100 kB\nSwapTotal: {swap_kb} kB\n"
    )


def zones(root: Path, **millidegrees: int | str) -> None:
    """Write thermal zones, names with `_` for `-`."""
    for number, (name, value) in enumerate(millidegrees.items()):
        put(root, f"sys/class/thermal/thermal_zone{number}/type", name.replace("_", "-") + "\n")
        put(root, f"sys/class/thermal/thermal_zone{number}/temp", f"{value}\n")


def disk(root: Path, device: str, kind: str = "") -> None:
    """Say where `/` is mounted from; `kind` is what an SD host says of its card."""
    put(root, "proc/mounts", f"/dev/{device} / ext4 rw,noatime 0 0\n")
    if kind:
        put(root, f"sys/block/{device.partition('p')[0]}/device/type", f"{kind}\n")


def _raspberry_pi(root: Path, throttled: str = "0") -> None:
    put(root, "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
    put(root, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{throttled}\n")
    install(root, "3.13", **{name.replace("-", "_"): v for name, v in _PI_RUNTIMES.items()})
    disk(root, "mmcblk0p2", "SD")


def raspberry_pi_5(root: Path) -> Path:
    """A Raspberry Pi 5 with 8 GB on NVMe, with a camera module."""
    tree(root, "Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712")
    arm_cpu(root, 4, "0xd0b", _A76)
    memory(root, 8255264, 2097148)
    _raspberry_pi(root)
    disk(root, "nvme0n1p2")
    zones(root, cpu_thermal=48850)
    put(root, "sys/class/video4linux/video0/name", "rp1-cfe-csi2_ch0\n")
    return root


def raspberry_pi_4(root: Path) -> Path:
    """A Raspberry Pi 4 with 4 GB and a weak power supply: under-voltage once, throttled now."""
    tree(root, "Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b", "brcm,bcm2711")
    arm_cpu(root, 4, "0xd08", _A53)
    memory(root, 3884352, 524284)
    _raspberry_pi(root, "50004")
    zones(root, cpu_thermal=81794)
    put(root, "sys/class/video4linux/video0/name", "UVC Camera (046d:0825)\n")
    return root


def raspberry_pi_4_coral(root: Path) -> Path:
    """A Raspberry Pi 4 with 2 GB, without AES, with a Coral stick that has its firmware loaded."""
    tree(root, "Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b", "brcm,bcm2711")
    arm_cpu(root, 4, "0xd08", _A53)
    memory(root, 1892788)
    _raspberry_pi(root)
    zones(root, cpu_thermal=55017)
    dpkg(root, libedgetpu1_std="16.0tf2.17.1-1")
    put(root, "sys/bus/usb/devices/usb1/idVendor", "1d6b\n")
    put(root, "sys/bus/usb/devices/usb1/idProduct", "0002\n")
    put(root, "sys/bus/usb/devices/2-1/idVendor", "18d1\n")
    put(root, "sys/bus/usb/devices/2-1/idProduct", "9302\n")
    return root


def raspberry_pi_3(root: Path) -> Path:
    """A Raspberry Pi 3 B+ with 1 GB."""
    tree(root, "Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus", "brcm,bcm2837")
    arm_cpu(root, 4, "0xd03", _A53)
    memory(root, 929676, 102396)
    _raspberry_pi(root, "80008")
    zones(root, cpu_thermal=60148)
    return root


def raspberry_pi_zero_2_w(root: Path) -> Path:
    """A Raspberry Pi Zero 2 W."""
    tree(root, "Raspberry Pi Zero 2 W Rev 1.0", "raspberrypi,model-zero-2-w", "brcm,bcm2837")
    arm_cpu(root, 4, "0xd03", _A53)
    memory(root, 426700, 102396)
    _raspberry_pi(root)
    zones(root, cpu_thermal=47236)
    return root


def generic_arm64(root: Path) -> Path:
    """A Radxa Rock 5B: a board that no profile knows."""
    tree(root, "Radxa ROCK 5B", "radxa,rock-5b", "rockchip,rk3588")
    arm_cpu(root, 8, "0xd0b", _A76)
    memory(root, 7927496)
    install(root, "3.11", ai_edge_litert="2.3.0", onnxruntime="1.32.0", numpy="2.4.6")
    zones(root, soc_thermal=41615, bigcore0_thermal=42538)
    disk(root, "mmcblk0p3", "MMC")
    return root


def small_pc(root: Path) -> Path:
    """An x86 box with a BIOS and no device tree."""
    _pc(root, "NUC11ATKC4", "Intel(R) Celeron(R) N4505 @ 2.00GHz", "fpu aes sha_ni", cores=2)
    memory(root, 16161616)
    install(root, "3.11", ai_edge_litert="2.3.0", onnxruntime="1.32.0", numpy="2.4.6")
    return root


def cuda_server(root: Path) -> Path:
    """An on-premises server with a T4, CUDA 12.4 and onnxruntime-gpu."""
    _pc(
        root, "PowerEdge R650", "Intel(R) Xeon(R) Silver 4310", "fpu aes avx2 fma avx512f", cores=16
    )
    memory(root, 65680000, 8388604)
    put(root, "dev/nvidia0")
    put(
        root,
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n",
    )
    put(
        root, "proc/driver/nvidia/gpus/0000:3b:00.0/information", "Model: \t\t Tesla T4\nIRQ: 130\n"
    )
    put(root, "usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}')
    install(root, "3.12", ai_edge_litert="2.3.0", onnxruntime_gpu="1.22.0", numpy="2.4.6")
    disk(root, "nvme0n1p2")
    return root


def _pc(root: Path, product: str, name: str, features: str, cores: int) -> None:
    put(root, "sys/class/dmi/id/product_name", f"{product}\n")
    put(root, "proc/sys/kernel/arch", "x86_64\n")
    lines = [_X86_CPU.format(n=n, name=name, features=features) for n in range(cores)]
    put(root, "proc/cpuinfo", "".join(lines))
    put(root, "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    put(root, "proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    put(root, "sys/block/sda/queue/rotational", "0\n")
    zones(root, x86_pkg_temp=44000)


def dpkg(root: Path, **packages: str) -> None:
    """Write dpkg's list of installed packages, names with `_` for `-`."""
    paragraphs = [
        f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nVersion: {version}\n"
        for name, version in packages.items()
    ]
    put(root, "var/lib/dpkg/status", "\n".join(paragraphs))
