"""Versions that do not go together are found and named with their fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.host.board import read_facts
from agent.models.skew import Skew, find_skew
from tests.parts import boards, jetsons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def found(root: Path) -> dict[str, Skew]:
    return {skew.code: skew for skew in find_skew(read_facts(root))}


@pytest.mark.parametrize(
    "board",
    [
        boards.raspberry_pi_5,
        boards.raspberry_pi_4_coral,
        boards.raspberry_pi_zero_2_w,
        boards.generic_arm64,
        boards.small_pc,
        boards.cuda_server,
        jetsons.jetson_orin_nano,
        jetsons.jetson_orin_nano_super,
        jetsons.jetson_orin_nx,
        jetsons.jetson_agx_orin,
    ],
)
def test_a_board_in_order_has_nothing_to_say(tmp_path: Path, board: Callable[[Path], Path]) -> None:
    assert found(board(tmp_path)) == {}


@pytest.mark.parametrize(
    ("board", "version"),
    [
        (jetsons.jetson_nano, "3.6 of JetPack 4.6.1"),
        (jetsons.jetson_xavier_nx, "3.8 of JetPack 5.1.2"),
    ],
)
def test_a_jetpack_whose_python_is_too_old_is_named(
    tmp_path: Path, board: Callable[[Path], Path], version: str
) -> None:
    skews = found(board(tmp_path))
    assert list(skews) == ["skew.python"]
    assert f"Python {version} is older than the 3.10" in skews["skew.python"].problem
    assert "install Python 3.10" in skews["skew.python"].fix


def orin_with(path: str, text: str) -> Callable[[Path], Path]:
    def board(root: Path) -> Path:
        boards.put(jetsons.jetson_orin_nano_super(root), path, text)
        return root

    return board


def orin_without_bindings(root: Path) -> Path:
    jetsons.jetson_orin_nano_super(root)
    metadata = next(root.glob("usr/lib/python3.10/dist-packages/tensorrt-*/METADATA"))
    metadata.unlink()
    metadata.parent.rmdir()
    return root


def orin_with_foreign_tensorrt(root: Path) -> Path:
    jetsons.jetson_orin_nano_super(root)
    boards.dpkg(root, libnvinfer8="8.6.2.3-1+cuda12.2", nvidia_l4t_core="36.4.3-1")
    return root


def server_with(path: str, text: str) -> Callable[[Path], Path]:
    def board(root: Path) -> Path:
        boards.put(boards.cuda_server(root), path, text)
        return root

    return board


def server_with_packages(**packages: str) -> Callable[[Path], Path]:
    def board(root: Path) -> Path:
        boards.install(boards.cuda_server(root), "3.12", **packages)
        return root

    return board


def pc_with(**packages: str) -> Callable[[Path], Path]:
    def board(root: Path) -> Path:
        boards.install(boards.small_pc(root), "3.11", **packages)
        return root

    return board


def coral_with_library(**packages: str) -> Callable[[Path], Path]:
    def board(root: Path) -> Path:
        boards.dpkg(boards.raspberry_pi_4_coral(root), **packages)
        return root

    return board


@pytest.mark.parametrize(
    ("board", "code", "problem", "fix"),
    [
        (
            orin_with("etc/nv_tegra_release", "# R36 (release), REVISION: 3.0, GCID: 1"),
            "skew.l4t",
            "Jetson Linux 36.3.0 runs with packages of 36.4.3",
            "full-upgrade",
        ),
        (
            orin_with("sys/class/dmi/id/bios_version", "35.4.1-gcid-33958178"),
            "skew.firmware",
            "firmware 35.4.1-gcid-33958178 is older than Jetson Linux 36.4.3",
            "flashed once",
        ),
        (
            orin_with_foreign_tensorrt,
            "skew.tensorrt_jetpack",
            "TensorRT 8.6.2.3 is not the 10.3 of JetPack 6.2",
            "reinstall",
        ),
        (
            orin_with_foreign_tensorrt,
            "skew.tensorrt_bindings",
            "Python's tensorrt 10.3.0 is not made for the system's TensorRT 8.6.2.3",
            "--system-site-packages",
        ),
        (
            orin_without_bindings,
            "skew.tensorrt_unreachable",
            "not for this agent's Python",
            "python3-libnvinfer",
        ),
        (
            server_with("proc/driver/nvidia/version", "NVRM: Kernel Module  470.256.02  Thu"),
            "skew.driver",
            "driver 470.256.02 is too old for CUDA 12.4.1",
            "525.60",
        ),
        (
            server_with("usr/local/cuda/version.json", '{"cuda": {"version": "11.8.0"}}'),
            "skew.onnxruntime_cuda",
            "onnxruntime-gpu 1.22.0 is made for CUDA 12, found 11.8.0",
            "install CUDA 12",
        ),
        (
            server_with("usr/local/cuda/version.json", '{"cuda": {"version": "13.0.1"}}'),
            "skew.onnxruntime_cuda",
            "onnxruntime-gpu 1.22.0 is made for CUDA 12, found 13.0.1",
            "made for CUDA 13",
        ),
        (
            server_with_packages(onnxruntime="1.22.0"),
            "skew.onnxruntime_twice",
            "both installed",
            "uninstall both",
        ),
        (
            pc_with(onnxruntime_gpu="1.22.0"),
            "skew.onnxruntime_gpu",
            "finds no CUDA device",
            "plain onnxruntime",
        ),
        (
            pc_with(tflite_runtime="2.14.0"),
            "skew.tflite_numpy",
            "tflite-runtime 2.14.0 is made for NumPy 1, found NumPy 2.4.6",
            "ai-edge-litert",
        ),
        (
            coral_with_library(),
            "skew.edgetpu_missing",
            "libedgetpu is not installed",
            "libedgetpu1-std",
        ),
        (
            coral_with_library(libedgetpu1_std="16.0"),
            "skew.edgetpu_runtime",
            "made for TensorFlow Lite 2.5 and crashes with 2.3.0",
            "feranick",
        ),
    ],
)
def test_each_disagreement_is_named_with_its_fix(
    tmp_path: Path, board: Callable[[Path], Path], code: str, problem: str, fix: str
) -> None:
    skews = found(board(tmp_path))
    assert problem in skews[code].problem
    assert fix in skews[code].fix
