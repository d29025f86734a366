"""Ports for servers that are started a moment later."""

import socket

import pytest

from agent.host.ports import PORTS, Ports, free_port, free_ports


def test_ports_are_free_and_none_is_given_twice_while_there_are_others() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        first = taken.getsockname()[1]
        step = PORTS.among.step  # those between are other processes'
        ports = Ports(range(first, first + 12 * step, step))
        found = [*ports.free(5), *ports.free(1)]
        assert len(set(found)) == 6
        assert first not in found
        for port in found:
            socket.create_server(("127.0.0.1", port)).close()
        assert set(found) & set(ports.free(8))
        with pytest.raises(OSError, match="fewer than 12 are free"):
            ports.free(12)


def test_the_last_free_port_is_given_too() -> None:
    port = free_port()
    assert Ports(range(port, port + 1)).free(1) == [port]


def test_a_process_chooses_among_its_own_ports_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own = PORTS.among[:10]
    monkeypatch.setattr(PORTS, "among", own)
    assert {free_port(), *free_ports(3)} <= set(own)
