"""Jetsons as folders, written from documentation.

Sources: device-tree names from Linux, Documentation/devicetree/bindings/arm/tegra.yaml, and Jetson Linux;
`/etc/nv_tegra_release`, `nvpmodel`, `soctherm_oc` and the INA3221 rails from NVIDIA's Jetson Linux Developer
Guide (36.4, "Platform Power and Performance"); which JetPack has which Jetson Linux, CUDA and TensorRT from
NVIDIA's JetPack archive; thermal zones as Jetson Linux names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.parts.boards import arm_cpu, disk, dpkg, install, memory, put, tree, zones

if TYPE_CHECKING:
    from pathlib import Path

_A78 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_CARMEL = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm dcpop"
_A57 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"


class Software(NamedTuple):
    """What a JetPack brings."""

    l4t: str
    jetpack: str
    cuda: str
    tensorrt: str
    python: str
    system: str


JETPACK_6_0 = Software(
    "36.3.0", "6.0", "12.2.12", "8.6.2.3-1+cuda12.2", "3.10", "Ubuntu 22.04.4 LTS"
)
JETPACK_6_2 = Software(
    "36.4.3", "6.2", "12.6.68", "10.3.0.30-1+cuda12.5", "3.10", "Ubuntu 22.04.5 LTS"
)
JETPACK_5 = Software("35.4.1", "5.1.2", "11.4.19", "8.5.2-1+cuda11.4", "3.8", "Ubuntu 20.04.6 LTS")
JETPACK_4 = Software("32.7.1", "4.6.1", "10.2.300", "8.2.1-1+cuda10.2", "3.6", "Ubuntu 18.04.6 LTS")


def jetson_orin_nano(root: Path) -> Path:
    """A Jetson Orin Nano developer kit with JetPack 6.0, in 15W, with a CSI camera."""
    names = ("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234")
    tree(root, "NVIDIA Jetson Orin Nano Developer Kit", *names)
    arm_cpu(root, 6, "0xd42", _A78)
    memory(root, 7802936, 3901464)
    _jetson(root, JETPACK_6_0, bindings="8.6.2")
    _power(root, "15W", "15W", "7W")
    zones(root, cpu_thermal=49500, gpu_thermal=51218, PMIC_Die=100000)
    put(root, "sys/class/thermal/thermal_zone2/type", "PMIC-Die\n")
    disk(root, "nvme0n1p1")
    put(root, "sys/class/video4linux/video0/name", "vi-output, imx219 9-0010\n")
    return root


def jetson_orin_nano_super(root: Path) -> Path:
    """The same kit with JetPack 6.2 in MAXN_SUPER, that has met its over-current limit."""
    names = ("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234")
    tree(root, "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", *names)
    arm_cpu(root, 6, "0xd42", _A78)
    memory(root, 7802936, 3901464)
    _jetson(root, JETPACK_6_2, bindings="10.3.0")
    _power(root, "MAXN_SUPER", "15W", "25W", "MAXN_SUPER", "7W")
    zones(root, cpu_thermal=58500, gpu_thermal=60218, tj_thermal=61000)
    for number, count in enumerate((0, 15, 37), start=1):
        put(root, f"sys/class/hwmon/hwmon3/oc{number}_event_cnt", f"{count}\n")
    put(root, "sys/class/hwmon/hwmon3/name", "soctherm_oc\n")
    disk(root, "nvme0n1p1")
    return root


def jetson_orin_nx(root: Path) -> Path:
    """A Jetson Orin NX 16 GB on a third party's carrier, with JetPack 6.2."""
    names = ("nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000", "nvidia,tegra234")
    tree(root, "NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super", *names)
    arm_cpu(root, 8, "0xd42", _A78)
    memory(root, 15990880, 7995440)
    _jetson(root, JETPACK_6_2, bindings="10.3.0")
    _power(root, "25W", "MAXN_SUPER", "10W", "15W", "25W", "40W")
    zones(root, cpu_thermal=47000, gpu_thermal=45000, tj_thermal=47500)
    return root


