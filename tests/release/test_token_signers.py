"""Signers' keys in a PKCS#11 token (SoftHSM2): made, used and refused through the ordinary commands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pkcs11
import pytest
from msgspec.structs import replace
from pkcs11.util.ec import encode_named_curve_parameters
from securesystemslib.signer import Signature

from agent.errors import ConfigError, VigilError
from agent.release.repository import Repository
from agent.release.signers import generate, load_public, load_signer
from agent.trust.stores.token import Pkcs11Store
from tests.parts.terminal import at_terminal, without_terminal
from tests.parts.tokens import LABEL, PIN, SoftToken, softhsm_library
from tests.release.drafts import vigil

QUESTION = f"PIN of PKCS#11 token '{LABEL}' for key 'release-ada'"
SIGN = (
    "import sys, pathlib; from agent.release.signers import load_signer; "
    "print(load_signer(pathlib.Path(sys.argv[1])).sign(b'words').signature)"
)
ROLES = ("root", "targets", "release", "policy", "snapshot", "timestamp")


def options(token: SoftToken, **changes: str) -> list[str]:
    config = {"module": str(softhsm_library()), "token": LABEL, "pin_file": str(token.pin_file)}
    return [
        part
        for name, value in {**config, **changes}.items()
        for part in ("--token", f"{name}={value}")
    ]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "agent", "release", *map(str, words)]


def keygen(keys: Path, *more: str, name: str = "ada") -> str:
    return vigil("release", "keygen", "release", name, "--keys", keys, *more)


def code_of(use: Callable[[], object]) -> str:
    with pytest.raises(VigilError) as caught:
        use()
    assert PIN not in caught.value.diagnostics()
    return caught.value.code


def in_token(token: SoftToken, make: Callable[[pkcs11.Session], object]) -> None:
    session = pkcs11.lib(str(softhsm_library())).get_token(token_label=LABEL)
    with session.open(rw=True, user_pin=PIN) as opened:
        make(opened)


def test_one_of_two_approvals_comes_from_a_token(soft_token: SoftToken, tmp_path: Path) -> None:
    keys, folder = tmp_path / "keys", tmp_path / "repository"
    for role in ROLES:
        generate(keys / role, "grace")
        if role != "release":
            generate(keys / role, "ada")
    keygen(keys, *options(soft_token))
    told = (keys / "release/ada.key").read_text()
    assert "store: pkcs11" in told
    assert PIN not in told
    vigil("release", "init", folder, "--class", "gate", "--keys", keys)
    for role in ("root", "targets", "policy", "gate"):
        place = keys / ("release" if role == "gate" else role)
        chosen = ("--key", place / "ada.key", "--key", place / "grace.key")
        vigil("release", "approve", folder, role, *chosen)
    vigil("release", "publish", folder, "--keys", keys)
    assert Repository(folder).timestamp_version == 1
    with pytest.raises(ConfigError, match="exists"):
        keygen(keys, *options(soft_token))


def test_what_keeps_a_token_from_signing_is_named(soft_token: SoftToken, tmp_path: Path) -> None:
    keygen(tmp_path, *options(soft_token))
    path = tmp_path / "release/ada.key"
    signed = load_signer(path).sign(b"words")
    load_public(path.with_suffix(".pub")).verify_signature(signed, b"words")

    def load() -> object:
        return load_signer(path)

    soft_token.write_pin("1111")
    assert code_of(load) == "key.pin_wrong"
    soft_token.write_pin(PIN)
    soft_token.pull_out()
    assert code_of(load) == "key.token_missing"
    soft_token.put_back()
    path.write_text(path.read_text().replace("release-ada", "nobody"))
    assert code_of(load) == "key.missing"
    soft_token.pin_file.chmod(0o644)
    assert code_of(load) == "key.exposed"
    path.write_text("{store: pkcs11, module: here}")
    assert code_of(load) == "config.invalid"


def test_a_pin_that_no_file_has_is_asked_for_at_the_terminal(
    soft_token: SoftToken, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    asked = [part for part in options(soft_token) if part != "--token" and "pin_file" not in part]
    made = ("keygen", "release", "ada", "--keys", keys, *(f"--token={one}" for one in asked))
    status, shown, told = at_terminal(command(*made), QUESTION, PIN)
    assert status == 0, told
    assert shown.count(QUESTION) == 1
    assert PIN not in shown + told
    path = keys / "release/ada.key"
    assert PIN not in path.read_text()
    assert "pin_file" not in path.read_text()
    sign = [sys.executable, "-c", SIGN, str(path)]
    status, shown, signature = at_terminal(sign, QUESTION, PIN)
    assert status == 0, signature
    assert PIN not in shown + signature
    signed = Signature(load_public(path.with_suffix(".pub")).keyid, signature.strip())
    load_public(path.with_suffix(".pub")).verify_signature(signed, b"words")


def test_a_typed_pin_that_is_wrong_is_told_once_and_not_tried_again(
    soft_token: SoftToken, tmp_path: Path
) -> None:
    keygen(tmp_path, *options(soft_token))
    path = tmp_path / "release/ada.key"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("pin_file")))
    approve = command("publish", tmp_path / "nothing", "--keys", keys_with(path, tmp_path))
    status, shown, told = at_terminal(approve, QUESTION, "1111")
    assert status == 1
    assert shown.count(QUESTION) == 1
    assert told.count("PinIncorrect") == 1
    assert told.count("vigil: ") == 1
    assert "1111" not in shown + told


def test_a_wrong_pin_in_a_file_is_told_once(soft_token: SoftToken, tmp_path: Path) -> None:
    keygen(tmp_path, *options(soft_token))
    soft_token.write_pin("1111")
    keys = keys_with(tmp_path / "release/ada.key", tmp_path)
    status, told = without_terminal(command("publish", tmp_path / "nothing", "--keys", keys))
    assert status == 1
    assert told.count("PinIncorrect") == 1


def test_where_nobody_can_be_asked_it_says_what_to_do(
    soft_token: SoftToken, tmp_path: Path
) -> None:
    chosen = [f"--token={one}" for one in options(soft_token) if "=" in one and "pin" not in one]
    made = ("keygen", "release", "ada", "--keys", tmp_path, *chosen)
    status, told = without_terminal(command(*made))
    assert status == ConfigError.exit_status
    assert "no terminal to ask at" in told
    assert "pin_file" in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("release/*"))


def test_a_device_needs_its_pin_in_a_file(soft_token: SoftToken) -> None:
    with pytest.raises(ConfigError, match="expected pin_file, found none") as caught:
        Pkcs11Store(replace(soft_token.config, pin_file=""))
    assert caught.value.code == "key.no_pin_file"


def keys_with(path: Path, folder: Path) -> Path:
    """A folder of online keys, all of which are the one at `path`."""
    for role in ("snapshot", "timestamp"):
        place = folder / "online" / role
        place.mkdir(parents=True)
        shutil.copy(path, place / "ada.key")
    return folder / "online"


def test_keys_of_another_kind_sign_nothing(soft_token: SoftToken, tmp_path: Path) -> None:
    def make(session: pkcs11.Session) -> None:
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa")
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp384r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        parameters.generate_keypair(store=True, label="p384")

    in_token(soft_token, make)
    Pkcs11Store(soft_token.config).create()
    for label in ("rsa", "p384", soft_token.config.key):
        chosen = options(soft_token, key=label)
        assert code_of(partial(keygen, tmp_path, *chosen)) == "key.other_type"
    assert not list(tmp_path.glob("release/*"))


def test_an_option_that_a_token_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pin"):
        keygen(tmp_path, "--token", "module=/lib.so", "--token", "token=ada", "--token", "pin=2468")
