"""Going below the rollback floor: only to the release that two people named, and the floor stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import CommandError
from agent.schema.messages import Outcome, Phase
from agent.update.ports import Offer
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import RecordedReplier, UpdateDevice


@pytest.fixture
def risen(device: UpdateDevice) -> UpdateDevice:
    """A device whose floor is 3."""
    assert device.deploy(make_release(3)).code == "committed"
    assert device.floor.counter == 3
    return device


def test_28_an_older_release_is_refused_even_by_force(risen: UpdateDevice) -> None:
    assert risen.deploy(make_release(2), force=True).code == "trust.rollback"
    assert risen.current.version == "1.3"


def test_a_downgrade_installs_the_named_release_and_leaves_the_floor(risen: UpdateDevice) -> None:
    assert risen.deploy(make_release(2), below_floor=True).code == "committed"
    assert risen.last.outcome is Outcome.COMMITTED
    assert (risen.host.serving, risen.floor.counter) == ("1.2", 3)
    assert risen.plaintext(risen.current) == make_release(2).plaintext


def test_the_permission_is_for_one_release_only(risen: UpdateDevice) -> None:
    assert risen.deploy(make_release(2), below_floor=True).code == "committed"
    assert risen.deploy(make_release(1)).code == "trust.rollback"
    assert risen.host.serving == "1.2"


def test_the_way_back_is_not_shut_by_what_was_measured_since(
    risen: UpdateDevice, repository: SignedRepository, tmp_path: Path
) -> None:
    assert risen.deploy(make_release(2), below_floor=True).code == "committed"
    slow = UpdateDevice(tmp_path, repository, variant=None)  # every variant is too slow now
    slow.key_channel.deks = risen.key_channel.deks
    assert slow.start() == "1.2"
    assert slow.deploy(make_release(1), below_floor=True).code == "package.no_variant"
    assert slow.deploy(make_release(3), force=True).code == "committed"
    assert slow.host.serving == "1.3"


def test_a_digest_that_the_signers_do_not_list_is_refused(risen: UpdateDevice) -> None:
    forged = make_release(2, min_agent="0.0")
    assert risen.deploy(forged, below_floor=True).code == "trust.other_digest"
    assert (risen.host.serving, risen.floor.counter) == ("1.3", 3)


def test_a_downgrade_that_was_cut_off_goes_on_with_its_permission(
    risen: UpdateDevice,
    repository: SignedRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop, read = threading.Event(), repository.read

    def stopping(path: str, start: int) -> Iterator[bytes]:
        if path.endswith(".sealed"):
            stop.set()
        return read(path, start)

    monkeypatch.setattr(repository, "read", stopping)
    offer = Offer(make_release(2).ref, "command-1", force=True, below_floor=True)
    risen.updater.submit(offer, RecordedReplier())
    risen.updater.run(stop)
    risen.updater.work()
    assert risen.journal.read().phase is Phase.DOWNLOADING
    again = UpdateDevice(tmp_path, repository)
    again.key_channel.deks[make_release(2).manifest.release_id] = make_release(2).dek
    assert again.start() == "1.3"
    assert (again.host.serving, again.floor.counter) == ("1.2", 3)


def test_while_the_releases_are_reserved_an_offer_is_busy(risen: UpdateDevice) -> None:
    with (
        risen.updater.reserved(),
        pytest.raises(CommandError) as caught,
    ):
        risen.updater.submit(Offer(make_release(2).ref), RecordedReplier())
    assert caught.value.code == "command.busy"
    with pytest.raises(CommandError) as caught:
        keep_busy(risen)
    assert caught.value.code == "command.busy"


def keep_busy(device: UpdateDevice) -> None:
    """Reserve the releases while an offer waits."""
    device.updater.submit(Offer(make_release(3).ref, force=True), RecordedReplier())
    with device.updater.reserved():
        pass