def jetson_agx_orin(root: Path) -> Path:
    """A Jetson AGX Orin developer kit 64 GB with JetPack 6.2."""
    names = ("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234")
    tree(root, "NVIDIA Jetson AGX Orin Developer Kit", *names)
    arm_cpu(root, 12, "0xd42", _A78)
    memory(root, 64349976, 32174976)
    _jetson(root, JETPACK_6_2, bindings="10.3.0")
    _power(root, "MAXN", "MAXN", "15W", "30W", "50W")
    zones(root, cpu_thermal=44000, gpu_thermal=42000, tj_thermal=44500)
    disk(root, "mmcblk0p1", "MMC")
    return root


def jetson_xavier_nx(root: Path) -> Path:
    """A Jetson Xavier NX with JetPack 5: its Python 3.8 has the bindings, the agent's 3.10 has not."""
    names = ("nvidia,p3509-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194")
    tree(root, "NVIDIA Jetson Xavier NX Developer Kit", *names)
    arm_cpu(root, 6, "0x004", _CARMEL)
    memory(root, 6993012, 3496500)
    _jetson(root, JETPACK_5)
    _power(root, "MODE_15W_6CORE", "MODE_15W_2CORE", "MODE_15W_4CORE", "MODE_15W_6CORE")
    zones(root, CPU_therm=43500, GPU_therm=42000, thermal_fan_est=42800)
    return root


def jetson_nano(root: Path) -> Path:
    """A Jetson Nano with JetPack 4, whose Python is 3.6."""
    names = ("nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210")
    tree(root, "NVIDIA Jetson Nano Developer Kit", *names)
    arm_cpu(root, 4, "0xd07", _A57)
    memory(root, 4059292, 2029632)
    _jetson(root, JETPACK_4)
    _power(root, "MAXN", "MAXN", "5W")
    zones(root, CPU_therm=38000, GPU_therm=37500, PMIC_Die=100000)
    put(root, "sys/class/thermal/thermal_zone2/type", "PMIC-Die\n")
    disk(root, "mmcblk0p1", "SD")
    return root


def _jetson(root: Path, software: Software, bindings: str = "") -> None:
    major, _, revision = software.l4t.partition(".")
    head = f"# R{major} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    put(root, "etc/nv_tegra_release", head)
    put(root, "etc/os-release", f'PRETTY_NAME="{software.system}"\n')
    tree_json = f'{{"cuda": {{"name": "CUDA SDK", "version": "{software.cuda}"}}}}'
    put(root, "usr/local/cuda/version.json", tree_json)
    library = software.tensorrt.partition("-")[0]
    put(root, f"usr/lib/aarch64-linux-gnu/libnvinfer.so.{library}")
    put(root, "dev/nvhost-gpu")
    dpkg(
        root,
        nvidia_l4t_core=f"{software.l4t}-20250107174145",
        nvidia_jetpack=f"{software.jetpack}+b77",
        **{f"libnvinfer{library.partition('.')[0]}": software.tensorrt},
    )
    with_bindings = {"tensorrt": bindings} if bindings else {}
    cpu = {"ai_edge_litert": "2.3.0", "onnxruntime": "1.23.2", "numpy": "1.26.4"}
    install(root, software.python, **with_bindings)
    # The agent's environment, on a Python of its own where the system's is too old.
    for name, version in cpu.items():
        folder = f"opt/vigil/lib/python3.10/site-packages/{name}-{version}.dist-info"
        put(root, f"{folder}/METADATA", f"Name: {name.replace('_', '-')}\nVersion: {version}\n")


def _power(root: Path, mode: str, *modes: str) -> None:
    catalogue = "".join(f"< POWER_MODEL ID={n} NAME={name} >\n" for n, name in enumerate(modes))
    put(root, "etc/nvpmodel.conf", f"{catalogue}< PM_CONFIG DEFAULT=0 >\n")
    put(root, "var/lib/nvpmodel/status", f"pmode:{modes.index(mode):04d} fmode:quiet\n")
    put(root, "sys/class/hwmon/hwmon1/name", "ina3221\n")
    for channel, (label, volts_mv, amperes_ma) in enumerate(
        [("VDD_IN", 4984, 1856), ("VDD_CPU_GPU_CV", 4976, 424), ("VDD_SOC", 4976, 352)], start=1
    ):
        put(root, f"sys/class/hwmon/hwmon1/in{channel}_label", f"{label}\n")
        put(root, f"sys/class/hwmon/hwmon1/in{channel}_input", f"{volts_mv}\n")
        put(root, f"sys/class/hwmon/hwmon1/curr{channel}_input", f"{amperes_ma}\n")
