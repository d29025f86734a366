"""Zones, lines and masks over the page's addresses: who may change them, and what is said of wrong ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.console.server import Console
from agent.errors import CommandError, ConfigError
from agent.schema.config import ConsoleRole
from tests.console.conftest import TOKEN
from tests.console.desk import Desk
from tests.console.scripted import Device

OPERATOR_TOKEN = "another horse battery staple"
SQUARE = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
ZONE = {"name": "gate", "polygon": SQUARE}


@pytest.fixture
def desk(device: Device) -> Desk:
    device.settings = Desk()
    return device.settings


@pytest.fixture
def operator_file(tmp_path: Path) -> Path:
    path = tmp_path / "operator"
    path.touch(mode=0o600)
    path.write_text(OPERATOR_TOKEN + "\n")
    return path


@pytest.fixture
def editor(device: Device, desk: Desk) -> Iterator[httpx.Client]:
    """Somebody on this machine, where the operator lets everybody change zones."""
    running = device.console(without_token=ConsoleRole.OPERATOR)
    running.start()
    with httpx.Client(base_url=running.url, timeout=60) as http:
        yield http
    running.stop()


@pytest.fixture
def both(device: Device, desk: Desk, token_file: Path, operator_file: Path) -> Iterator[Console]:
    running = device.console(token_file=str(token_file), operator_token_file=str(operator_file))
    running.start()
    yield running
    running.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_zones_go_on_as_a_change_of_one_cameras_configuration(
    editor: httpx.Client, desk: Desk
) -> None:
    line = {"name": "door", "start": [0.5, 0.0], "end": [0.5, 1.0]}
    mask = {"name": "window", "polygon": SQUARE}
    answer = editor.put(
        "/api/places/belt", json={"zones": [ZONE], "lines": [line], "masks": [mask]}
    )
    assert (answer.status_code, answer.json()["changed"]) == (202, True)
    (change,) = desk.proposed
    belt = change["cameras"]["belt"]
    assert [belt["zones"][0]["name"], belt["lines"][0]["name"]] == ["gate", "door"]
    assert belt["zones"][0]["polygon"] == SQUARE
    assert belt["privacy"]["masks"][0]["name"] == "window"
    assert belt["speeds"] == []


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"zones": [ZONE, {"name": "Big Gate", "polygon": SQUARE}]}, "zones[1].name"),
        ({"zones": [{"name": "<b>", "polygon": SQUARE}]}, "zones[0].name"),
        ({"zones": [{"name": "gate", "polygon": SQUARE[:2]}]}, "zones[0].polygon"),
        ({"zones": [{"name": "gate", "polygon": [*SQUARE[:3], [0.5, -2]]}]}, "zones[0].polygon[3]"),
        ({"zones": [{"name": "gate", "polygon": [SQUARE[i] for i in (0, 2, 1, 3)]}]}, "zones[0]"),
        ({"zones": [{**ZONE, "loiter_s": -1}]}, "zones[0].loiter_s"),
        ({"zones": [ZONE, ZONE]}, "zones[1].name"),
        ({"lines": [{"name": "l", "start": [0.5, 0.5], "end": [0.5, 0.5]}]}, "lines[0]"),
        ({"masks": [{"name": "m", "polygon": [[0, 0], [1, 1], [0, 0]]}]}, "masks[0].polygon"),
        ({"speeds": [{"name": "s", "first": "a", "second": "b", "distance_m": 1}]}, "speeds[0]"),
        ({"zonen": []}, ""),
    ],
)
def test_what_is_wrong_is_named_by_its_place_and_nothing_is_changed(
    editor: httpx.Client, desk: Desk, document: dict[str, Any], place: str
) -> None:
    answer = editor.put("/api/places/belt", json=document)
    assert answer.status_code == 422
    fault = answer.json()["faults"][0]
    assert fault["place"].startswith(place)
    assert re.search("expected|unknown", fault["message"], re.IGNORECASE)
    assert desk.proposed == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"zones": 1}', b"\xff", b"[" * 5000])
def test_what_is_no_document_is_refused(editor: httpx.Client, desk: Desk, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert editor.put("/api/places/belt", content=body, headers=headers).status_code == 422
    assert desk.proposed == []


def test_a_fault_that_only_the_whole_configuration_shows_comes_back_with_its_place(
    editor: httpx.Client, desk: Desk
) -> None:
    desk.fault = ConfigError(
        "vigil.yaml: at $.cameras[3].privacy.masks[0].name: expected another name, found 'm'"
    )
    answer = editor.put("/api/places/belt", json={"zones": [ZONE]})
    assert answer.status_code == 422
    fault = {"place": "masks[0].name", "message": "expected another name, found 'm'"}
    assert answer.json()["faults"] == [fault]


def test_while_another_change_is_on_trial_nothing_is_taken(
    editor: httpx.Client, desk: Desk
) -> None:
    desk.fault = CommandError("a change of settings is on trial", code="command.busy")
    answer = editor.put("/api/places/belt", json={"zones": [ZONE]})
    assert (answer.status_code, answer.json()["code"]) == (409, "command.busy")


def test_other_addresses_types_and_sizes_are_refused(editor: httpx.Client, desk: Desk) -> None:
    assert editor.put("/api/places/garage", json={}).status_code == 404
    assert editor.put("/api/places/belt", content=b"{}").status_code == 415
    large = {"zones": [{"name": "a" * 70_000, "polygon": SQUARE}]}
    assert editor.put("/api/places/belt", json=large).status_code == 413
    assert editor.put("/api/status", json={}).status_code == 405
    assert desk.proposed == []


def test_without_anybody_who_takes_changes_the_page_says_so(device: Device) -> None:
    running = device.console(without_token=ConsoleRole.OPERATOR)
    running.start()
    with httpx.Client(base_url=running.url) as http:
        assert http.get("/api/status").json()["settings"] is None
        assert http.put("/api/places/belt", json={}).status_code == 403
    running.stop()


def test_a_viewer_may_look_and_not_save_and_an_operator_may_both(both: Console, desk: Desk) -> None:
    with httpx.Client(base_url=both.url) as http:
        assert http.put("/api/places/belt", json={}).status_code == 401
        viewer = http.put("/api/places/belt", json={}, headers=bearer(TOKEN))
        assert (viewer.status_code, viewer.json()["code"]) == (403, "role")
        assert http.get("/api/status", headers=bearer(TOKEN)).json()["role"] == "viewer"
        assert desk.proposed == []
        answer = http.put(
            "/api/places/belt", json={"zones": [ZONE]}, headers=bearer(OPERATOR_TOKEN)
        )
        assert answer.status_code == 202
        assert len(desk.proposed) == 1


def test_without_any_token_everybody_on_this_machine_is_a_viewer(
    client: httpx.Client, desk: Desk
) -> None:
    assert client.get("/api/status").json()["role"] == "viewer"
    assert client.put("/api/places/belt", json={"zones": [ZONE]}).status_code == 403
    assert desk.proposed == []


def test_an_operators_session_outlives_the_agents_new_beginning_and_not_a_new_token(
    both: Console, device: Device, token_file: Path, operator_file: Path
) -> None:
    with httpx.Client(base_url=both.url) as http:
        cookie = http.post("/login", data={"token": OPERATOR_TOKEN}).headers["set-cookie"]
    session = {"Cookie": cookie.partition(";")[0]}
    both.stop()
    files = {"token_file": str(token_file), "operator_token_file": str(operator_file)}
    for told, status in (("", 200), (OPERATOR_TOKEN + " changed", 401)):
        if told:
            operator_file.write_text(told)
        again = device.console(**files)
        again.start()
        assert httpx.get(f"{again.url}api/status", headers=session).status_code == status
        again.stop()


def test_logging_out_ends_the_session_of_this_browser(both: Console) -> None:
    with httpx.Client(base_url=both.url) as http:
        http.post("/login", data={"token": OPERATOR_TOKEN})
        assert http.get("/api/status").json()["may_log_out"] is True
        assert http.post("/logout").headers["location"] == "/login"
        assert http.get("/api/status").status_code == 401


def test_a_viewer_cannot_make_an_operators_session_of_his_own(both: Console) -> None:
    with httpx.Client(base_url=both.url) as http:
        http.post("/login", data={"token": TOKEN})
        raised = http.cookies["vigil_session"].replace("viewer", "operator")
        answer = httpx.get(f"{both.url}api/status", headers={"Cookie": f"vigil_session={raised}"})
        assert answer.status_code == 401


def test_one_token_cannot_open_both_roles(device: Device, token_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        device.console(token_file=str(token_file), operator_token_file=str(token_file)).start()
    assert caught.value.code == "console.token"


CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
def test_no_other_site_can_save_with_a_persons_session(
    editor: httpx.Client, desk: Desk, headers: dict[str, str]
) -> None:
    answer = editor.put("/api/places/belt", json={"zones": [ZONE]}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin")
    assert editor.post("/logout", headers=headers).status_code == 403
    assert desk.proposed == []


def test_the_page_itself_may_save(editor: httpx.Client, desk: Desk) -> None:
    own = {"Origin": str(editor.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert editor.put("/api/places/belt", json={"zones": [ZONE]}, headers=own).status_code == 202
