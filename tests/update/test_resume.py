"""kill -9 in every phase: the next life finishes or undoes what the last one left."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import ModelError, StorageError
from agent.schema.messages import Outcome, Phase
from agent.update.record import UpdateRecord
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import GOOD, UpdateDevice


class KilledError(BaseException):
    """kill -9: nothing of the program runs any more."""


def killed_when(device: UpdateDevice, phase: Phase) -> None:
    """Kill the device right after it wrote that it is in `phase`."""
    write = device.journal.write

    def write_and_die(record: UpdateRecord) -> None:
        write(record)
        if record.phase is phase:
            raise KilledError

    device.journal.write = write_and_die  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        device.deploy(make_release(2))


def next_life(tmp_path: Path, repository: SignedRepository) -> UpdateDevice:
    device = UpdateDevice(tmp_path, repository)
    for counter in (1, 2, 3):
        release = make_release(counter)
        device.key_channel.deks[release.manifest.release_id] = release.dek
    return device


@pytest.mark.parametrize(
    ("phase", "serves_first"),
    [
        (Phase.DOWNLOADING, "1.1"),
        (Phase.STAGED, "1.1"),
        (Phase.VERIFIED, "1.1"),
        (Phase.TRIAL, "1.1"),
        (Phase.PROBATION, "1.2"),
        (Phase.COMMITTED, "1.2"),
    ],
)
def test_an_update_is_finished_after_a_kill(
    device: UpdateDevice,
    tmp_path: Path,
    repository: SignedRepository,
    phase: Phase,
    serves_first: str,
) -> None:
    killed_when(device, phase)
    again = next_life(tmp_path, repository)
    assert again.start() == serves_first
    assert (again.updater.record.phase, again.current.version) == (Phase.COMMITTED, "1.2")
    assert again.last.outcome is Outcome.COMMITTED
    assert again.floor.counter == 2
    assert again.host.serving == "1.2"
    assert again.deploy(make_release(3)).code == "committed"


@pytest.mark.parametrize(
    ("phase", "fault"),
    [(Phase.REJECTED, "trial"), (Phase.ROLLED_BACK, "probation")],
)
def test_an_undone_update_stays_undone_after_a_kill(
    device: UpdateDevice, tmp_path: Path, repository: SignedRepository, phase: Phase, fault: str
) -> None:
    if fault == "trial":
        device.host.trial_fault = ModelError("no", code="model.golden")
    else:
        device.host.healths = deque([replace(GOOD, restarts=5)])
    killed_when(device, phase)
    again = next_life(tmp_path, repository)
    assert again.start() == "1.1"
    assert again.updater.record.phase is phase
    assert again.host.told == ["serve 1.1"]
    assert again.deploy(make_release(2)).code == "update.bad_release"


@pytest.mark.parametrize("phase", [Phase.TRIAL, Phase.PROBATION])
def test_61_a_release_that_kills_the_agent_is_given_up_after_three_tries(
    device: UpdateDevice, tmp_path: Path, repository: SignedRepository, phase: Phase
) -> None:
    killed_when(device, phase)
    lives = 0
    while True:
        again = next_life(tmp_path, repository)
        setattr(again.host, "trial" if phase is Phase.TRIAL else "health", _kill)
        try:
            release = again.start()
            break
        except KilledError:
            lives += 1
    assert lives == 2
    assert release == "1.1"
    assert again.last.code == "update.crash_loop"
    assert make_release(2).ref.sha256 in again.updater.record.bad
    assert next_life(tmp_path, repository).start() == "1.1"


def _kill(*_args: object) -> None:
    raise KilledError


def test_a_candidate_on_probation_whose_files_rotted_is_rolled_back(
    device: UpdateDevice, tmp_path: Path, repository: SignedRepository
) -> None:
    killed_when(device, Phase.PROBATION)
    current = device.journal.read().current
    assert current is not None
    payload = device.store.load(current).payload_path
    payload.write_bytes(b"rotten")
    again = next_life(tmp_path, repository)
    assert again.start() == "1.1"
    assert again.updater.record.phase is Phase.ROLLED_BACK
    assert again.last.code == "model.damaged"
    assert again.deploy(make_release(3)).code == "committed"


def test_what_cannot_be_counted_is_not_tried(
    device: UpdateDevice,
    tmp_path: Path,
    repository: SignedRepository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed_when(device, Phase.PROBATION)
    again = next_life(tmp_path, repository)

    def read_only(_record: UpdateRecord) -> None:
        raise StorageError("read-only", code="storage.read_only")

    monkeypatch.setattr(again.journal, "write", read_only)
    assert again.start() == "1.1"
    monkeypatch.undo()
    assert again.deploy(make_release(3)).code == "committed"
