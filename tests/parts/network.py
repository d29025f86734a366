"""Hosts that a network joins, and that can be cut off without a word: network namespaces around one router.

with network("a", "b") as net, net.inside("a"):
    ...                       # this thread, its new threads and its new processes stand on the host `a`
    net.cut("a", "b")         # from now on the router drops what they send each other, and tells nobody
    net.heal()
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_ROUTER = "router"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12


@dataclass
class Network:
    """Each host is in a network of its own, 10.77.<number>.0/24, with the router at .1 and itself at .2."""

    ip: str
    hosts: Sequence[str]
    prefix: str = field(default_factory=lambda: f"vigil-{secrets.token_hex(3)}-")
    _cuts: list[list[str]] = field(default_factory=list)

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return f"10.77.{self.hosts.index(host) + 1}.2"

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Move this thread to a host until the block ends."""
        with Path("/proc/thread-self/ns/net").open() as before:
            self._enter(Path(f"/run/netns/{self.prefix}{host}"))
            try:
                yield
            finally:
                _enter(before.fileno())

    def cut(self, one: str, other: str, port: int = 0) -> None:
        """Drop all packets between two hosts, or only those from and to a TCP port of the other."""
        ends = [["from", self.address(one), "to", self.address(other)]]
        ends += [["from", self.address(other), "to", self.address(one)]]
        for end, side in zip(ends, ("dport", "sport"), strict=True):
            self._cuts.append([*end, *(["ipproto", "tcp", side, str(port)] if port else [])])
            self._rule("add", *self._cuts[-1], "blackhole")

    def heal(self) -> None:
        """Let everything through again."""
        while self._cuts:
            self._rule("del", *self._cuts.pop())

    def build(self) -> None:
        """Make the router and the hosts.

        Raises:
            OSError: That is not allowed here.
        """
        self._ip("netns", "add", self.prefix + _ROUTER)
        with self.inside(_ROUTER):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for number, host in enumerate(self.hosts, 1):
            self._join(host, f"10.77.{number}")

    def remove(self) -> None:
        """Remove the hosts and the router."""
        for host in (*self.hosts, _ROUTER):
            with contextlib.suppress(OSError):
                self._ip("netns", "del", self.prefix + host)

    def _join(self, host: str, subnet: str) -> None:
        name, router = self.prefix + host, self.prefix + _ROUTER
        self._ip("netns", "add", name)
        ends = ["eth0", "netns", name, "type", "veth", "peer", "name", host, "netns", router]
        self._ip("link", "add", *ends)
        for place, device, last in ((name, "eth0", 2), (router, host, 1)):
            self._ip("-n", place, "link", "set", "lo", "up")
            self._ip("-n", place, "addr", "add", f"{subnet}.{last}/24", "dev", device)
            self._ip("-n", place, "link", "set", device, "up")
        self._ip("-n", name, "route", "add", "default", "via", f"{subnet}.1")

    def _rule(self, *words: str) -> None:
        self._ip("-n", self.prefix + _ROUTER, "rule", *words)

    def _ip(self, *words: str) -> None:
        done = subprocess.run([self.ip, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def _enter(self, path: Path) -> None:
        with path.open() as file:
            _enter(file.fileno())


@contextlib.contextmanager
def network(*hosts: str) -> Iterator[Network]:
    """Make a network of these hosts until the block ends; skips the test where that is not possible."""
    ip = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if ip is None:
        pytest.skip("iproute2 is not installed")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Network(ip, hosts)
    try:
        try:
            made.build()
        except OSError as error:
            pytest.skip(f"network namespaces are not allowed here: {error}")
        yield made
    finally:
        made.remove()


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
