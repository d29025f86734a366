"""Device profiles: those in the repository, and what happens to wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import msgspec
import pytest
import yaml

from agent.errors import ConfigError
from agent.host.board import read_facts
from agent.models.profiles import (
    default_folders,
    examine,
    load_profiles,
    named,
    profile_schema,
    recognise,
)
from tests.parts import boards, jetsons

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.schema.profile import DeviceProfile

FOLDER = Path(__file__).resolve().parents[2] / "device_profiles"
PROFILES = load_profiles([FOLDER])
GOOD = """
schema: 1
name: {name}
description: a board
match: {{}}
prefer:
  - {{ backend: onnxruntime, precision: fp32, sizes: [320] }}
"""


def test_every_board_of_the_repository_is_described() -> None:
    assert [profile.name for profile in PROFILES] == [
        "generic-arm64",
        "generic-x86-64",
        "jetson-agx-orin",
        "jetson-nano",
        "jetson-orin-nano",
        "jetson-orin-nano-super",
        "jetson-orin-nx",
        "jetson-xavier-nx",
        "raspberry-pi-3",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "raspberry-pi-coral",
        "raspberry-pi-zero-2-w",
        "x86-64-cuda",
    ]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_profile_is_named_like_its_file_and_every_figure_has_a_source(
    profile: DeviceProfile,
) -> None:
    assert (FOLDER / f"{profile.name}.yaml").is_file()
    assert profile.prefer
    assert all(name.count(",") == 1 for name in profile.match.compatible)
    assert all(prior.source for prior in profile.priors)
    if profile.match.compatible:
        assert "Source:" in (FOLDER / f"{profile.name}.yaml").read_text()


def test_no_board_is_claimed_by_two_profiles_of_one_rank() -> None:
    claims = [
        (name, profile.match.rank, str(profile.match.accelerator))
        for profile in PROFILES
        for name in profile.match.compatible
    ]
    assert len(claims) == len(set(claims))


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        (boards.raspberry_pi_5, "raspberry-pi-5"),
        (boards.raspberry_pi_4, "raspberry-pi-4"),
        (boards.raspberry_pi_4_coral, "raspberry-pi-coral"),
        (boards.raspberry_pi_3, "raspberry-pi-3"),
        (boards.raspberry_pi_zero_2_w, "raspberry-pi-zero-2-w"),
        (boards.generic_arm64, "generic-arm64"),
        (boards.small_pc, "generic-x86-64"),
        (boards.cuda_server, "x86-64-cuda"),
        (jetsons.jetson_orin_nano, "jetson-orin-nano"),
        (jetsons.jetson_orin_nano_super, "jetson-orin-nano-super"),
        (jetsons.jetson_orin_nx, "jetson-orin-nx"),
        (jetsons.jetson_agx_orin, "jetson-agx-orin"),
        (jetsons.jetson_xavier_nx, "jetson-xavier-nx"),
        (jetsons.jetson_nano, "jetson-nano"),
    ],
)
def test_a_board_is_recognised_by_its_facts(
    tmp_path: Path, board: Callable[[Path], Path], expected: str
) -> None:
    found = examine(read_facts(board(tmp_path)), PROFILES)
    assert found.profile.name == expected
    assert bool(found.warnings) == (expected == "generic-arm64")


def test_out_of_its_super_modes_the_kit_is_a_plain_orin_nano(tmp_path: Path) -> None:
    root = jetsons.jetson_orin_nano_super(tmp_path)
    boards.put(root, "var/lib/nvpmodel/status", "pmode:0000 fmode:quiet")
    assert recognise(read_facts(root), PROFILES).name == "jetson-orin-nano"


def test_an_unknown_board_gets_a_generic_profile_and_is_told_how_to_add_one(tmp_path: Path) -> None:
    (warning,) = examine(read_facts(boards.generic_arm64(tmp_path)), PROFILES).warnings
    assert "radxa,rock-5b" in warning
    assert "/etc/vigil/profiles.d" in warning
    assert "match.compatible" in warning


def test_of_several_equal_profiles_one_is_always_the_same_and_the_others_are_named(
    tmp_path: Path,
) -> None:
    pi = named("raspberry-pi-5", PROFILES)
    twin = msgspec.structs.replace(pi, name="site-pi-5")
    facts = read_facts(boards.raspberry_pi_5(tmp_path))
    for profiles in ([pi, twin, *PROFILES], [*reversed(PROFILES), twin]):
        found = examine(facts, profiles)
        assert found.profile.name == "site-pi-5"
        assert "raspberry-pi-5 of the same rank" in found.warnings[0]


def test_the_committed_schema_is_that_of_the_code() -> None:
    assert (FOLDER / "profile.schema.json").read_bytes() == profile_schema(), (
        "run `vigil profile schema > device_profiles/profile.schema.json`"
    )


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_profile_fits_the_schema_that_its_first_line_names(profile: DeviceProfile) -> None:
    text = (FOLDER / f"{profile.name}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=profile.schema.json\n# ")
    schema = json.loads((FOLDER / "profile.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    ("compatible", "expected"),
    [
        (["nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234"], "jetson-orin-nano"),
        (["nvidia,p3768-0000+p3767-0001", "nvidia,tegra234"], "jetson-orin-nx"),
        (["nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"], "jetson-agx-orin"),
        (["nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"], "jetson-xavier-nx"),
        (["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano"], "jetson-nano"),
        (["raspberrypi,4-compute-module", "brcm,bcm2711"], "raspberry-pi-4"),
        (["raspberrypi,model-zero-2-w", "brcm,bcm2837"], "raspberry-pi-zero-2-w"),
        (["radxa,rock-5b", "rockchip,rk3588"], "generic-arm64"),
    ],
)
def test_the_device_tree_tells_boards_apart(
    tmp_path: Path, compatible: list[str], expected: str
) -> None:
    boards.put(tmp_path, "proc/device-tree/compatible", "\0".join([*compatible, ""]))
    assert recognise(read_facts(tmp_path, "aarch64"), PROFILES).name == expected


def test_an_unknown_architecture_is_told_what_to_do(tmp_path: Path) -> None:
    facts = read_facts(tmp_path, "riscv64")
    with pytest.raises(ConfigError, match="riscv64") as caught:
        recognise(facts, PROFILES)
    assert caught.value.code == "profile.unknown"
    assert "profiles.d" in caught.value.hint


def test_a_profile_is_found_by_name_or_the_names_are_listed() -> None:
    assert named("raspberry-pi-5", PROFILES).limits.target_fps == 10
    with pytest.raises(ConfigError, match=r"generic-arm64, .*found 'pi5'"):
        named("pi5", PROFILES)


def test_the_sites_own_profile_replaces_the_packaged_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.format(name="raspberry-pi-5"))
    profiles = load_profiles([tmp_path, FOLDER])
    assert named("raspberry-pi-5", profiles).description == "a board"
    assert len(profiles) == len(PROFILES)


def test_the_sites_folder_comes_first_and_need_not_exist() -> None:
    assert default_folders()[0] == Path("/etc/vigil/profiles.d")
    assert load_profiles([Path("/nonexistent"), FOLDER]) == PROFILES


def test_without_folders_those_of_this_installation_are_read() -> None:
    assert {profile.name for profile in PROFILES} <= {profile.name for profile in load_profiles()}


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        (GOOD.format(name="x") + "colour: red\n", r"\$", "unknown field colour"),
        (GOOD.format(name="x").replace("[320]", "[0]"), r"\$\.prefer\[0\]\.sizes", "0"),
        (GOOD.format(name="x").replace("[320]", "[]"), r"\$\.prefer\[0\]\.sizes", "length"),
        (GOOD.format(name="x").replace("fp32", "fp64"), r"\$\.prefer\[0\]\.precision", "fp64"),
        (GOOD.format(name="No Name"), r"\$\.name", "No Name"),
        (GOOD.format(name="x").replace("schema: 1", "schema: 2"), r"\$\.schema", "found 2"),
        ("a: [", "line 1", "expected YAML"),
        ("", r"\$", "missing required field"),
    ],
)
def test_a_wrong_file_is_named_with_place_and_problem(
    tmp_path: Path, text: str, place: str, problem: str
) -> None:
    (tmp_path / "board.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"board\.yaml: at {place}.*{problem}"):
        load_profiles([tmp_path])


def test_two_files_for_one_board_in_one_folder_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(GOOD.format(name="board"))
    with pytest.raises(ConfigError, match=r"b\.yaml: .*'board' again"):
        load_profiles([tmp_path])


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"board\.yaml"):
        load_profiles([tmp_path])


def test_more_facts_win_between_profiles_of_one_rank(tmp_path: Path) -> None:
    pi = named("raspberry-pi-5", PROFILES)
    wide = msgspec.structs.replace(
        pi, name="z-wide", match=msgspec.structs.replace(pi.match, architecture=[])
    )
    facts = read_facts(boards.raspberry_pi_5(tmp_path), "aarch64")
    assert recognise(facts, [wide, pi]).name == "raspberry-pi-5"
