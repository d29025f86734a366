"""Temperatures, power, throttling and power modes, read from boards that are folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.host.board import read_facts
from agent.host.sensors import implausible, power_rails, temperature_c, thermal_zones
from agent.host.throttling import over_current, power_mode, throttling
from agent.schema.facts import Rail, ThermalZone
from tests.parts import boards, jetsons


@pytest.mark.parametrize(
    ("digits", "now", "earlier"),
    [
        ("0", [], []),
        ("1", ["under-voltage"], []),
        ("50000", [], ["under-voltage", "throttled"]),
        ("50004", ["throttled"], ["under-voltage", "throttled"]),
        ("80008", ["soft temperature limit"], ["soft temperature limit"]),
        ("2", ["frequency capped"], []),
    ],
)
def test_a_pis_throttling_flags_are_named(
    tmp_path: Path, digits: str, now: list[str], earlier: list[str]
) -> None:
    boards.put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{digits}\n")
    found = throttling(tmp_path)
    assert (found.now, found.earlier) == (now, earlier)


def test_a_pi_5s_firmware_is_found_where_its_soc_has_an_address(tmp_path: Path) -> None:
    path = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
    boards.put(tmp_path, path, "8\n")
    assert throttling(tmp_path).now == ["soft temperature limit"]


@pytest.mark.parametrize("text", ["", "junk", "0xzz"])
def test_flags_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    boards.put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", text)
    assert throttling(tmp_path).now == []


def test_a_jetsons_over_current_events_are_counted(tmp_path: Path) -> None:
    root = jetsons.jetson_orin_nano_super(tmp_path)
    assert over_current(root) == {"oc1": 0, "oc2": 15, "oc3": 37}


@pytest.mark.parametrize(
    ("status", "catalogue", "mode"),
    [
        ("pmode:0002 fmode:quiet", "< POWER_MODEL ID=2 NAME=MAXN_SUPER >", "MAXN_SUPER"),
        ("pmode:0000", "< POWER_MODEL ID=0 NAME=15W >\n< PM_CONFIG DEFAULT=1 >", "15W"),
        ("", "< POWER_MODEL ID=1 NAME=25W >\n< PM_CONFIG DEFAULT=1 >", "25W"),
        ("pmode:0007", "< POWER_MODEL ID=0 NAME=15W >", "7"),
        ("", "", ""),
    ],
)
def test_a_jetsons_power_mode_is_named_by_its_own_catalogue(
    tmp_path: Path, status: str, catalogue: str, mode: str
) -> None:
    boards.put(tmp_path, "var/lib/nvpmodel/status", status)
    boards.put(tmp_path, "etc/nvpmodel.conf", catalogue)
    assert power_mode(tmp_path) == mode


def test_power_rails_are_volts_times_amperes(tmp_path: Path) -> None:
    assert power_rails(jetsons.jetson_orin_nano(tmp_path)) == [
        Rail(name="VDD_IN", power_mw=9250.3),
        Rail(name="VDD_CPU_GPU_CV", power_mw=2109.8),
        Rail(name="VDD_SOC", power_mw=1751.6),
    ]


def test_thermal_zones_have_names_and_a_constant_one_is_none(tmp_path: Path) -> None:
    assert thermal_zones(jetsons.jetson_orin_nano(tmp_path)) == [
        ThermalZone(name="cpu-thermal", temperature_c=49.5),
        ThermalZone(name="gpu-thermal", temperature_c=51.218),
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("-273000", "says -273 degrees"),
        ("1000000000", "says 1000000 degrees"),
        ("", "cannot be read"),
        ("hot", "cannot be read"),
    ],
)
def test_nonsense_is_no_temperature_and_is_named(tmp_path: Path, value: str, said: str) -> None:
    boards.zones(tmp_path, cpu_thermal=41000, gpu_thermal=value)
    assert temperature_c(tmp_path) == 41.0
    assert implausible(tmp_path) == [f"thermal zone gpu-thermal {said}"]
    assert read_facts(tmp_path).unreadable == implausible(tmp_path)


def test_a_board_that_shows_nothing_throttles_nothing(tmp_path: Path) -> None:
    facts = read_facts(tmp_path)
    assert (facts.throttling.now, facts.rails, facts.thermal) == ([], [], [])


def test_where_the_kernel_shows_no_flags_the_firmware_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x50005\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = throttling(Path("/"))
    assert found.now == ["under-voltage", "throttled"]
    assert found.earlier == ["under-voltage", "throttled"]


def test_a_recorded_board_never_asks_this_machines_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\necho throttled=0x1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert throttling(tmp_path / "board").now == []
