"""A device joins by exchanging a folder; commands are signed by people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner, SSlibKey

from agent.app.device import open_device
from agent.config import load_config
from agent.errors import CommandError, ConfigError, StorageError, TrustError
from agent.fleet.bundle import has_certificate
from agent.fleet.enrolment import Site, admit, invite
from agent.fleet.joining import join
from agent.fleet.joining import request as ask
from agent.fleet.operators import CommandDesk, Order, approve_command, deploy_order, read_command
from agent.fleet.tokens import Invitation
from agent.schema.document import parse_json
from agent.schema.keystore import FileKeyConfig, Kem, KeyConfig, key_config
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import COMMAND_TYPE, CommandBody, Policy, PolicyRule, PolicyUser, Role
from agent.trust.envelope import open_envelope
from agent.trust.grant import unwrap, wrap
from agent.trust.policy import Situation, authorise
from agent.trust.stores import key_store

SITE = Site("broker.local", 8883, b'{"root": true}')
INVITATION = Invitation("gate-7", "gate", ("north",))


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_a_device_joins_by_exchanging_a_folder(fleet: Any, tmp_path: Path) -> None:
    bundle, device = tmp_path / "stick", tmp_path / "device"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, device)
    assert not has_certificate(bundle)
    record = admit(bundle, fleet.registry, fleet.authority)
    config = load_config(join(bundle, device))
    assert (config.device.id, config.device.device_class, config.device.groups) == (
        "gate-7",
        "gate",
        ["north"],
    )
    assert fleet.registry.device("gate-7") == record
    assert key_store(key_config(config.key)).open().public_bytes == record.public_key
    assert Path(config.trust_root).read_bytes() == SITE.root
    found = modes(device / "identity")
    assert {name for name, mode in found.items() if mode == 0o600} == {"device.key", "tls.key"}
    assert config.broker.tls is not None
    assert Path(config.broker.tls.cert).read_bytes() == (bundle / "device.crt").read_bytes()


@pytest.mark.parametrize("store", ["x-wing", "pkcs11", "tpm2"])
def test_a_device_joins_with_its_key_in_any_store(
    fleet: Any, tmp_path: Path, request: pytest.FixtureRequest, store: str
) -> None:
    parts = {"pkcs11": "soft_token", "tpm2": "soft_tpm"}
    wanted: KeyConfig = FileKeyConfig(kem=Kem.X_WING)
    if store in parts:
        wanted = request.getfixturevalue(parts[store]).config
    bundle, device = tmp_path / "stick", tmp_path / "device"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    for _ in range(2):  # asking again changes nothing
        ask(bundle, device, key=wanted)
    record = admit(bundle, fleet.registry, fleet.authority)
    config = load_config(join(bundle, device))
    opened = open_device(replace(config, state_dir=str(device), runtime_dir=str(device / "run")))
    assert opened.floor.counter == 0
    key = key_store(key_config(config.key)).open()
    assert key.public_bytes == record.public_key
    grant = wrap(b"k" * 32, record.public_key, "gate/people/1", "gate", "gate-7")
    assert unwrap(grant, key, "gate/people/1", "gate", "gate-7") == b"k" * 32
    assert "2468" not in (device / "vigil.yaml").read_text()


def test_the_bundle_never_holds_a_private_key(fleet: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "stick"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, tmp_path / "device")
    admit(bundle, fleet.registry, fleet.authority)
    assert not [path for path in bundle.iterdir() if b"PRIVATE" in path.read_bytes()]


def test_a_token_admits_one_device_once(fleet: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "stick"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, tmp_path / "device")
    admit(bundle, fleet.registry, fleet.authority)
    ask(bundle, tmp_path / "other-device")
    with pytest.raises(TrustError, match="used up") as refusal:
        admit(bundle, fleet.registry, fleet.authority)
    assert refusal.value.code == "trust.token"


@pytest.mark.parametrize(
    "change",
    [{"device": "gate-8"}, {"token": "guess"}, {"public_key": "AAAA"}, {"csr": "x"}, {"more": 1}],
)
def test_a_request_that_was_tampered_with_registers_nothing(
    fleet: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    bundle = tmp_path / "stick"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, tmp_path / "device")
    path = bundle / "request.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(TrustError):
        admit(bundle, fleet.registry, fleet.authority)
    assert fleet.registry.device("gate-7") is None
    assert not has_certificate(bundle)


def test_another_devices_certificate_is_not_taken(fleet: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "stick"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, tmp_path / "device")
    (bundle / "device.crt").write_bytes((fleet.folder / "cam-1.crt").read_bytes())
    with pytest.raises(TrustError):
        join(bundle, tmp_path / "device")
    assert not (tmp_path / "device/vigil.yaml").exists()


def test_a_bundle_that_another_folder_answered_is_not_taken(fleet: Any, tmp_path: Path) -> None:
    bundle, other = tmp_path / "stick", tmp_path / "other"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, tmp_path / "device")
    admit(bundle, fleet.registry, fleet.authority)
    with pytest.raises(ConfigError, match=f"{other} has none") as refused:
        join(bundle, other)
    assert "enrol-token" in refused.value.hint
    assert not other.exists()


def test_joining_keeps_an_operators_configuration(fleet: Any, tmp_path: Path) -> None:
    bundle, device = tmp_path / "stick", tmp_path / "device"
    invite(bundle, fleet.registry, fleet.authority, INVITATION, SITE)
    ask(bundle, device)
    (device / "vigil.yaml").write_text("mine")
    admit(bundle, fleet.registry, fleet.authority)
    assert join(bundle, device).read_text() == "mine"


def test_an_empty_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"invitation\.json"):
        ask(tmp_path, tmp_path / "device")


@pytest.mark.parametrize("device", ["controller", "controller-2", "cam-bulk"])
def test_names_that_could_take_over_another_connection_are_refused(
    fleet: Any, tmp_path: Path, device: str
) -> None:
    with pytest.raises(ConfigError):
        invite(
            tmp_path / "s", fleet.registry, fleet.authority, Invitation(device, "gate", ()), SITE
        )


# commands -------------------------------------------------------------------------------------------


def policy_for(signers: dict[str, CryptoSigner], approvals: int) -> Policy:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    users = [
        PolicyUser(
            name=name,
            role=Role.DEPLOYER,
            keys=[
                signer._private_key.public_key()
                .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                .decode()
            ],
        )
        for name, signer in signers.items()
    ]
    rules = {"deploy": PolicyRule(role=Role.DEPLOYER, approvals=approvals)}
    return Policy(schema=1, version=3, users=users, commands=rules)


def body_of(envelope: bytes, *signers: CryptoSigner) -> CommandBody:
    keys: dict[str, SSlibKey] = {s.public_key.keyid: s.public_key for s in signers}
    return parse_json(open_envelope(envelope, COMMAND_TYPE, keys)[0], CommandBody)


def test_a_signed_deploy_passes_a_devices_policy_when_two_people_approve(tmp_path: Path) -> None:
    people = {name: CryptoSigner.generate_ed25519() for name in ("ada", "grace")}
    release = ReleaseRef(path="models/gate/people/1.0/manifest.json", sha256="0" * 64)
    desk = CommandDesk(tmp_path / "counters.json")
    command = desk.issue(deploy_order(release, "d/cam-1"), "ada", [people["ada"]], 3)
    body = body_of(command.envelope, people["ada"])
    situation = Situation("cam-1", set(), body.iat, lambda _: 0, lambda _: False)
    policy = policy_for(people, approvals=2)
    with pytest.raises(TrustError) as alone:
        authorise(command.envelope, policy, situation)
    assert alone.value.code == "trust.approvals"
    both = approve_command(command, people["grace"])
    approved = authorise(both.envelope, policy, situation)
    assert read_command(both.envelope) == both
    assert approved.approvers == ("ada", "grace")
    assert approved.body.args == {"release": release.path, "sha256": release.sha256}
    assert approved.body.id == command.id


def test_counters_rise_per_issuer_also_after_a_restart_and_a_lost_file(tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ed25519()
    path = tmp_path / "state/counters.json"
    order = Order("stop", {}, "g/north")
    numbers = []
    for turn in range(4):
        if turn == 3:
            path.unlink()
            time.sleep(0.01)  # counters go on from the clock, which must have passed the last one
        command = CommandDesk(path).issue(order, "ada", [signer], 0)
        numbers.append(body_of(command.envelope, signer).ctr)
    assert numbers == sorted(set(numbers))


def test_a_damaged_counter_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    path.write_text("[")
    with pytest.raises(ConfigError, match=r"counters\.json"):
        CommandDesk(path).issue(Order("stop", {}, "d/x"), "ada", [], 0)


@pytest.mark.parametrize(
    "order", [Order("Not A Name", {}, "d/x"), Order("stop", {"a": "b" * 20_000}, "d/x")]
)
def test_commands_that_devices_would_drop_are_refused_at_the_desk(
    tmp_path: Path, order: Order
) -> None:
    with pytest.raises(CommandError):
        CommandDesk(tmp_path / "c.json").issue(order, "ada", [CryptoSigner.generate_ed25519()], 0)
