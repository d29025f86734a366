"""Ports for servers that are started a moment later."""

import socket

import pytest

from agent.host import ports


def test_ports_are_free_and_none_is_given_twice_while_there_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        first = taken.getsockname()[1]
        step = ports._RANGE.step  # those between are other processes'
        monkeypatch.setattr(ports, "_RANGE", range(first, first + 12 * step, step))
        monkeypatch.setattr(ports, "_given", set())
        found = [*ports.free_ports(5), ports.free_port()]
        assert len(set(found)) == 6
        assert first not in found
        for port in found:
            socket.create_server(("127.0.0.1", port)).close()
        assert set(found) & set(ports.free_ports(8))
        with pytest.raises(OSError, match="fewer than 12 are free"):
            ports.free_ports(12)
