"""The command line as a person meets it: one clear message on stderr, the promised status, no traceback."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from agent import __version__
from agent.config.settings import Origin, Settings
from agent.errors import InUseError
from agent.host.alone import Alone
from agent.schema.settings import Needs
from tests.parts.processes import vigil
from tests.parts.site import Site

PROFILE = """\
mkdir /tmp/.profiles.$$ && mount -t tmpfs none /etc && mkdir -p /etc/vigil/profiles.d || exit 99
printf 'schema: 1\\nname: 7\\n' >/etc/vigil/profiles.d/mine.yaml
rmdir /tmp/.profiles.$$
exec "$@"
"""


def test_version_and_help_are_there() -> None:
    assert vigil("--version").stdout.strip() == __version__
    shown = vigil("--help")
    assert shown.returncode == 0
    for command in ("run", "demo", "detect", "status"):
        assert command in shown.stdout


def test_an_unknown_option_is_a_usage_error() -> None:
    result = vigil("run", "--nonsense")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_an_unknown_log_level_lists_the_known_ones(tmp_path: Path) -> None:
    result = vigil("run", "--log-level", "loud", "--config", str(tmp_path / "x.yaml"))
    assert result.returncode == 2
    assert "warning" in result.stderr


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_missing_configuration_ends_with_78_and_names_the_file(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / ("a-rather-long-folder-name-" * 4) / "vigil.yaml"
    result = vigil(command, "--config", str(path))
    assert result.returncode == 78
    assert str(path) in result.stderr, "in one piece, whatever the width of the terminal"
    assert "config.unreadable" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"cameras": "none"}, ("$.cameras", "array", "str")),
        ({"profile": "toaster"}, ("toaster", "generic-x86-64")),
        ({"key": "nowhere.key"}, ("nowhere.key",)),
    ],
)
def test_a_damaged_configuration_is_explained(
    site: Site, sections: dict[str, object], words: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    device = site.device(f"damaged-{next(iter(sections))}")
    device.configure(**sections)
    result = device.cli("run")
    assert result.returncode in {78, 1}
    if "key" not in sections:
        assert result.returncode == 78
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert not (device.folder / "state/update.a.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put another /etc in place")
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_a_damaged_profile_is_explained(site: Site) -> None:
    device = site.device("damaged-profile")
    result = device.cli("run", under=["unshare", "-m", "sh", "-c", PROFILE, "sh"])
    if result.returncode == 99:
        pytest.skip("this system does not let us mount")
    assert result.returncode == 78, result.stderr
    for word in ("/etc/vigil/profiles.d/mine.yaml", "$.name", "str", "int"):
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_agent_is_refused_before_it_counts_as_a_start_of_the_change_on_trial(
    site: Site,
) -> None:
    device = site.device("twice")
    with closing(Alone(device.folder / "state")):
        Settings(device.config).propose({"telemetry": {"interval_s": 2.0}}, Needs(), Origin())
        record = device.folder / "state/settings.json"
        before = record.read_bytes()
        refused = device.cli("run")
        assert record.read_bytes() == before
    assert refused.returncode == InUseError.exit_status
    assert "another agent uses it" in refused.stderr
