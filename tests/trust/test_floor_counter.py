"""The rollback floor in a TPM: an old disk image does not bring an old release back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.errors import ConfigError, KeyUnavailableError, StorageError
from agent.trust.floor import Floor, NvCounter
from agent.trust.stores import floor_counter, key_store
from agent.trust.stores.token import Tpm2Store
from agent.trust.token_messages import ReadCounter
from tests.parts.tokens import SoftToken, SoftTpm


class Hardware:
    """A counter that follows at most `step` at a time, and may be gone."""

    def __init__(self, step: int = 1000) -> None:
        self.value, self.step, self.gone = 0, step, False

    def read(self) -> int:
        """Return it."""
        if self.gone:
            raise KeyUnavailableError("TPM: gone", code="key.token_missing")
        return self.value

    def raise_to(self, value: int) -> int:
        """Raise it."""
        self.value = max(self.read(), min(value, self.value + self.step))
        return self.value


def counter_of(tpm: SoftTpm) -> NvCounter:
    counter = floor_counter(key_store(tpm.config))
    assert counter is not None
    return counter


def test_the_floor_survives_an_old_image_of_the_disk(soft_tpm: SoftTpm, tmp_path: Path) -> None:
    path, image = tmp_path / "floor", tmp_path / "image"
    floor = Floor(path, hardware=counter_of(soft_tpm))
    assert floor.counter == 0
    floor.raise_to(counter=20261122)
    shutil.copy(path, image)
    floor.raise_to(counter=20261130)
    shutil.copy(image, path)
    assert Floor(path).counter == 20261122
    assert Floor(path, hardware=counter_of(soft_tpm)).counter == 20261130
    path.unlink()
    assert Floor(path, hardware=counter_of(soft_tpm)).counter == 20261130


def test_the_tpms_floor_survives_its_power_and_never_falls(soft_tpm: SoftTpm) -> None:
    assert counter_of(soft_tpm).raise_to(7) == 7
    soft_tpm.kill()
    soft_tpm.start()
    counter = counter_of(soft_tpm)
    assert (counter.read(), counter.raise_to(3), counter.raise_to(9)) == (7, 7, 9)


def test_two_devices_floors_in_one_tpm_do_not_mix(soft_tpm: SoftTpm) -> None:
    counter_of(soft_tpm).raise_to(5)
    other = Tpm2Store(replace(soft_tpm.config, floor_index=0x1500020)).counter
    assert other is not None
    assert (other.read(), other.raise_to(2), counter_of(soft_tpm).read()) == (0, 2, 5)


def test_a_great_leap_is_followed_in_steps(soft_tpm: SoftTpm) -> None:
    counter = counter_of(soft_tpm)
    counter.raise_to(1)
    assert counter.raise_to(400) == 257
    assert counter.raise_to(400) == 400


def test_a_tpm_that_is_gone_stops_updates_and_not_the_report(
    soft_tpm: SoftTpm, tmp_path: Path
) -> None:
    floor = Floor(tmp_path / "floor", hardware=counter_of(soft_tpm))
    floor.raise_to(counter=4)
    soft_tpm.kill()
    with pytest.raises(StorageError) as caught:
        _ = floor.counter
    assert caught.value.code == "floor.unavailable"
    assert floor.stored_counter == 4
    floor = Floor(tmp_path / "floor", hardware=counter_of(soft_tpm))  # as at the agent's start
    assert floor.stored_counter == 4


def test_what_the_hardware_missed_it_is_given_later(tmp_path: Path) -> None:
    hardware = Hardware(step=3)
    floor = Floor(tmp_path / "floor", hardware=hardware)
    hardware.gone = True
    with pytest.raises(StorageError):
        floor.raise_to(counter=5)
    hardware.gone = False
    assert (floor.counter, hardware.value) == (5, 0)
    floor.raise_to(counter=5)
    floor.raise_to(counter=5)
    assert hardware.value == 5


def test_metadata_versions_and_times_do_not_wear_the_hardware_out(tmp_path: Path) -> None:
    hardware = Hardware()
    hardware.gone = True
    Floor(tmp_path / "floor", hardware=hardware).raise_to(timestamp_version=9, time_s=9)


def test_a_store_without_a_counter_says_so(soft_token: SoftToken, soft_tpm: SoftTpm) -> None:
    store = key_store(soft_token.config)
    assert floor_counter(store) is None
    assert floor_counter(key_store(replace(soft_tpm.config, floor_index=None))) is None
    with pytest.raises(ConfigError) as caught:
        store.helper.ask(ReadCounter())  # type: ignore[attr-defined]
    assert caught.value.code == "key.no_counter"
