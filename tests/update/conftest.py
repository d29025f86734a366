"""A fleet with three releases, and a device that serves the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.trust.ledger import Ledger
from tests.parts.on_record import audited
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import UpdateDevice


@pytest.fixture
def repository() -> SignedRepository:
    repository = SignedRepository()
    for counter in (1, 2, 3):
        repository.add(make_release(counter))
    repository.publish()
    return repository


@pytest.fixture
def device(tmp_path: Path, repository: SignedRepository) -> UpdateDevice:
    device = UpdateDevice(tmp_path, repository)
    assert device.start() is None
    assert device.deploy(make_release(1)).code == "committed"
    device.seen.clear()
    return device


@pytest.fixture
def ledger(device: UpdateDevice, tmp_path: Path) -> Iterator[Ledger]:
    with audited(device, tmp_path) as ledger:
        yield ledger
