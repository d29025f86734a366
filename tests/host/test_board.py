"""What is read from a board, shown on boards that are folders."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.host.board import installed_backends, read_facts
from agent.host.processes import cpu_s, pss_mb, rss_mb
from agent.host.sensors import temperature_c
from agent.schema.values import BackendName
from tests.parts import boards, jetsons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_raspberry_pi_5_is_read(tmp_path: Path) -> None:
    facts = read_facts(boards.raspberry_pi_5(tmp_path), "aarch64")
    assert facts.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts.compatible == ["raspberrypi,5-model-b", "brcm,bcm2712"]
    assert (facts.architecture, facts.cores, facts.memory_mb) == ("aarch64", 4, 8061)
    assert facts.cpu_aes
    assert facts.accelerators == {"edgetpu": False, "cuda": False, "tensorrt": False}


def test_a_pi_4_has_no_aes_and_its_coral_stick_is_seen(tmp_path: Path) -> None:
    facts = read_facts(boards.raspberry_pi_4_coral(tmp_path), "aarch64")
    assert not facts.cpu_aes
    assert facts.accelerators["edgetpu"]


def test_a_coral_stick_is_seen_before_its_firmware_is_loaded(tmp_path: Path) -> None:
    boards.put(tmp_path, "sys/bus/usb/devices/1-1/idVendor", "1a6e\n")
    boards.put(tmp_path, "sys/bus/usb/devices/1-1/idProduct", "089a\n")
    assert read_facts(tmp_path).accelerators["edgetpu"]


def test_a_jetson_orin_nano_is_read(tmp_path: Path) -> None:
    facts = read_facts(jetsons.jetson_orin_nano(tmp_path), "aarch64")
    assert "nvidia,p3767-0005" in facts.compatible
    assert facts.cores == 6
    assert facts.accelerators == {"edgetpu": False, "cuda": True, "tensorrt": True}


def test_a_pc_without_device_tree_is_named_by_its_bios(tmp_path: Path) -> None:
    facts = read_facts(boards.small_pc(tmp_path), "x86_64")
    assert (facts.model, facts.compatible, facts.cpu_aes) == ("NUC11ATKC4", [], True)


def test_a_board_that_shows_nothing_is_still_described(tmp_path: Path) -> None:
    facts = read_facts(tmp_path)
    assert (facts.model, facts.memory_mb, facts.cpu_aes) == ("unknown", 0, False)
    assert facts.cores >= 1


def test_this_machine_is_described() -> None:
    facts = read_facts()
    assert facts.cores >= 1
    assert facts.memory_mb > 0


def test_installed_runtimes_are_those_python_knows() -> None:
    backends = installed_backends()
    assert backends[BackendName.ONNXRUNTIME].count(".") >= 1


def test_an_older_tflite_runtime_counts_as_litert(tmp_path: Path) -> None:
    info = tmp_path / "tflite_runtime-2.14.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n")
    # Everything else is loaded first: only the metadata of what is installed must change.
    script = (
        "import sys; from agent.host.board import installed_backends;"
        f"sys.path[:] = [{str(tmp_path)!r}]; print(installed_backends())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "{<BackendName.LITERT: 'litert'>: '2.14.0'}"


def test_reading_the_board_imports_no_runtime() -> None:
    script = (
        "import sys; from agent.host.board import read_facts; read_facts();"
        "print([m for m in ('onnxruntime', 'ai_edge_litert', 'tensorrt', 'cv2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_hottest_zone_counts_and_a_constant_one_does_not(tmp_path: Path) -> None:
    assert temperature_c(jetsons.jetson_orin_nano(tmp_path)) == 51.218


def test_zones_that_cannot_be_read_or_believed_are_left_out(tmp_path: Path) -> None:
    for number, value in enumerate(["", "junk", "999999", "-99000", "41000"]):
        boards.put(tmp_path, f"sys/class/thermal/thermal_zone{number}/type", "soc\n")
        boards.put(tmp_path, f"sys/class/thermal/thermal_zone{number}/temp", value)
    assert temperature_c(tmp_path) == 41.0


def test_a_board_without_sensors_has_no_temperature(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None


def test_memory_is_the_proportional_share_else_the_resident_set(tmp_path: Path) -> None:
    boards.put(
        tmp_path,
        "proc/7/smaps_rollup",
        "x [rollup]\nRss: 9000 kB\nPss:   2048 kB\nPss_Dirty: 1 kB\n",
    )
    boards.put(tmp_path, "proc/8/statm", "5000 512 100 1 0 300 0\n")
    assert pss_mb(7, tmp_path) == 2.0
    assert pss_mb(8, tmp_path) > 0
    assert pss_mb(9, tmp_path) == 0.0


def test_the_parts_of_a_raspberry_pi_5_are_read(tmp_path: Path) -> None:
    facts = read_facts(boards.raspberry_pi_5(tmp_path))
    assert facts.architecture == "aarch64"
    assert facts.cpu.name == "Cortex-A76"
    assert {"aes", "asimddp"} <= set(facts.cpu.features)
    assert facts.swap_mb == 2047
    assert facts.storage.kind == "nvme"
    assert [(each.device, each.name) for each in facts.cameras] == [
        ("/dev/video0", "rp1-cfe-csi2_ch0")
    ]
    assert facts.backends == {BackendName.ONNXRUNTIME: "1.32.0", BackendName.LITERT: "2.3.0"}
    assert facts.software.packages["numpy"] == "2.4.6"


@pytest.mark.parametrize(
    ("board", "l4t", "jetpack", "cuda", "tensorrt", "capability"),
    [
        (jetsons.jetson_orin_nano, "36.3.0", "6.0", "12.2.12", "8.6.2.3", "8.7"),
        (jetsons.jetson_agx_orin, "36.4.3", "6.2", "12.6.68", "10.3.0.30", "8.7"),
        (jetsons.jetson_xavier_nx, "35.4.1", "5.1.2", "11.4.19", "8.5.2", "7.2"),
        (jetsons.jetson_nano, "32.7.1", "4.6.1", "10.2.300", "8.2.1", "5.3"),
    ],
)
def test_a_jetsons_software_is_read(  # noqa: PLR0917 - the columns of the table
    tmp_path: Path,
    board: Callable[[Path], Path],
    l4t: str,
    jetpack: str,
    cuda: str,
    tensorrt: str,
    capability: str,
) -> None:
    facts = read_facts(board(tmp_path))
    found = facts.software
    assert (found.l4t, found.jetpack, found.cuda) == (l4t, jetpack, cuda)
    assert found.tensorrt == tensorrt
    assert facts.gpu.compute_capability == capability


def test_without_its_package_jetpack_is_known_by_jetson_linux(tmp_path: Path) -> None:
    root = jetsons.jetson_orin_nano_super(tmp_path)
    boards.dpkg(root)
    boards.put(root, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.7, GCID: 1")
    found = read_facts(root).software
    assert (found.l4t, found.jetpack) == ("36.4.7", "6.2.1")
    assert found.tensorrt == "10.3.0.30"


def test_a_server_with_a_card_is_read(tmp_path: Path) -> None:
    facts = read_facts(boards.cuda_server(tmp_path))
    assert facts.architecture == "x86_64"
    assert (facts.gpu.name, facts.gpu.compute_capability) == ("Tesla T4", "7.5")
    assert facts.gpu.driver == "550.54.15"
    assert facts.accelerators["cuda"]
    assert facts.backends[BackendName.ONNXRUNTIME] == "1.22.0"
    assert "avx512f" in facts.cpu.features


def test_a_coral_on_pcie_is_seen_before_its_driver_is_loaded(tmp_path: Path) -> None:
    boards.put(tmp_path, "sys/bus/pci/devices/0001:01:00.0/vendor", "0x1ac1\n")
    boards.put(tmp_path, "sys/bus/pci/devices/0001:01:00.0/device", "0x089a\n")
    assert read_facts(tmp_path).accelerators["edgetpu"]


@pytest.mark.parametrize(
    ("device", "kind", "expected"),
    [("mmcblk0p2", "SD", "sd"), ("mmcblk0p1", "MMC", "emmc"), ("nvme0n1p2", "", "nvme")],
)
def test_the_kind_of_storage_is_told_by_its_device(
    tmp_path: Path, device: str, kind: str, expected: str
) -> None:
    boards.disk(tmp_path, device, kind)
    assert read_facts(tmp_path).storage.kind == expected


def test_time_and_resident_memory_of_a_process_are_read(tmp_path: Path) -> None:
    ticks = "42 (a) strange) name) S 1 1 1 0 -1 0 1 0 0 0 250 50 7 7 20 0 3 0 1 1 1\n"
    boards.put(tmp_path, "proc/42/stat", ticks)
    boards.put(tmp_path, "proc/42/statm", "5000 512 100 1 0 300 0\n")
    assert cpu_s(42, tmp_path) == 300 / os.sysconf("SC_CLK_TCK")
    assert rss_mb(42, tmp_path) == 512 * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert (cpu_s(9, tmp_path), rss_mb(9, tmp_path)) == (0.0, 0.0)
    assert cpu_s(os.getpid()) > 0
