"""The command line as a person meets it: one clear message on stderr, the promised status, no traceback."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import agent.demo
from agent import __version__
from agent.config.settings import Origin, Settings
from agent.errors import InUseError, StorageError
from agent.host.alone import Alone
from agent.host.disk import require_writable
from agent.schema.settings import Needs
from tests.parts.processes import until, vigil
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


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("vigil fl", "fleet"), ("vigil fleet de", "deploy"), ("vigil fleet deploy --ke", "--key")],
)
def test_a_shell_can_complete_commands_and_options(typed: str, offered: str) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    asked = {**os.environ, "_VIGIL_COMPLETE": "complete_bash", **words}
    script = "import sys; sys.argv[0] = 'vigil'; from agent.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=asked, capture_output=True, text=True, check=False
    )
    assert offered in done.stdout.split()


def test_a_locale_that_lacks_a_sign_ends_no_command() -> None:
    command = [sys.executable, "-m", "agent", "profile", "list"]
    asked = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xb0" in done.stdout, "the degree sign of a column"


def test_an_unknown_option_is_a_usage_error() -> None:
    result = vigil("run", "--nonsense")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["asyncapi", "profile list", "--help"])
def test_output_that_cannot_be_written_is_one_clear_error(command: str) -> None:
    line = f"exec {sys.executable} -m agent {command} >/dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "bench --model {model} --seconds 100 --json {folder}",
        "eval --model {model} --dataset {model} --images {folder} --json {folder}",
        "detect pattern: --model {model} --threads 99999999",
        "demo --no-browser --json {folder}",
        "demo --no-browser --seconds -5",
        "demo --no-browser --port 65536",
        "report --out {folder}",
        "diagnostics --out {folder}",
        "audit export --out {folder}",
    ],
)
def test_what_cannot_end_well_is_not_begun(tmp_path: Path, line: str) -> None:
    model = Path(agent.demo.__file__).parent / "bundled/parts-1.onnx"
    result = vigil(*line.format(model=model, folder=tmp_path).split(), timeout_s=30)
    assert result.returncode == 2
    assert "Invalid value" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "bench --model {model} --seconds 100 --json {place}",
        "bench --model {model} --seconds 100 --plot {place}",
        "eval --model {model} --dataset {model} --images {model} --json {place}",
        "eval --model {model} --dataset {model} --images {model} --plots {place}",
        "detect {film} --model {model} --save {place}",
        "demo --no-browser --json {place}",
        "release obfuscate {model} --out {place}",
        "release gate {model} --source {model} --dataset {model} --images {model} --json {place}",
        "report --out {place}",
    ],
)
def test_what_could_not_be_written_in_the_end_is_not_begun(tmp_path: Path, line: str) -> None:
    bundled = Path(agent.demo.__file__).parent / "bundled"
    place = tmp_path / "a file" / "result"
    place.parent.touch()
    names = {"model": bundled / "parts-1.onnx", "film": bundled / "conveyor.mp4", "place": place}
    result = vigil(*(word.format(**names) for word in line.split()), timeout_s=30)
    assert result.returncode == 1
    assert f"vigil: {place}: Not a directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_asking_whether_a_file_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path / "new/folder/result.json")
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for path in (Path("/dev/null"), Path("/proc/self/result.json")):
        with pytest.raises(StorageError, match=str(path)):
            require_writable(path)


def test_a_measurement_ends_quietly_by_ctrl_c_and_writes_nothing(tmp_path: Path) -> None:
    model, file = Path(agent.demo.__file__).parent / "bundled/parts-1.onnx", tmp_path / "b.json"
    words = ["bench", "--model", str(model), "--seconds", "200", "--json", str(file)]
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        # A terminal's Ctrl-C is for the whole group of processes, those that load their libraries, too.
        running = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: running.read_text().split(), 60, "its processes")
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in told
    assert not file.exists()


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
