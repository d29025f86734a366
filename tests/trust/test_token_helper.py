"""The token helper: a vendor's library may crash, hang or lock, and the agent lives on and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from agent.errors import ConfigError, KeyUnavailableError
from agent.schema.keystore import Pkcs11KeyConfig
from agent.trust.keys import public_point
from agent.trust.stores.token import Pkcs11Store
from agent.trust.stores.token_client import HelperKey, TokenHelper
from agent.trust.token_messages import Create
from tests.parts.processes import until
from tests.parts.tokens import PIN, SoftToken, faulty_library

PEER = public_point(ec.generate_private_key(ec.SECP256R1()).public_key())


class Lab:
    """A token whose library fails as `fault` says."""

    def __init__(self, token: SoftToken, folder: Path) -> None:
        self.token = token
        self.fault = folder / "fault"
        self.config = replace(token.config, module=str(faulty_library(folder)))
        Pkcs11Store(token.config).create()

    def fail(self, how: str) -> None:
        self.fault.write_text(how)

    def helper(self, timeout_s: float = 30.0) -> TokenHelper:
        return TokenHelper(self.config, timeout_s)


@pytest.fixture
def lab(soft_token: SoftToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("VIGIL_TEST_FAULT", str(tmp_path / "fault"))
    return Lab(soft_token, tmp_path)


def code_of(use: Callable[[], object]) -> str:
    with pytest.raises(KeyUnavailableError) as caught:
        use()
    return caught.value.code


def until_it_works(key: HelperKey) -> bytes:
    deadline = time.monotonic() + 60
    while True:
        try:
            return key.exchange(PEER)
        except KeyUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_library_that_crashes_takes_only_its_helper_with_it(lab: Lab) -> None:
    key = HelperKey(lab.helper())
    first = key.exchange(PEER)
    lab.fail("crash")
    assert code_of(lambda: key.exchange(PEER)) == "key.helper_died"
    lab.fail("")
    assert until_it_works(key) == first


def test_a_helper_that_fails_is_started_at_growing_distances(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr("agent.trust.stores.token_client.time.monotonic", lambda: now_s)
    key = HelperKey(lab.helper())
    lab.fail("crash")
    assert code_of(lambda: key.exchange(PEER)) == "key.helper_died"
    for _ in range(10):
        assert code_of(lambda: key.exchange(PEER)) == "key.waiting"
    now_s += 0.6
    assert code_of(lambda: key.exchange(PEER)) == "key.helper_died"
    now_s += 0.6
    assert code_of(lambda: key.exchange(PEER)) == "key.waiting"


def test_a_library_that_hangs_is_killed(lab: Lab) -> None:
    helper = lab.helper()
    key = HelperKey(helper)
    key.exchange(PEER)
    helper._timeout_s = 1.0
    lab.fail("hang")
    assert code_of(lambda: key.exchange(PEER)) == "key.timeout"
    helper._timeout_s = 30.0
    lab.fail("")
    until_it_works(key)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("locked", "key.pin_locked"),
        ("last try", "key.pin_locked"),
        ("no login", "key.pin_locked"),
        ("gone", "key.token_missing"),
    ],
)
def test_27_what_the_token_says_is_named(lab: Lab, fault: str, code: str) -> None:
    key = HelperKey(lab.helper())
    lab.fail(fault)
    assert code_of(lambda: key.exchange(PEER)) == code
    lab.fail("")
    until_it_works(key)


def test_27_a_refused_pin_is_not_tried_again_by_the_token(lab: Lab) -> None:
    lab.token.write_pin("wrong")
    helper = lab.helper()
    assert code_of(lambda: helper.ask(Create())) == "key.pin_wrong"
    lab.fail("crash")  # would show if the token were reached again
    assert code_of(lambda: helper.ask(Create())) == "key.pin_wrong"


def test_the_helper_ends_with_the_agent(lab: Lab) -> None:
    helper = lab.helper()
    HelperKey(helper).exchange(PEER)
    assert helper._running is not None
    pid = helper._running.pid
    helper._running._wire.close()
    until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), 30, "its end")


def test_a_helper_that_was_killed_is_unavailable_once(lab: Lab) -> None:
    helper = lab.helper()
    key = HelperKey(helper)
    key.exchange(PEER)
    assert helper._running is not None
    os.kill(helper._running.pid, signal.SIGKILL)
    assert code_of(lambda: key.exchange(PEER)) == "key.helper_died"
    until_it_works(key)


def test_neither_pin_nor_secret_is_in_arguments_environment_or_core_files(lab: Lab) -> None:
    helper = lab.helper()
    HelperKey(helper).exchange(PEER)
    assert helper._running is not None
    process = Path(f"/proc/{helper._running.pid}")
    assert PIN.encode() not in (process / "cmdline").read_bytes()
    if os.geteuid() == 0:
        assert PIN.encode() not in (process / "environ").read_bytes()
    limits = (process / "limits").read_text()
    assert "Max core file size        0 " in limits


def test_a_missing_library_and_an_unknown_token_are_named(soft_token: SoftToken) -> None:
    def asking(**change: str) -> Callable[[], object]:
        config: Pkcs11KeyConfig = replace(soft_token.config, **change)
        return lambda: TokenHelper(config).ask(Create())

    assert code_of(asking(module="/nonexistent.so")) == "key.module"
    assert code_of(asking(token="another")) == "key.token_missing"
    assert (
        code_of(lambda: HelperKey(TokenHelper(soft_token.config)).exchange(PEER)) == "key.missing"
    )


def test_an_exposed_pin_file_is_refused(soft_token: SoftToken) -> None:
    soft_token.pin_file.chmod(0o644)
    helper = TokenHelper(soft_token.config)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            helper.ask(Create())
        assert caught.value.code == "key.exposed"


def test_the_private_key_cannot_be_read_out_of_the_token(soft_token: SoftToken) -> None:
    Pkcs11Store(soft_token.config).create()
    command = ["pkcs11-tool", "--module", soft_token.config.module, "--login", "--pin", PIN]
    command += ["--list-objects", "--type", "privkey"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs opensc")
    assert "sensitive, always sensitive, never extractable, local" in run.stdout
