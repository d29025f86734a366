"""The public suite's cases for delegations and downloads, and its command line over MQTT blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from tests.parts.block_desk import Desk
from tests.parts.broker import Broker
from tests.parts.conformance_stand import Stand
from tests.parts.conformance_steps import publish, unsigned
from tests.parts.puller import DEVICE
from tests.parts.signed_repository import SignedRepository, in_days, listed, location
from tests.parts.web_server import WebServer

TOP_LEVEL_REQUESTS = 4


@pytest.fixture
def repository() -> SignedRepository:
    return SignedRepository()


@pytest.fixture
def server(repository: SignedRepository) -> Iterator[WebServer]:
    with WebServer(repository.files) as server:
        yield server


@pytest.fixture
def stand(tmp_path: Path, repository: SignedRepository, server: WebServer) -> Stand:
    stand = Stand(tmp_path, repository, f"{server.url}/metadata", f"{server.url}/targets")
    stand.initialise()
    return stand


def enter(repository: SignedRepository, role: str, path: str, data: bytes) -> str:
    """List a file under a role; return where it lies."""
    signed_role = repository.targets if role == "targets" else repository.delegated[role]
    target = listed(path, data)
    signed_role.targets[path] = target
    place = location(target).replace("//", "/")
    repository.files[place] = data
    return place


def delegate(repository: SignedRepository, *edges: str) -> None:
    """Replace the delegations: `A>B *.md` lets A delegate `*.md` to B, `!` at the end ends the search there."""
    repository.delegated, repository.snapshot.meta = {}, {}
    repository.targets.delegations = None
    for edge in edges:
        names, _, pattern = edge.partition(" ")
        parent, child = names.rstrip("!").split(">")
        if child not in repository.delegated:
            repository.delegated[child] = Targets(expires=in_days(9))
            repository.delegated[child].version = 0
            repository.signers[child] = [CryptoSigner.generate_ed25519()]
        above = repository.targets if parent == "targets" else repository.delegated[parent]
        delegations = above.delegations or Delegations({}, {})
        assert delegations.roles is not None
        key, ends = repository.signers[child][0].public_key, names.endswith("!")
        delegations.keys[key.keyid] = key
        delegations.roles[child] = DelegatedRole(child, [key.keyid], 1, ends, [pattern or "*"])
        above.delegations = delegations
    repository.publish()


def visited(server: WebServer) -> str:
    """The delegated roles that were asked for, in order."""
    names = [path.rpartition("/")[2] for path, _ in server.requests[TOP_LEVEL_REQUESTS:]]
    return " ".join(name.split(".")[1] for name in names if name.endswith(".json"))


@pytest.mark.parametrize(
    ("edges", "order"),
    [
        pytest.param(["targets>A"], "A", id="one"),
        pytest.param(["targets>A", "targets>B"], "A B", id="two"),
        pytest.param(["targets>A", "targets>B", "B>C"], "A B C", id="two levels"),
        pytest.param(
            ["targets>A", "targets>B", "A>C", "A>D"], "A C D B", id="depth before breadth"
        ),
        pytest.param(["targets>A", "targets>B", "A>C", "C>D"], "A C D B", id="three levels"),
        pytest.param(["targets>A", "targets>B", "A>C!", "A>D"], "A C", id="ends at the second"),
        pytest.param(["targets>A", "targets>B", "A>C!", "C>D"], "A C D", id="ends below"),
        pytest.param(["targets>A *.py", "targets>B", "A>C"], "B", id="path of another"),
        pytest.param(
            ["targets>A", "targets>B", "A>C *.py", "C>D"], "A B", id="path of another, below"
        ),
        pytest.param(
            ["targets>A", "targets>B", "B>C", "C>D", "D>B"], "A B C D", id="round and round"
        ),
        pytest.param(["targets>A", "targets>B", "B>C", "A>C"], "A C B", id="two ways to one"),
        pytest.param(
            ["targets>A", "targets>B", "B>C", "A>C *.py"], "A B C", id="two ways, one open"
        ),
    ],
)
def test_delegations_are_searched_in_order(
    stand: Stand, repository: SignedRepository, server: WebServer, edges: list[str], order: str
) -> None:
    delegate(repository, *edges)
    assert stand.download("missingpath") == 1
    assert visited(server) == order


@pytest.mark.parametrize(
    ("path", "order", "code"),
    [
        ("targetfile", "", 0),
        ("README.md", "A", 0),
        ("releases/x/x_v1", "B C", 0),
        ("releases/y/y_v1.zip", "B D", 0),
        ("releases/z/z_v1.zip", "B", 1),
    ],
)
def test_only_what_the_whole_chain_delegates_is_found(
    stand: Stand,
    repository: SignedRepository,
    server: WebServer,
    path: str,
    order: str,
    code: int,
) -> None:
    edges = ["targets>A *.md", "targets>B releases/*/*", "B>C releases/x/*", "B>D releases/y/*.zip"]
    delegate(repository, *edges)
    signers = {"README.md": "A", "releases/x/x_v1": "C", "targetfile": "targets"}
    enter(repository, signers.get(path, "D"), path, b"content")
    repository.publish()
    assert stand.download(path) == code
    assert visited(server) == order
    assert stand.downloaded == [b"content"] * (1 - code)


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole"])
def test_strange_role_names_are_quoted_in_requests_and_file_names(
    stand: Stand, repository: SignedRepository, role: str
) -> None:
    delegate(repository, f"targets>{role}")
    plain, quoted = (f"metadata/1.{name}.json" for name in (role, quote(role, "")))
    repository.files[quoted] = repository.files.pop(plain)
    enter(repository, role, "a/b", b"content")
    assert stand.download("nothing") == 1
    assert (stand.metadata / f"{quote(role, '')}.json").exists()
    assert sorted(file.name for file in stand.folder.iterdir()) == [
        "metadata",
        "targets",
        "trusted_root.json",
    ]


def delegate_expired(repository: SignedRepository) -> None:
    repository.delegated["A"].expires = in_days(-1)
    repository.publish()


def delegate_gone(repository: SignedRepository) -> None:
    repository.publish()
    del repository.files[f"metadata/{repository.delegated['A'].version}.A.json"]


@pytest.mark.parametrize("fault", [delegate_expired, delegate_gone, unsigned("A")])
def test_a_bad_delegate_hides_its_files_and_not_the_top_level(
    stand: Stand, repository: SignedRepository, fault: Callable[[SignedRepository], None]
) -> None:
    delegate(repository, "targets>A")
    enter(repository, "A", "a/file", b"content")
    fault(repository)
    assert (stand.refresh(), stand.download("a/file"), stand.downloaded) == (0, 1, [])
    assert not (stand.metadata / "A.json").exists()


def test_a_file_that_is_here_already_is_not_fetched_again(
    stand: Stand, repository: SignedRepository, server: WebServer
) -> None:
    place = enter(repository, "targets", "path/to/a/file.txt", b"content")
    repository.publish()
    assert (stand.refresh(), stand.downloaded) == (0, [])
    assert [stand.download("path/to/a/file.txt") for _ in range(2)] == [0, 0]
    assert stand.downloaded == [b"content"]
    assert [path for path, _ in server.requests].count(f"/{place}") == 1


def test_a_changed_file_takes_the_place_of_the_old_one(
    stand: Stand, repository: SignedRepository
) -> None:
    for content in (b"first", b"second, longer", b"3rd"):
        enter(repository, "targets", "file.txt", content)
        repository.publish()
        assert (stand.download("file.txt"), stand.downloaded) == (0, [content])


@pytest.mark.parametrize("served", [b"malicious", b"content and more", b"cont", b"", None])
def test_other_bytes_than_listed_never_become_a_file(
    stand: Stand, repository: SignedRepository, served: bytes | None
) -> None:
    place = enter(repository, "targets", "file.txt", b"content")
    repository.publish()
    repository.files[place] = served or b""
    if served is None:
        del repository.files[place]
    is_cut_to_length = served is not None and served.startswith(b"content")
    assert stand.download("file.txt") == (0 if is_cut_to_length else 1)
    assert stand.downloaded == [b"content"] * is_cut_to_length


def test_bytes_that_were_exchanged_leave_the_downloaded_file(
    stand: Stand, repository: SignedRepository
) -> None:
    places = [enter(repository, "targets", f"{n}.txt", b"content %d" % n) for n in (1, 2)]
    repository.publish()
    assert stand.download("1.txt") == 0
    for place in places:
        repository.files[place] = b"malicious"
    assert (stand.download("1.txt"), stand.download("2.txt")) == (0, 1)
    assert stand.downloaded == [b"content 1"]


def test_over_a_broker_the_same_commands_hold(
    mosquitto: Broker, tmp_path: Path, repository: SignedRepository
) -> None:
    public = tmp_path / "public"
    url = f"mqtt://127.0.0.1:{mosquitto.port}/{DEVICE}"
    stand = Stand(tmp_path, repository, f"{url}/metadata", f"{url}/targets")
    place = enter(repository, "targets", "path/file.txt", b"content")
    repository.publish()
    desk = Desk(mosquitto.port, public)
    try:
        lay(repository, public)
        assert [stand.initialise(), stand.refresh(), stand.download("path/file.txt")] == [0] * 3
        assert (stand.versions, stand.downloaded) == (stand.published, [b"content"])
        before = stand.versions
        repository.files[place] = b"another"
        unsigned("timestamp")(repository)
        lay(repository, public)
        assert (stand.refresh(), stand.versions) == (1, before)
        (stand.targets / quote("path/file.txt", "")).unlink()
        repository.rotate("timestamp")
        publish(repository)
        lay(repository, public)
        assert (stand.refresh(), stand.versions) == (0, stand.published)
        assert (stand.download("path/file.txt"), stand.downloaded) == (1, [])
    finally:
        desk.close()


def lay(repository: SignedRepository, public: Path) -> None:
    """Write the repository where the block server reads it."""
    for name, data in repository.files.items():
        file = public / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
