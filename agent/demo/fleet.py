"""A throw-away fleet in one folder: keys of imaginary people, repository, authority, broker, controller.

Everything is what a real fleet has, thresholds and TLS included; only its people live in one folder, and the
broker is embedded and speaks to this machine alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from securesystemslib.signer import Signer

from agent.fleet.authority import FleetAuthority
from agent.fleet.blocks import BlockServer
from agent.fleet.broker import EmbeddedBroker
from agent.fleet.controller import Controller, Services
from agent.fleet.enrolment import Site, admit, invite
from agent.fleet.joining import join, request
from agent.fleet.keys import KeyService
from agent.fleet.operators import CommandDesk, Order, SignedCommand, deploy_order
from agent.fleet.registry import Registry
from agent.fleet.tokens import Invitation
from agent.release.charter import (
    POLICY,
    RELEASE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    charter_from_keys,
)
from agent.release.repository import Repository
from agent.release.signers import generate, load_signers
from agent.schema.agent_release import AGENT_ROLE
from agent.schema.blocks import BlockReply
from agent.schema.commands import recommended_rules
from agent.schema.config import BrokerConfig, TlsConfig
from agent.schema.manifest import ReleaseRef
from agent.schema.messages import Policy, PolicyUser, Role
from agent.schema.topics import DEFAULT_PREFIX

DEVICE_CLASS = "sorters"
PEOPLE = ("ada", "grace")
POLICY_VERSION = 1
_KEYS_PER_ROLE = {ROOT: 3, TARGETS: 3, RELEASE: 3, POLICY: 3, SNAPSHOT: 1, TIMESTAMP: 1}


class Road(BlockServer):
    """The block server, which can be made to serve a forged repository instead."""

    elsewhere: BlockServer | None = None

    def answer(self, device: str, payload: bytes) -> BlockReply:
        """Answer from the forged repository while there is one."""
        if self.elsewhere is not None:
            return self.elsewhere.answer(device, payload)
        return super().answer(device, payload)


class DemoFleet:
    """The fleet, made in `folder` and not yet started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        _make_keys(self.keys)
        charter = charter_from_keys(self.keys, (DEVICE_CLASS,), threshold=2)
        self.repository = Repository.create(folder / "repository", charter)
        self.repository.set_policy(_policy(self.keys / "people"))
        self.publish()
        self.authority = FleetAuthority.create(folder / "authority")
        self.registry = Registry(folder / "fleet.db")
        self.broker = EmbeddedBroker(folder / "broker", self.authority, self._members)
        self.road = Road(self.repository.public)
        services = Services(KeyService(self.registry), self.road)
        self.controller = Controller(self._broker_config(), services)
        self._desk = CommandDesk(folder / "counters.json")

    def start(self) -> None:
        """Start broker and controller.

        Raises:
            TransferError: The broker does not come up.
        """
        self.broker.start()
        self.controller.start()

    def stop(self) -> None:
        """Stop both; idempotent."""
        self.controller.stop()
        self.broker.stop()
        self.registry.close()

    def publish(self) -> None:
        """Gather two of three approvals for everything staged, and publish it."""
        for standing in self.repository.standings():
            role = POLICY if standing.role == AGENT_ROLE else standing.role
            role = role if (self.keys / role).exists() else RELEASE
            self.repository.approve(
                standing.role, list(load_signers(self.keys / role).values())[:2]
            )
        self.repository.publish(self.online(SNAPSHOT), self.online(TIMESTAMP))

    def online(self, role: str) -> list[Signer]:
        """Return the signers of an online role."""
        return list(load_signers(self.keys / role).values())

    def enrol(self, device: str, folder: Path) -> Path:
        """Let a new device make its keys in `folder` and join; return its configuration file."""
        bundle = self.folder / "bundles" / device
        shutil.rmtree(bundle, ignore_errors=True)  # it may have joined before
        site = Site("127.0.0.1", self.broker.port, self.repository.root_bytes)
        invite(bundle, self.registry, self.authority, Invitation(device, DEVICE_CLASS, ()), site)
        request(bundle, folder)
        admit(bundle, self.registry, self.authority)
        return join(bundle, folder)

    def deploy(self, release: ReleaseRef, device: str) -> SignedCommand:
        """Send a deploy command that two people signed; return it."""
        return self.order(deploy_order(release, f"d/{device}"))

    def order(self, order: Order) -> SignedCommand:
        """Send a command that two people signed; return it."""
        signers = load_signers(self.keys / "people")
        command = self._desk.issue(
            order, PEOPLE[0], [signers[name] for name in PEOPLE], POLICY_VERSION
        )
        self.controller.send(command)
        return command

    def _members(self, device: str) -> frozenset[str] | None:
        record = self.registry.device(device)
        return None if record is None else frozenset(record.groups)

    def _broker_config(self) -> BrokerConfig:
        credentials = self.authority.client_certificate("controller")
        cert, key = credentials.write(self.folder / "controller", "controller")
        ca = self.folder / "controller" / "ca.crt"
        ca.write_bytes(self.authority.ca_pem)
        return BrokerConfig(
            host="127.0.0.1",
            port=self.broker.port,
            tls=TlsConfig(ca=str(ca), cert=str(cert), key=str(key)),
            protocol="3.1.1",
            prefix=DEFAULT_PREFIX,
        )


def _make_keys(folder: Path) -> None:
    for role, count in _KEYS_PER_ROLE.items():
        for number in range(1, count + 1):
            generate(folder / role, f"{role}-{number}")
    for person in PEOPLE:
        generate(folder / "people", person)


def _policy(people: Path) -> Policy:
    users = [
        PolicyUser(name=name, role=Role.ADMIN, keys=[(people / f"{name}.pub").read_text()])
        for name in PEOPLE
    ]
    return Policy(
        schema=1,
        version=POLICY_VERSION,
        users=users,
        commands=recommended_rules(),
    )
