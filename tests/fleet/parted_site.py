"""A fleet's controllers, its broker and database, and its devices, on hosts of their own.

`first` and `second` have a controller each, `centre` has mosquitto and PostgreSQL, `far` is for a device. Tests, and their
other devices, stand in the `field`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import Popen

from agent.fleet.access import CONTROLLER
from agent.fleet.home import FleetHome
from agent.fleet.registry import DeviceRecord
from agent.trust.keys import FileKey
from tests.fleet.asking import RELEASE
from tests.fleet.dock import NAMES, Dock, opened_dock
from tests.fleet.fleet_site import LOG, fleet_site, sent, tls_of
from tests.parts.network import Network, network
from tests.parts.postgresql import Server, postgresql
from tests.parts.processes import served

ASKER = "dock-9"  # takes part in no roll-out


@dataclass
class Site:
    """The hosts and what runs on them; `first` and `second` are the controllers' processes."""

    network: Network
    home: FleetHome
    server: Server
    folder: Path
    first: Popen[str]
    second: Popen[str]

    def forget(self) -> None:
        """Empty the logs."""
        for log in (LOG, "first.log"):
            os.truncate(self.folder / log, 0)

    def broker_says(self, pattern: str) -> bool:
        """Whether mosquitto logged it."""
        return re.search(pattern, (self.folder / LOG).read_text()) is not None

    def first_says(self, pattern: str) -> bool:
        """Whether the first controller logged it."""
        return re.search(pattern, (self.folder / "first.log").read_text()) is not None

    def sent(self, leaf: str) -> int:
        """How many messages on such topics the first controller brought to the broker."""
        return sent(self.folder / LOG, leaf)["controller-1"]

    def dock(self, folder: Path) -> Dock:
        config = self.home.config
        place, port, host = self.home.place, config.broker_port, config.broker_host
        return opened_dock(folder, place, port, partial(tls_of, self.home), good=True, host=host)


@contextlib.contextmanager
def parted_site(folder: Path) -> Iterator[Site]:
    """Run a site until the block ends, which stands in the `field`; `folder/repo` is its repository."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network("first", "second", "centre", "field", "far"))
        centre = net.address("centre")
        with net.inside("centre"):
            server = stack.enter_context(postgresql(centre))
            url = server.database()
            made = fleet_site(folder, "../repo", database=url, host=centre, verbose=True)
            home = stack.enter_context(made)
        stack.enter_context(net.inside("field"))
        key = FileKey.create(folder / "grant.key").public_bytes
        home.registry.put_devices(
            [DeviceRecord(name, "gate", ("dock",), key, "0") for name in (*NAMES, ASKER)]
        )
        home.registry.put_release_key(RELEASE, bytes(range(32)))
        for number in ("1", "2"):
            home.appoint(f"{CONTROLLER}-{number}")
        home.write_access()
        # As on two machines: each has the folder, none has the other's files.
        shutil.copytree(home.folder, folder / "second")
        processes = []
        for host, number, its in (("first", "1", home.folder), ("second", "2", folder / "second")):
            with net.inside(host):
                runs = served(
                    its, "--instance", number, log=folder / f"{host}.log", may_end_with=75
                )
                processes.append(stack.enter_context(runs)[0])
        yield Site(net, home, server, folder, *processes)
