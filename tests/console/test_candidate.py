"""A shadow run over the page's addresses: for whoever may look, and no other file of the device."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.console.comparing import compared
from tests.console.conftest import TOKEN
from tests.console.scripted import Device


def test_without_a_run_there_is_nothing_to_see(client: httpx.Client) -> None:
    assert client.get("/api/shadow").json() == {"run": None}
    assert client.get("/shadow/1-belt.jpg").status_code == 404


def test_only_who_may_look_sees_the_run_and_its_pictures(
    device: Device, token_file: Path, tmp_path: Path
) -> None:
    device.shadow = compared(tmp_path / "state")
    page = device.console(token_file=str(token_file))
    page.start()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with httpx.Client(base_url=page.url, timeout=60) as client:
            run = client.get("/api/shadow", headers=bearer).json()["run"]
            pictures = [f"/shadow/{one['file']}" for one in run["report"]["pictures"]]
            assert len(pictures) == 2
            for path in ("/api/shadow", *pictures):
                assert client.get(path).status_code == 401
                assert client.get(path, headers=bearer).status_code == 200
            assert client.get(pictures[0], headers=bearer).content[:2] == b"\xff\xd8"
    finally:
        page.stop()


@pytest.mark.parametrize("file", ["record.json", "..%2Frecord.json", "%2Fetc%2Fpasswd", "x.jpg"])
def test_no_address_leads_to_another_file(device: Device, tmp_path: Path, file: str) -> None:
    device.shadow = compared(tmp_path)
    page = device.console()
    page.start()
    try:
        assert httpx.get(f"{page.url}shadow/{file}", timeout=60).status_code == 404
    finally:
        page.stop()
