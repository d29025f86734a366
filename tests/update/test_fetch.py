"""One file to the disk: resumed, checked block by block, switched between roads (attack list 16 to 20, 42)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import StorageError, TransferError, TrustError
from agent.host.disk import REAL_DISK, RealDisk
from agent.schema.messages import Progress
from agent.update.fetch import fetch_file, fetch_small
from agent.update.ports import Source
from agent.update.sources.blocks import BlockSource
from agent.update.sources.failover import FailoverSource
from agent.update.sources.https import HttpsSource
from agent.update.targets import Target, target_from
from tests.parts.scripted_channels import BlockChannel, FakeClock
from tests.parts.signed_repository import BLOCK, listed
from tests.parts.web_server import Handler, WebServer

DATA = os.urandom(300_001)
TARGET = target_from(listed("models/pi5/a/1/payload.sealed", DATA))


class Road:
    """A source of scripted bytes: `make(start, nth read)`."""

    def __init__(self, make: Callable[[int, int], Iterator[bytes]]) -> None:
        self.make, self.starts = make, list[int]()

    def read(self, _path: str, start: int) -> Iterator[bytes]:
        self.starts.append(start)
        return self.make(start, len(self.starts))


def honest(start: int, _nth: int = 1) -> Iterator[bytes]:
    for at in range(start, len(DATA), 50_000):
        yield DATA[at : at + 50_000]


def wrong_at(place: int, times: int) -> Callable[[int, int], Iterator[bytes]]:
    def make(start: int, nth: int) -> Iterator[bytes]:
        data = bytearray(DATA)
        if nth <= times:
            data[place] ^= 1
        yield bytes(data[start:])

    return make


def fetch(
    folder: Path,
    *roads: Source,
    target: Target = TARGET,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> bytes:
    part, blob = folder / "x.part", folder / "x"
    fetch_file(FailoverSource(roads), target, part, blob, REAL_DISK, progress)
    assert not part.exists()
    return blob.read_bytes()


def test_a_file_arrives_and_is_not_fetched_again(tmp_path: Path) -> None:
    road = Road(honest)
    assert fetch(tmp_path, road) == DATA
    assert fetch(tmp_path, road) == DATA
    assert road.starts == [0]


def test_progress_counts_up_to_the_whole(tmp_path: Path) -> None:
    seen: list[Progress] = []
    fetch(tmp_path, Road(honest), progress=seen.append)
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert (done[0], done[-1], seen[0].total) == (0, len(DATA), len(DATA))


@pytest.mark.parametrize("flip", [None, 0, BLOCK * 5 + 3], ids=["whole", "first", "sixth"])
def test_a_part_keeps_its_good_blocks(tmp_path: Path, flip: int | None) -> None:
    part = bytearray(DATA[:200_000])
    if flip is not None:
        part[flip] ^= 1
    (tmp_path / "x.part").write_bytes(part)
    road = Road(honest)
    assert fetch(tmp_path, road) == DATA
    whole_blocks = 200_000 // BLOCK if flip is None else flip // BLOCK
    assert road.starts == [whole_blocks * BLOCK]


def test_a_part_longer_than_the_file_is_cut(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(DATA + b"more")
    road = Road(honest)
    assert fetch(tmp_path, road) == DATA


def test_a_rotten_finished_file_is_replaced_whole_and_never_missing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))

    def seen(_progress: Progress) -> None:
        assert (tmp_path / "x").exists()

    assert fetch(tmp_path, Road(honest), progress=seen) == DATA


@pytest.mark.parametrize("place", [0, BLOCK * 3, len(DATA) - 1])
def test_a_poisoned_block_is_asked_for_again(tmp_path: Path, place: int) -> None:
    road = Road(wrong_at(place, times=2))
    assert fetch(tmp_path, road) == DATA
    assert road.starts == [0, place // BLOCK * BLOCK, place // BLOCK * BLOCK]


def test_a_block_that_stays_poisoned_ends_the_transfer_and_keeps_the_good_ones(
    tmp_path: Path,
) -> None:
    with pytest.raises(TransferError) as caught:
        fetch(tmp_path, Road(wrong_at(BLOCK * 3, times=9)))
    assert caught.value.code == "transfer.poisoned"
    assert (tmp_path / "x.part").read_bytes() == DATA[: BLOCK * 3]
    assert not (tmp_path / "x").exists()


def test_the_next_road_is_asked_for_a_poisoned_block(tmp_path: Path) -> None:
    poisoned, good = Road(wrong_at(BLOCK * 3, times=9)), Road(honest)
    assert fetch(tmp_path, poisoned, good) == DATA
    assert (poisoned.starts, good.starts) == ([0], [BLOCK * 3])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda start, _nth: iter([os.urandom(len(DATA) - start)]), id="16 other bytes"
        ),
        pytest.param(lambda start, _nth: iter([DATA[start:-1]]), id="18 too short"),
        pytest.param(lambda _start, _nth: iter([]), id="18 nothing"),
        pytest.param(lambda start, _nth: iter([DATA[::-1][start:]]), id="20 another file's blocks"),
    ],
)
def test_wrong_bytes_never_become_a_file(
    tmp_path: Path, make: Callable[[int, int], Iterator[bytes]]
) -> None:
    with pytest.raises(TransferError) as caught:
        fetch(tmp_path, Road(make))
    assert caught.value.code == "transfer.poisoned"
    assert not (tmp_path / "x").exists()


def test_17_an_endless_file_is_read_to_its_signed_length(tmp_path: Path) -> None:
    def endless(start: int, _nth: int) -> Iterator[bytes]:
        yield DATA[start:]
        while True:
            yield bytes(65_536)

    assert fetch(tmp_path, Road(endless)) == DATA


def test_metadata_that_contradicts_itself_is_not_trusted(tmp_path: Path) -> None:
    target = Target(TARGET.path, TARGET.length, "0" * 64, TARGET.block_size, TARGET.block_sha256)
    with pytest.raises(TrustError) as caught:
        fetch(tmp_path, Road(honest), target=target)
    assert caught.value.code == "trust.metadata"


def test_42_a_full_disk_is_named_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road(honest)
    monkeypatch.setattr(RealDisk, "free_bytes", lambda _disk, _folder: 10**6)
    with pytest.raises(StorageError) as caught:
        fetch(tmp_path, road)
    assert caught.value.code == "storage.full"


def test_42_a_part_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "x.part").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError) as caught:
        fetch(tmp_path, Road(honest))
    assert caught.value.code == "storage.denied"
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_small_files_are_bounded() -> None:
    assert fetch_small(FailoverSource([Road(honest)]), TARGET, 10**6) == DATA
    with pytest.raises(TrustError) as caught:
        fetch_small(FailoverSource([Road(honest)]), TARGET, 10**5)
    assert caught.value.code == "trust.too_long"


def test_35_a_web_server_that_dies_in_mid_file_is_taken_over_by_the_broker(tmp_path: Path) -> None:
    channel = BlockChannel({TARGET.location: DATA})

    def dies(handler: Handler, data: bytes, _start: int) -> None:
        handler.answer(200, data[:100_000], Content_Length=str(len(data)))
        handler.close_connection = True

    with WebServer({TARGET.location: DATA}, dies) as server:
        roads: list[Source] = [HttpsSource(server.url), BlockSource(channel, clock=channel.clock)]
        assert fetch(tmp_path, *roads) == DATA
    assert channel.requests[0].o >= 100_000


def broken(code: str) -> Road:
    def make(_start: int, _nth: int) -> Iterator[bytes]:
        raise TransferError(code, code=code)

    return Road(make)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (["transfer.not_found"], "transfer.not_found"),
        (["transfer.not_found", "transfer.not_found"], "transfer.not_found"),
        (["transfer.failed", "transfer.not_found"], "transfer.failed"),
        (["transfer.not_found", "transfer.failed"], "transfer.failed"),
    ],
)
def test_a_file_is_missing_only_if_every_road_says_so(codes: list[str], code: str) -> None:
    with pytest.raises(TransferError) as caught:
        list(FailoverSource([broken(one) for one in codes]).read("x", 0))
    assert caught.value.code == code


def test_33_a_road_that_breaks_for_ever_meets_the_deadline() -> None:
    clock = FakeClock()

    def a_byte_and_gone(start: int, _nth: int) -> Iterator[bytes]:
        clock.wait(10.0)
        yield DATA[start : start + 1]
        raise TransferError("cut", code="transfer.failed")

    with pytest.raises(TransferError) as caught:
        list(FailoverSource([Road(a_byte_and_gone)], deadline_s=100.0, clock=clock).read("x", 0))
    assert caught.value.code == "transfer.deadline"
