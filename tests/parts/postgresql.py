"""A real PostgreSQL of a test's own, on a socket in a folder of its own, and a PgBouncer before it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sql

from tests.parts.processes import until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass
class Server:
    """A PostgreSQL of our own: it listens on a socket in its folder, on port 5432 where it has an address, and runs as
    somebody without rights.
    """

    folder: Path
    programs: Path
    address: str = ""
    names: list[str] = field(default_factory=list)

    def run(self, program: str, *words: str) -> None:
        command = [*_unprivileged(), str(self.programs / program), *words]
        # What it prints goes to a file: a server that stays would hold a pipe open.
        with (self.folder / "printed").open("ab") as printed:
            subprocess.run(command, check=True, stdout=printed, stderr=printed, cwd="/", timeout=60)

    def start(self) -> None:
        data, log = self.folder / "data", self.folder / "log"
        options = f"-k {self.folder} -h '{self.address}' -c fsync=off"
        self.run("pg_ctl", "-D", str(data), "-w", "-l", str(log), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def database(self, like: str = "") -> str:
        """Make an empty database, or one like another of ours, and return its URL."""
        self.names.append(f"fleet{len(self.names)}")
        template = str(sql.make_url(like).database) if like else "template1"
        here = ("-h", str(self.folder), "-U", "fleet")
        self.run("createdb", *here, "-T", template, self.names[-1])
        host = self.address or self.folder
        return f"postgresql+psycopg://fleet@/{self.names[-1]}?host={host}"


@contextlib.contextmanager
def postgresql(address: str = "") -> Iterator[Server]:
    """Run a server, which trusts everybody who reaches it, until the block ends; skips the test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg")
    if not PROGRAMS:
        pytest.skip("postgresql is not installed")
    # A socket's path has at most 107 bytes, and nobody may enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="vigil-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    made = Server(folder, PROGRAMS[-1], address)
    made.run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "fleet", "--no-sync")
    with (folder / "data/pg_hba.conf").open("a") as file:
        file.write("host all all all trust\n")
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


@contextlib.contextmanager
def pgbouncer(server: Server, pool_size: int = 3) -> Iterator[Callable[[str], str]]:
    """Run a PgBouncer that gives each transaction one of `pool_size` connections to the server, until the block ends.

    Returns:
        What turns the URL of one of the server's databases into that of the same one through the pooler.
    """
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    folder = server.folder / "pooler"
    folder.mkdir()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={server.folder} user=fleet\n"
        f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {pool_size}\nserver_round_robin = 1\n"
        "ignore_startup_parameters = options\n"
    )
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*_unprivileged(), PGBOUNCER, str(settings)], stdout=log, stderr=log, cwd="/"
        )
    try:
        until((folder / ".s.PGSQL.6432").exists, 30.0, "pgbouncer listens")
        yield lambda url: f"{sql.make_url(url).set(query={'host': str(folder), 'port': '6432'})}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _unprivileged() -> list[str]:
    """Return what makes a command run as somebody without rights: neither of the two runs as root."""
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    return nobody if os.geteuid() == 0 else []
