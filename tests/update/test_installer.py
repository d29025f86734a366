"""One release at a time, from an offer to its end: what the device says, serves and remembers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import CommandError, ModelError, StorageError, TransferError
from agent.models.store import InstalledRelease
from agent.schema.messages import Outcome, Phase
from agent.update.ports import Offer
from agent.update.record import UpdateRecord
from tests.parts.signed_repository import BLOCK, SignedRepository, make_release
from tests.parts.update_device import GOOD, RecordedReplier, UpdateDevice

HAPPY = ["downloading", "staged", "verified", "trial", "probation", "committed"]


def test_a_good_release_is_committed(device: UpdateDevice) -> None:
    reply = device.deploy(make_release(2))
    assert reply.steps == ["accepted", *HAPPY[:-1]]
    assert reply.data == {
        "release": make_release(2).ref.path,
        "outcome": "committed",
        "swap_gap_ms": 12.5,
    }
    assert device.phases == HAPPY
    previous = device.updater.record.previous
    assert previous is not None
    assert (device.current.version, previous.version) == ("1.2", "1.1")
    assert (device.last.outcome, device.last.swap_gap_ms) == (Outcome.COMMITTED, 12.5)
    assert device.host.serving == "1.2"
    assert device.floor.counter == 2
    assert device.plaintext(device.current) == make_release(2).plaintext


def test_old_releases_go_and_the_previous_one_stays(device: UpdateDevice) -> None:
    device.deploy(make_release(2))
    device.deploy(make_release(3))
    assert {ref.version for ref in device.store.installed()} == {"1.2", "1.3"}


def test_progress_reaches_the_observer(device: UpdateDevice) -> None:
    device.progress.clear()
    device.deploy(make_release(2))
    last = device.progress[-1]
    assert any(progress.file.endswith("onnx-fp32-320.sealed") for progress in device.progress)
    assert last.done == last.total > 0


def test_a_failed_trial_is_rejected_and_the_old_model_is_not_touched(device: UpdateDevice) -> None:
    device.host.told.clear()
    device.host.trial_fault = ModelError("golden: 0.2 of the boxes", code="model.golden")
    reply = device.deploy(make_release(2))
    assert reply.code == "model.golden"
    assert device.updater.record.phase is Phase.REJECTED
    assert device.last.outcome is Outcome.REJECTED
    assert device.host.told == ["trial 1.2", "discard"]
    assert device.host.serving == "1.1"
    assert device.floor.counter == 1


def test_a_bad_release_is_only_tried_again_by_force(device: UpdateDevice) -> None:
    device.host.trial_fault = ModelError("no", code="model.golden")
    device.deploy(make_release(2))
    device.host.trial_fault = None
    again = device.deploy(make_release(2))
    assert again.code == "update.bad_release"
    assert device.deploy(make_release(2), force=True).code == "committed"
    assert device.updater.record.bad == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"errors": 50}, "probation.errors"),
        ({"p95_ms": 900.0}, "probation.latency"),
        ({"restarts": 1}, "probation.restarts"),
        ({"frames": 3}, "probation.frames"),
    ],
)
def test_a_sick_release_is_rolled_back(device: UpdateDevice, change: dict, code: str) -> None:
    young = replace(GOOD, frames=0, seconds=0.1, p95_ms=0.0)
    device.host.healths = deque([young, young, replace(GOOD, **change)])
    device.host.told.clear()
    reply = device.deploy(make_release(2))
    assert reply.code == code
    assert device.phases == [*HAPPY[:-1], "rolled_back"]
    assert device.host.told == ["trial 1.2", "swap", "serve 1.1"]
    assert device.current.version == "1.1"
    assert device.last.outcome is Outcome.ROLLED_BACK
    assert set(device.updater.record.bad) == {make_release(2).ref.sha256}
    assert device.floor.counter == 1
    device.host.healths = deque([GOOD])
    assert device.deploy(make_release(3)).code == "committed"


def test_a_swap_that_fails_goes_back(device: UpdateDevice) -> None:
    device.host.swap_fault = ModelError("the candidate died", code="model.died")
    assert device.deploy(make_release(2)).code == "model.died"
    assert device.updater.record.phase is Phase.ROLLED_BACK
    assert device.host.serving == "1.1"


def test_a_first_release_that_fails_leaves_a_device_that_can_be_updated(
    tmp_path: Path, repository: SignedRepository
) -> None:
    device = UpdateDevice(tmp_path, repository)
    assert device.start() is None
    device.host.healths = deque([replace(GOOD, restarts=9)])
    assert device.deploy(make_release(1)).code == "probation.restarts"
    assert device.host.serving is None
    assert device.updater.record.current is None
    device.host.healths = deque([GOOD])
    assert device.deploy(make_release(2)).code == "committed"


def test_the_serving_release_is_not_installed_again(device: UpdateDevice) -> None:
    assert device.deploy(make_release(1)).code == "committed"
    assert device.phases == []


def test_a_second_offer_is_busy(device: UpdateDevice) -> None:
    device.updater.submit(Offer(make_release(2).ref), RecordedReplier())
    with pytest.raises(CommandError) as caught:
        device.updater.submit(Offer(make_release(3).ref), RecordedReplier())
    assert caught.value.code == "command.busy"


def test_a_road_that_breaks_in_mid_file_goes_on_at_that_byte(
    device: UpdateDevice, repository: SignedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(repository, monkeypatch, lambda _start, count: count == 2)
    assert device.deploy(make_release(2)).code == "committed"
    assert payload_reads(repository) == [0, 80_000]


def test_a_broken_road_fails_and_the_next_deploy_keeps_the_good_blocks(
    device: UpdateDevice, repository: SignedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(repository, monkeypatch, lambda start, count: start > 0 or count == 2)
    reply = device.deploy(make_release(2))
    assert reply.code == "transfer.failed"
    assert device.last.outcome is Outcome.FAILED
    assert device.updater.record.bad == {}
    monkeypatch.undo()
    repository.asked.clear()
    assert device.deploy(make_release(2)).code == "committed"
    assert payload_reads(repository) == [80_000 // BLOCK * BLOCK]


def cut_off(
    repository: SignedRepository,
    monkeypatch: pytest.MonkeyPatch,
    is_cut: Callable[[int, int], bool],
) -> None:
    read = repository.read

    def cut(path: str, start: int) -> Iterator[bytes]:
        for count, piece in enumerate(read(path, start)):
            if path.endswith("onnx-fp32-320.sealed") and is_cut(start, count):
                raise TransferError("the line was cut", code="transfer.failed")
            yield piece

    monkeypatch.setattr(repository, "read", cut)
    repository.asked.clear()


def payload_reads(repository: SignedRepository) -> list[int]:
    return [start for path, start in repository.asked if path.endswith("onnx-fp32-320.sealed")]


def test_a_revoked_device_is_refused_and_a_silent_key_service_is_only_a_failure(
    device: UpdateDevice,
) -> None:
    device.key_channel.status = 403
    assert device.deploy(make_release(2)).code == "key.revoked"
    outcomes = [device.last.outcome]
    device.key_channel.status, device.key_channel.is_silent = 200, True
    assert device.deploy(make_release(2)).code == "key.no_answer"
    outcomes.append(device.last.outcome)
    assert outcomes == [Outcome.REFUSED, Outcome.FAILED]
    assert device.updater.record.phase is Phase.IDLE
    device.key_channel.is_silent = False
    assert device.deploy(make_release(2)).code == "committed"


def test_a_release_for_which_no_variant_suits_is_rejected(
    tmp_path: Path, repository: SignedRepository
) -> None:
    device = UpdateDevice(tmp_path, repository, variant=None)
    device.start()
    assert device.deploy(make_release(1)).code == "package.no_variant"


def test_stopping_in_probation_leaves_the_candidate_to_the_next_life(
    device: UpdateDevice, tmp_path: Path, repository: SignedRepository
) -> None:
    stop = threading.Event()
    device.host.healths = deque([replace(GOOD, seconds=0.1)])
    device.key_channel.deks[make_release(2).manifest.release_id] = make_release(2).dek
    device.updater.submit(Offer(make_release(2).ref), RecordedReplier())
    thread = threading.Thread(target=device.updater.run, args=(stop,))
    thread.start()
    while device.updater.record.phase is not Phase.PROBATION:
        stop.wait(0.01)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert device.updater.record.phase is Phase.PROBATION
    again = UpdateDevice(tmp_path, repository)
    assert again.start() == "1.2"
    assert again.updater.record.phase is Phase.COMMITTED


def test_a_disk_that_cannot_keep_the_decision_goes_back_and_keeps_serving(
    device: UpdateDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = device.journal.write

    def full_at_commit(record: UpdateRecord) -> None:
        if device.updater.record.phase is Phase.PROBATION:
            raise StorageError("no space", code="storage.full")
        write(record)

    monkeypatch.setattr(device.journal, "write", full_at_commit)
    assert device.deploy(make_release(2)).code == "storage.full"
    assert device.host.serving == "1.1"
    monkeypatch.undo()
    assert device.deploy(make_release(2)).code == "committed"


@pytest.mark.parametrize("phase", ["downloading", "staged", "trial", "probation"])
def test_a_disk_that_fails_at_any_write_leaves_the_old_model_and_a_working_updater(
    device: UpdateDevice, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    write = device.journal.write

    def full(record: UpdateRecord) -> None:
        if record.phase.value == phase:
            raise StorageError("no space", code="storage.full")
        write(record)

    monkeypatch.setattr(device.journal, "write", full)
    assert device.deploy(make_release(2)).code == "storage.full"
    assert device.host.serving == "1.1"
    assert device.current.version == "1.1"
    monkeypatch.undo()
    assert device.deploy(make_release(2)).code == "committed"


def test_what_a_failed_release_left_goes_when_another_one_comes(device: UpdateDevice) -> None:
    device.key_channel.is_silent = True
    assert device.deploy(make_release(2)).code == "key.no_answer"
    blob = device.store.blob_path(make_release(2).manifest.variants[0].payload.sha256)
    assert blob.exists()
    device.key_channel.is_silent = False
    device.host.trial_fault = ModelError("no", code="model.golden")
    device.deploy(make_release(3))
    assert not blob.exists()
    assert device.host.serving == "1.1"


def test_a_model_that_fails_because_the_agent_stops_is_not_blamed(
    device: UpdateDevice, tmp_path: Path, repository: SignedRepository
) -> None:
    stop = threading.Event()

    def taken_away(_release: InstalledRelease) -> None:
        stop.set()
        raise ModelError("the worker is gone", code="model.died")

    device.host.trial = taken_away  # type: ignore[method-assign,assignment]
    device.key_channel.deks[make_release(2).manifest.release_id] = make_release(2).dek
    device.updater.submit(Offer(make_release(2).ref), RecordedReplier())
    device.updater.run(stop)
    assert device.updater.record.phase is Phase.TRIAL
    again = UpdateDevice(tmp_path, repository)
    again.key_channel.deks = device.key_channel.deks
    assert again.start() == "1.1"
    assert again.current.version == "1.2"
