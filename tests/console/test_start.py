"""Starting and stopping, and every configuration that must be refused."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import trustme

from agent.config import load_config
from agent.errors import ConfigError
from agent.host.ports import free_port
from tests.console.conftest import EVERYWHERE, TOKEN
from tests.console.scripted import Device
from tests.parts.processes import until


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(tmp_path: Path, authority: trustme.CA) -> dict[str, str]:
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return {"tls_cert": str(cert), "tls_key": str(key)}


def refused(device: Device, **config: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        device.console(**config).start()
    assert caught.value.hint
    return caught.value


def test_port_zero_picks_a_free_port_and_says_which(device: Device) -> None:
    console = device.console()
    console.start()
    assert not console.url.endswith(":0/")
    assert httpx.get(f"{console.url}healthz").status_code == 200
    console.stop()


def test_stopping_frees_the_port_and_ends_the_thread(device: Device) -> None:
    port = free_port()
    console = device.console(port=port)
    console.start()
    console.stop()
    console.stop()
    until(lambda: "console" not in {one.name for one in threading.enumerate()}, 30, "it ended")
    again = device.console(port=port)
    again.start()
    again.stop()


def test_stopping_before_starting_does_nothing(device: Device) -> None:
    device.console().stop()


def test_a_port_in_use_is_named(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(device, port=port)
    assert error.code == "console.port_in_use"
    assert str(port) in error.message


def test_an_address_of_another_machine_is_named(
    device: Device, token_file: Path, tls: dict[str, str]
) -> None:
    error = refused(device, host="192.0.2.1", token_file=str(token_file), **tls)
    assert error.code == "console.address"
    assert "192.0.2.1" in error.message


@pytest.mark.parametrize("given", ["nothing", "token", "tls"])
def test_off_loopback_both_token_and_tls_are_needed(
    device: Device, token_file: Path, tls: dict[str, str], given: str
) -> None:
    settings: dict[str, dict[str, str]] = {
        "nothing": {},
        "token": {"token_file": str(token_file)},
        "tls": tls,
    }
    assert refused(device, host=EVERYWHERE, **settings[given]).code == "console.exposed"


def test_off_loopback_with_both_it_serves_https_only(
    device: Device, token_file: Path, tls: dict[str, str], authority: trustme.CA
) -> None:
    console = device.console(host=EVERYWHERE, token_file=str(token_file), **tls)
    console.start()
    port = int(console.url.rstrip("/").rpartition(":")[2])
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust) as client:
        assert client.get("/api/status").status_code == 401
        cookie = client.post("/login", data={"token": TOKEN}).headers["set-cookie"]
        assert "secure" in cookie.lower()
        assert client.get("/api/status").status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    console.stop()


def test_a_certificate_without_its_key_is_refused(device: Device, tls: dict[str, str]) -> None:
    assert refused(device, tls_cert=tls["tls_cert"]).code == "console.tls"
    error = refused(device, tls_cert=tls["tls_cert"], tls_key=tls["tls_cert"])
    assert error.code == "console.tls"
    assert refused(device, tls_cert="/nowhere.pem", tls_key="/nowhere.key").code == "console.tls"


def test_paths_in_the_configuration_file_are_relative_to_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "vigil.yaml"
    path.write_text(
        "schema: 1\n"
        "device: {id: line-3, class: conveyor}\n"
        "broker: {host: localhost, port: 1883, allow_plaintext: true}\n"
        "console: {token_file: token, tls_cert: tls/cert.pem, tls_key: tls/key.pem}\n"
    )
    console = load_config(path).console
    found = (console.token_file, console.tls_cert, console.tls_key)
    assert found == tuple(str(tmp_path / name) for name in ("token", "tls/cert.pem", "tls/key.pem"))


@pytest.mark.parametrize(("text", "mode"), [("short", 0o600), (TOKEN, 0o644), ("x" * 2000, 0o600)])
def test_a_weak_token_file_is_refused_without_showing_it(
    device: Device, tmp_path: Path, text: str, mode: int
) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    error = refused(device, token_file=str(path))
    assert error.code == "console.token"
    assert str(path) in error.message
    assert text not in error.diagnostics()


def test_a_missing_token_file_is_named(device: Device, tmp_path: Path) -> None:
    error = refused(device, token_file=str(tmp_path / "nowhere"))
    assert "nowhere" in error.message


def test_the_console_loads_no_picture_library() -> None:
    program = (
        "import sys, agent.console.server; print('cv2' in sys.modules, 'numpy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.split() == [b"False", b"False"]
