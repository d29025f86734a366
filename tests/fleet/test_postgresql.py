"""The controller's tables on a real PostgreSQL: the same promises as on SQLite, several controllers, a server that goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from agent.errors import StorageError, TrustError
from agent.fleet.history import history
from agent.fleet.operators import CommandDesk, deploy_order
from agent.fleet.registry import DeviceRecord, GrantRecord, Registry
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_runner import RolloutRunner
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.fleet.tokens import Invitation
from agent.schema.manifest import ReleaseRef
from tests.fleet.rollout_world import PATH, PLAN, SHA256, START_MS, WAVES, World

pytest.importorskip("psycopg")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
CONTROLLERS = 4


@dataclass
class Server:
    """A PostgreSQL of our own: it listens on a socket in its folder only, and runs as somebody without rights."""

    folder: Path
    programs: Path
    names: list[str] = field(default_factory=list)

    def run(self, program: str, *words: str) -> None:
        # PostgreSQL does not run as root.
        nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        command = [*(nobody if os.geteuid() == 0 else []), str(self.programs / program), *words]
        # What it prints goes to a file: a server that stays would hold a pipe open.
        with (self.folder / "printed").open("ab") as printed:
            subprocess.run(command, check=True, stdout=printed, stderr=printed, cwd="/", timeout=60)

    def start(self) -> None:
        data, log = self.folder / "data", self.folder / "log"
        options = f"-k {self.folder} -h '' -c fsync=off"
        self.run("pg_ctl", "-D", str(data), "-w", "-l", str(log), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def database(self) -> str:
        """Make an empty database and return its URL."""
        self.names.append(f"fleet{len(self.names)}")
        self.run("createdb", "-h", str(self.folder), "-U", "fleet", self.names[-1])
        return f"postgresql+psycopg://fleet@/{self.names[-1]}?host={self.folder}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if not PROGRAMS:
        pytest.skip("postgresql is not installed")
    # A socket's path has at most 107 bytes, and nobody may enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="vigil-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    made = Server(folder, PROGRAMS[-1])
    made.run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "fleet", "--no-sync")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


def begun(url: str, folder: Path) -> RolloutStore:
    signer, desk = CryptoSigner.generate_ed25519(), CommandDesk(folder / "counters.json")
    release = ReleaseRef(path=PATH, sha256=SHA256)
    commands = {
        device: desk.issue(deploy_order(release, f"d/{device}"), "ada", [signer], 0, 24 * 3600)
        for device in WAVES
    }
    store = RolloutStore(url)
    rollout = Rollout(PLAN.name, PLAN, PATH, SHA256, Standing.RUNNING, "", START_MS)
    store.create(rollout, WAVES, commands)
    return store


def live(run: RolloutRunner, world: World, times: int = 8) -> None:
    for _ in range(times):
        run.step()
        world.live()


def test_the_registry_keeps_what_it_is_told(server: Server) -> None:
    url = server.database()
    registry = Registry(url)
    record = DeviceRecord("cam-1", "gate", ("north",), b"\x04" * 65, "1f", enrolled_ms=5)
    registry.put_devices([record, DeviceRecord("cam-2", "gate", (), b"", "0")])
    assert registry.device("cam-1") == record
    registry.put_release_key("gate/people/1.0", bytes(range(32)))
    assert registry.release_key("gate/people/1.0") == bytes(range(32))
    registry.log_grant(GrantRecord(1_000, "cam-1", "gate/people/1.0", 200))
    invitation = Invitation("cam-1", "gate", ("north",))
    registry.tokens.put("secret", invitation, expires_ms=1000)
    assert registry.tokens.redeem("secret", "cam-1", "keys", 999) == invitation
    with pytest.raises(TrustError):
        registry.tokens.redeem("secret", "cam-1", "other keys", 999)
    registry.close()
    assert [one.what for one in history(url, "cam-1")] == ["enrolled", "key asked"]


@pytest.mark.parametrize("good", [True, False])
def test_a_roll_out_is_carried_out(server: Server, tmp_path: Path, *, good: bool) -> None:
    store, world = begun(server.database(), tmp_path), World(good=good)
    world.tell_states()
    live(RolloutRunner(store, world, lambda: world.now_ms), world)
    assert store.rollout(PLAN.name).standing is (Standing.DONE if good else Standing.HALTED)
    assert set(world.taken) == (set(WAVES) if good else {"cam-1"})
    store.close()


def test_controllers_may_start_at_once_on_an_empty_database(server: Server) -> None:
    url = server.database()
    with ThreadPoolExecutor(CONTROLLERS) as pool:
        for registry in pool.map(Registry, [url] * CONTROLLERS):
            assert registry.devices() == []
            registry.close()


def test_several_controllers_ask_each_device_once(server: Server, tmp_path: Path) -> None:
    url = server.database()
    stores = [begun(url, tmp_path), *(RolloutStore(url) for _ in range(CONTROLLERS - 1))]
    rows = stores[0].devices(PLAN.name)

    def claim(store: RolloutStore) -> list[str]:
        return [row.device for row in rows if store.claim(PLAN.name, row, START_MS, 0)]

    with ThreadPoolExecutor(CONTROLLERS) as pool:
        won = [device for devices in pool.map(claim, stores) for device in devices]
    assert sorted(won) == sorted(WAVES)
    for store in stores:
        store.close()


def test_a_server_that_goes_sends_nothing_and_all_goes_on_when_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    store, world = begun(server.database(), tmp_path), World()
    world.tell_states()
    run = RolloutRunner(store, world, lambda: world.now_ms)
    run.step()
    world.live()
    server.stop()
    try:
        for _ in range(2):
            with pytest.raises(StorageError, match="psycopg"):
                run.step()
        assert set(world.taken) == {"cam-1"}
    finally:
        server.start()
    live(run, world)
    assert store.rollout(PLAN.name).standing is Standing.DONE
    assert set(world.taken) == set(WAVES)
    store.close()
