"""The cases of the public suite theupdateframework/tuf-conformance, through its command line and over HTTP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from tests.parts.conformance_cases import CASES, Case
from tests.parts.conformance_stand import ROLES, Stand
from tests.parts.conformance_steps import snapshot_in_place_of_the_timestamp
from tests.parts.signed_repository import SignedRepository, in_days, signed
from tests.parts.web_server import WebServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository() -> SignedRepository:
    return SignedRepository()


@pytest.fixture
def server(repository: SignedRepository) -> Iterator[WebServer]:
    with WebServer(repository.files) as server:
        yield server


@pytest.fixture
def stand(tmp_path: Path, repository: SignedRepository, server: WebServer) -> Stand:
    return Stand(tmp_path, repository, f"{server.url}/metadata", f"{server.url}/targets")


def test_a_first_refresh_asks_for_each_role_once(stand: Stand, server: WebServer) -> None:
    assert (stand.initialise(), server.requests) == (0, [])
    assert stand.refresh() == 0
    asked = ["2.root", "timestamp", "2.snapshot", "2.targets"]
    assert [path for path, _ in server.requests] == [f"/metadata/{name}.json" for name in asked]
    assert stand.versions == stand.published


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_metadata(stand: Stand, repository: SignedRepository, case: Case) -> None:
    stand.initialise()
    assert stand.refresh() == 0
    for step in case.steps[:-1]:
        step(repository)
        assert stand.refresh() == 0
    before = stand.versions
    case.steps[-1](repository)
    assert stand.refresh() == case.code
    moved = {role: stand.published[role] for role in case.moved.split()}
    assert stand.versions == before | moved


@pytest.mark.parametrize("role", ROLES)
def test_on_a_first_refresh_nothing_behind_an_unsigned_role_is_trusted(
    stand: Stand, repository: SignedRepository, role: str
) -> None:
    next(case for case in CASES if case.name.startswith(f"{role} signed by strangers")).steps[0](
        repository
    )
    stand.initialise()
    assert stand.refresh() == 1
    assert list(stand.versions) == list(ROLES[: max(ROLES.index(role), 1)])


def test_on_a_first_refresh_nothing_is_kept_of_a_snapshot_in_place_of_the_timestamp(
    stand: Stand, repository: SignedRepository
) -> None:
    snapshot_in_place_of_the_timestamp(repository)
    stand.initialise()
    assert (stand.refresh(), list(stand.versions)) == (1, ["root"])


@pytest.mark.parametrize("fault", ["version gone", "unsigned", "garbage"])
def test_a_bad_first_root_is_refused_before_anything_is_asked_for(
    stand: Stand, repository: SignedRepository, server: WebServer, fault: str
) -> None:
    root = json.loads(repository.root_bytes)
    if fault == "version gone":
        del root["signed"]["version"]
    root["signatures"] = [] if fault == "unsigned" else root["signatures"]
    stand.initialise(b"{" if fault == "garbage" else json.dumps(root).encode())
    assert (stand.refresh(), server.requests) == (1, [])


def test_expired_metadata_on_the_device_is_no_hindrance(
    stand: Stand, repository: SignedRepository
) -> None:
    stand.initialise()
    assert stand.refresh() == 0
    for role in ("timestamp", "snapshot"):
        document = getattr(repository, role)
        document.expires = in_days(-5)
        (stand.metadata / f"{role}.json").write_bytes(signed(document, repository.signers[role]))
        document.expires = in_days(5)
    repository.publish()
    assert (stand.refresh(), stand.versions) == (0, stand.published)


# Versions of the root in order: its keys, its threshold and who signs it, by number; last: is it accepted?
Rotation = tuple[tuple[tuple[str, int, str], ...], bool]
ROTATIONS: dict[str, Rotation] = {
    "one key": ((("1", 1, "1"), ("2", 1, "21"), ("2", 1, "2")), True),
    "unused signatures": ((("1", 1, "314"), ("2", 1, "3214"), ("2", 1, "324")), True),
    "3 of 5 in many ways": ((("01234", 3, "024"), ("01234", 3, "041"), ("01234", 3, "013")), True),
    "3 of 5, one rotated": ((("01234", 3, "024"), ("01345", 3, "041")), True),
    "3 of 5, one rotated by a step between": (
        (("01234", 3, "024"), ("01345", 3, "0245"), ("01345", 3, "045")),
        True,
    ),
    "3 of 5, all rotated": (
        (("01234", 3, "024"), ("56789", 3, "024567"), ("56789", 3, "567")),
        True,
    ),
    "threshold up": ((("123", 1, "1"), ("123", 2, "12")), True),
    "threshold down": ((("123", 2, "12"), ("123", 1, "12"), ("123", 1, "1")), True),
    "a second key": ((("1", 1, "1"), ("12", 2, "12")), True),
    "not by the old key": ((("1", 1, "1"), ("2", 1, "234")), False),
    "not by the new key": ((("1", 1, "1"), ("2", 1, "134")), False),
    "not by three new keys": ((("01234", 3, "024"), ("01345", 3, "024")), False),
    "not by three old keys": ((("01234", 3, "024"), ("01345", 3, "045")), False),
    "threshold up, not reached": ((("123", 1, "1"), ("123", 2, "2")), False),
    "threshold down, old one not reached": ((("123", 2, "12"), ("123", 1, "1")), False),
}


@pytest.mark.parametrize("name", ROTATIONS)
def test_root_rotation(stand: Stand, repository: SignedRepository, name: str) -> None:
    versions, accepted = ROTATIONS[name]
    signers = [CryptoSigner.generate_ed25519() for _ in range(10)]
    repository.root.version = 0
    for keys, threshold, signatures in versions:
        set_keys(repository, "root", [signers[int(n)] for n in keys], threshold)
        repository.root.version += 1
        repository.publish_root(signers=[signers[int(n)] for n in signatures])
    last = len(versions) if accepted else len(versions) - 1
    stand.initialise(repository.files["metadata/1.root.json"])
    assert stand.refresh() == (0 if accepted else 1)
    trusted = (stand.metadata / "root.json").read_bytes()
    assert trusted == repository.files[f"metadata/{last}.root.json"]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "rotation",
    [
        ("2", 1, "2", True),
        ("1", 1, "314", True),
        ("2", 1, "134", False),
        ("01345", 3, "024", False),
        ("01345", 3, "04", False),
        ("01234", 3, "024", True),
        ("01234", 3, "041", True),
    ],
)
def test_other_roles_rotate_with_the_root(
    stand: Stand,
    repository: SignedRepository,
    role: str,
    rotation: tuple[str, int, str, bool],
) -> None:
    keys, threshold, signatures, accepted = rotation
    stand.initialise()
    assert stand.refresh() == 0
    signers = [CryptoSigner.generate_ed25519() for _ in range(6)]
    set_keys(repository, role, [signers[int(n)] for n in keys], threshold)
    repository.root.version += 1
    repository.publish_root()
    repository.signers[role] = [signers[int(n)] for n in signatures]
    repository.publish()
    assert stand.refresh() == (0 if accepted else 1)
    assert (stand.versions[role] == stand.published[role]) is accepted


def set_keys(
    repository: SignedRepository, role: str, signers: list[CryptoSigner], threshold: int
) -> None:
    for keyid in list(repository.root.roles[role].keyids):
        repository.root.revoke_key(keyid, role)
    for signer in signers:
        repository.root.add_key(signer.public_key, role)
    repository.root.roles[role].threshold = threshold


def test_the_script_speaks_the_suites_command_line(
    stand: Stand, repository: SignedRepository, tmp_path: Path
) -> None:
    script = [str(ROOT / "scripts/tuf_conformance_client")]
    where = ["--metadata-dir", str(stand.metadata), "--metadata-url", stand.metadata_url]
    root = tmp_path / "root.json"
    root.write_bytes(repository.root_bytes)
    subprocess.run([*script, *where[:2], "init", str(root)], check=True)
    subprocess.run([*script, *where, "refresh"], check=True)
    assert stand.versions == stand.published
    missing = [*script, *stand.download_options("nonexistent artifact"), "download"]
    refused = subprocess.run(missing, capture_output=True, text=True, check=False)
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert "trust.unlisted" in refused.stderr
