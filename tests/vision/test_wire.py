"""The framing between the processes."""

import os
import socket
import threading
from pathlib import Path

import pytest

from agent.host.memfd import memfd_of
from agent.host.seqpacket import Wire, WireClosedError, WireFaultError, wire_pair
from agent.schema.document import parse_msgpack
from agent.schema.ipc import MAX_MESSAGE_BYTES, Answer, Done, Failed, Shutdown


def test_a_message_arrives_whole_and_alone() -> None:
    left, right = wire_pair()
    left.send(Done(id=1))
    left.send(Done(id=2))
    received = [right.receive(30.0) for _ in range(2)]
    assert [parse_msgpack(got[0], Answer) for got in received if got] == [Done(id=1), Done(id=2)]


def test_a_descriptor_rides_beside_its_message() -> None:
    left, right = wire_pair()
    fd = memfd_of(b"weights", "model")
    left.send(Done(id=1), fd)
    os.close(fd)
    received = right.receive(30.0)
    assert received is not None
    assert received[1] is not None
    assert os.pread(received[1], 100, 0) == b"weights"
    assert not os.get_inheritable(received[1])
    os.close(received[1])


def test_silence_is_none_after_the_timeout() -> None:
    _, right = keep = wire_pair()
    assert right.receive(0.01) is None
    assert keep


def test_a_peer_that_is_gone_is_told_from_silence() -> None:
    left, right = wire_pair()
    left.send(Done(id=1))
    left.close()
    assert right.receive(30.0) is not None
    with pytest.raises(WireClosedError):
        right.receive(30.0)
    with pytest.raises(WireClosedError):
        right.send(Shutdown(id=1))


def test_a_message_that_is_too_large_is_not_sent() -> None:
    left, _ = wire_pair()
    with pytest.raises(WireFaultError):
        left.send(Failed(id=1, kind="ModelError", code="", message="x" * MAX_MESSAGE_BYTES))


def test_the_largest_message_arrives() -> None:
    left, right = wire_pair()
    message = Failed(id=1, kind="ModelError", code="", message="x" * (MAX_MESSAGE_BYTES - 200))
    left.send(message)
    received = right.receive(30.0)
    assert received is not None
    assert parse_msgpack(received[0], Answer) == message


def test_a_datagram_that_is_cut_off_is_refused() -> None:
    raw, sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw.send(b"x" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(WireFaultError):
        Wire(sock).receive(30.0)


def test_more_than_one_descriptor_is_refused_and_none_stays_open() -> None:
    raw, sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = len(list(Path("/proc/self/fd").iterdir()))
    socket.send_fds(raw, [b"x"], [0, 1])
    with pytest.raises(WireFaultError):
        Wire(sock).receive(30.0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_threads_that_send_do_not_mix_their_messages() -> None:
    left, right = wire_pair()
    text = "x" * 2000

    def shout(number: int) -> None:
        for _ in range(50):
            left.send(Failed(id=number, kind=text, code="", message=""))

    threads = [threading.Thread(target=shout, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    received = [right.receive(30.0) for _ in range(200)]
    for thread in threads:
        thread.join()
    assert sorted(parse_msgpack(got[0], Answer).id for got in received if got) == sorted(
        [0, 1, 2, 3] * 50
    )
