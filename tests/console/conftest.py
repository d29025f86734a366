"""A running console for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.console.server import Console
from tests.console.scripted import Device

TOKEN = "correct horse battery staple"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - every test that listens there has a token and TLS


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def console(device: Device) -> Iterator[Console]:
    running = device.console()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(console: Console) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=console.url, timeout=60) as http:
        yield http


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def locked(device: Device, token_file: Path) -> Iterator[Console]:
    running = device.console(token_file=str(token_file))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def stranger(locked: Console) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=60) as http:
        yield http
