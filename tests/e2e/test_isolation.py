"""The control process holds keys and network and loads no runtime; what is secret stays out of every log."""

import contextlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import load_config
from tests.parts.processes import children
from tests.parts.site import Device, Site

RUNTIMES = ("cv2", "onnxruntime", "ai_edge_litert", "torch", "tflite_runtime", "tensorrt")
NEVER_IN_WORKER = ("cryptography", "paho", "tuf", "securesystemslib")
PEM_LINE = re.compile(r"^[A-Za-z0-9+/=]{40,}$", re.MULTILINE)


@pytest.fixture(scope="module")
def device(session_site: Site) -> Iterator[Device]:
    """A device that has taken a release, with the most talkative log."""
    device = session_site.serving("isolated")
    yield device
    session_site.tidy()


def mapped(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except PermissionError:
        pytest.skip("this user may not look into a process that forbids dumps")


def packages(pid: int) -> set[str]:
    """Python packages of which a process has mapped a shared library."""
    return set(re.findall(r"/(?:site|dist)-packages/([A-Za-z0-9_]+)", mapped(pid)))


def test_the_control_process_maps_no_runtime(device: Device) -> None:
    assert packages(device.pid) & set(RUNTIMES) == set()
    assert "_sqlite3" in mapped(device.pid), "maps can be read"


def test_the_worker_maps_a_runtime_but_no_cryptography(device: Device) -> None:
    (worker,) = children(device.pid)
    assert "onnxruntime" in packages(worker)
    assert packages(worker) & set(NEVER_IN_WORKER) == set()


def test_no_secret_is_in_the_log_the_arguments_or_the_state(
    device: Device, session_site: Site
) -> None:
    config = load_config(device.config)
    registry = session_site.fleet.registry
    dek = registry.release_key("sorters/parts/1.0.0")
    assert dek is not None
    assert config.broker.tls is not None
    keys = [device.key.read_text(), Path(config.broker.tls.key).read_text()]
    secrets = [dek, dek.hex().encode()]
    secrets += [line.encode() for key in keys for line in PEM_LINE.findall(key)]
    assert len(secrets) > 4
    public = [device.log.read_bytes(), arguments(device.pid)]
    public += [arguments(pid) for pid in children(device.pid)]
    public += contents(device.folder / "state") + contents(device.folder / "run")
    for secret in secrets:
        assert not any(secret in text for text in public)


def arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def contents(folder: Path) -> list[bytes]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(FileNotFoundError):  # it works on while we look
                found.append(path.read_bytes())
    return found


def test_only_the_agent_s_user_may_read_its_state(device: Device) -> None:
    for path in (device.folder / "state", *(device.folder / "state").rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # it works on while we look
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & 0o077 == 0, f"{path} has mode {mode:o}"
    key = device.key
    assert stat.S_IMODE(key.stat().st_mode) & 0o077 == 0


def test_the_worker_is_confined_and_inherits_only_what_it_needs(device: Device) -> None:
    (worker,) = children(device.pid)
    status = Path(f"/proc/{worker}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    targets = [str(path.readlink()) for path in descriptors(worker)]
    state = str(device.folder / "state")
    assert not any(target.startswith(state) for target in targets)
    assert sum(target.startswith("socket:") for target in targets) == 1


def descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        pytest.skip("this user may not look into a process that forbids dumps")
