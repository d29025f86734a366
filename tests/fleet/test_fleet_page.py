"""The fleet's page: a real controller that hears a real broker, over HTTP and in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agent.errors import ConfigError
from agent.fleet.broker import EmbeddedBroker
from agent.fleet.controller import Controller
from agent.fleet.fleet_view import PAGE_ROWS
from agent.fleet.home import FleetPageConfig
from agent.fleet.page import FleetPage
from agent.fleet.page_routes import Sources
from agent.fleet.rollout_store import RolloutStore
from agent.schema.document import to_json
from agent.schema.messages import State
from agent.schema.topics import parse
from tests.console.browser import browser, missing
from tests.fleet.conftest import Fleet
from tests.fleet.mqtt_device import Device
from tests.fleet.page_world import ALIKE_MS, DEVICES, FACTS, SILENT, begun, enrolled, messages
from tests.parts.processes import until

TOKEN = "correct horse battery staple"
needs_browser = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = enrolled(tmp_path_factory.mktemp("fleet"))
    yield made
    made.registry.close()


@pytest.fixture(scope="module")
def store(fleet: Fleet) -> Iterator[RolloutStore]:
    store = begun(fleet.folder / "fleet.db")
    yield store
    store.close()


@pytest.fixture(scope="module")
def broker(fleet: Fleet) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(fleet.folder / "broker", fleet.authority, fleet.members)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def sources(fleet: Fleet, broker: EmbeddedBroker, store: RolloutStore) -> Iterator[Sources]:
    controller = fleet.controller(broker.port)
    yield Sources(controller, fleet.registry, store)
    controller.stop()


@pytest.fixture(scope="module")
def shown(fleet: Fleet, broker: EmbeddedBroker, sources: Sources) -> Iterator[FleetPage]:
    """A page that has heard of devices over the broker: one well, one hostile, three alike, one gone."""
    page = FleetPage(FleetPageConfig(port=0), fleet.folder, sources)
    page.start()
    controller = sources.controller
    controller.start()
    devices = []
    for state, measured in messages():
        name = state.device
        device = Device(broker.port, fleet.tls(name), client_id=name)
        assert device.accepted(30)
        device.publish(f"vigil/1/d/{name}/telemetry", to_json(measured))
        device.publish(f"vigil/1/d/{name}/state", to_json(state), retain=True)
        devices.append(device)
    device.publish("vigil/1/d/cam-3/state", to_json(State(v=1, device="cam-3", online=False)))
    controller.inbox.wait_state("cam-3", lambda state: not state.online, 30)
    for name in ("cam-1", "cam-2", *ALIKE_MS):
        controller.inbox.wait_state(name, lambda state: state.online, 30)
    yield page
    page.stop()
    for device in devices:
        device.close()


@pytest.fixture
def client(shown: FleetPage) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shown.url, timeout=60) as http:
        yield http


def ask(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_sums_count_every_device_once(client: httpx.Client) -> None:
    found = ask(client, "/api/fleet")
    assert found["conditions"] == {
        "online": 4,
        "trouble": 1,
        "offline": 1,
        "unheard": SILENT,
        "revoked": 1,
    }
    assert found["devices"] == DEVICES
    assert found["connected"]
    assert (found["drifting"], found["slow"], found["comparing"]) == (1, 1, 2)
    assert found["hottest"][0] == {"id": "cam-2", "temperature_c": 88.5}
    assert {"name": "people 1.0", "count": 1} in found["releases"]
    heat = {bar["name"]: bar["count"] for bar in found["temperatures"]}
    assert (heat["60 to 70 °C"], heat["80 °C and more"]) == (1, 1)
    assert found["groups"][0]["name"] == "north"
    assert found["groups"][0]["conditions"]["offline"] == 1


def test_an_offline_device_keeps_its_last_words_but_no_present_figures(
    client: httpx.Client,
) -> None:
    [row] = ask(client, "/api/devices?show=offline")["rows"]
    assert (row["id"], row["release"], row["phase"]) == ("cam-3", "people 1.0", "probation")
    assert row["fps"] is None
    assert row["temperature_c"] is None
    assert row["heard_ms"] > 0


def test_the_table_is_filtered_sorted_and_paged_by_the_controller(client: httpx.Client) -> None:
    first = ask(client, "/api/devices")
    assert (first["total"], first["pages"], len(first["rows"])) == (DEVICES, 2, PAGE_ROWS)
    last = ask(client, "/api/devices?page=99")
    assert (last["page"], len(last["rows"])) == (2, DEVICES - PAGE_ROWS)
    names = [row["id"] for row in first["rows"] + last["rows"]]
    assert names == sorted(set(names))
    assert [row["id"] for row in ask(client, "/api/devices?sort=temperature")["rows"][:2]] == [
        "cam-2",
        "cam-1",
    ]
    assert ask(client, "/api/devices?search=north")["total"] == 2
    assert ask(client, "/api/devices?show=drifting")["rows"][0]["id"] == "cam-2"
    assert ask(client, "/api/devices?release=people%202.0")["rows"][0]["id"] == "cam-1"


@pytest.mark.parametrize("wrong", ["show=evil", "sort=problem", "page=-1", "page=x"])
def test_a_wrong_question_is_refused_in_words(client: httpx.Client, wrong: str) -> None:
    answer = client.get(f"/api/devices?{wrong}")
    assert answer.status_code == 400
    assert "expected" in answer.json()["message"]


def test_a_rollout_is_told_by_waves(client: httpx.Client) -> None:
    [rollout] = ask(client, "/api/rollouts")
    assert (rollout["name"], rollout["standing"], rollout["reason"]) == (
        "people-2",
        "running",
        "soaks",
    )
    first, second = rollout["waves"]
    assert (first["name"], first["steps"]["committed"]) == ("25 %", 1)
    assert (second["name"], second["steps"]["waiting"]) == ("100 %", 3)


def test_one_device_is_told_in_full_and_a_stranger_is_not_there(client: httpx.Client) -> None:
    found = ask(client, "/api/device/cam-1")
    assert found["rollouts"] == [
        {"rollout": "people-2", "wave": 1, "step": "committed", "code": ""}
    ]
    assert found["telemetry"]["fps"] == 49.8
    assert "public_key" not in str(found)
    assert client.get("/api/device/nobody").status_code == 404


def test_who_is_not_enrolled_is_not_shown(client: httpx.Client, sources: Sources) -> None:
    topic = parse("vigil/1/d/stranger/state", "vigil/1")
    assert topic is not None
    sources.controller.inbox.put(topic, to_json(State(v=1, device="stranger", online=True)))
    assert ask(client, "/api/devices?search=stranger")["total"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_page_takes_no_orders(client: httpx.Client, method: str) -> None:
    for path in ("/api/rollouts", "/api/device/cam-1", "/"):
        assert client.request(method, path).status_code == 405


def test_every_answer_forbids_foreign_content(client: httpx.Client) -> None:
    for path in ("/", "/app.js", "/api/fleet", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_a_network_needs_token_and_tls(fleet: Fleet, sources: Sources) -> None:
    everywhere = FleetPageConfig(host="0.0.0.0", port=0)  # noqa: S104 - refused
    with pytest.raises(ConfigError, match=r"page\.host: .* open to the network") as found:
        FleetPage(everywhere, fleet.folder, sources).start()
    assert found.value.code == "page.exposed"


def test_a_token_is_asked_for_where_one_is_set(fleet: Fleet, sources: Sources) -> None:
    secret = fleet.folder / "page.token"
    secret.touch(mode=0o600)
    secret.write_text(TOKEN)
    page = FleetPage(FleetPageConfig(port=0, token_file="page.token"), fleet.folder, sources)
    page.start()
    try:
        with httpx.Client(base_url=page.url, timeout=60) as client:
            paths = ("/api/fleet", "/api/devices", "/api/device/cam-1", "/api/rollouts", "/app.js")
            assert {client.get(path).status_code for path in paths} == {401}
            assert client.get("/").headers["location"] == "/login"
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            assert client.get("/api/fleet", headers=bearer).json()["may_log_out"]
    finally:
        page.stop()


def test_health_says_whether_the_broker_is_heard(
    fleet: Fleet, store: RolloutStore, client: httpx.Client
) -> None:
    assert client.get("/healthz").status_code == 200
    deaf = Controller(fleet.broker(1), services=None)
    page = FleetPage(FleetPageConfig(port=0), fleet.folder, Sources(deaf, fleet.registry, store))
    page.start()
    try:
        answer = httpx.get(f"{page.url}healthz", timeout=60)
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["broker.offline"])
    finally:
        page.stop()
        deaf.stop()


@pytest.fixture(scope="module")
def page(shown: FleetPage) -> Iterator[Any]:
    """An open page in chromium; complaints of the browser are kept in `complaints`."""
    with browser() as chromium:
        opened = chromium.new_page()
        opened.complaints = []
        opened.on("console", lambda message: opened.complaints.append(message.text))
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.on("request", lambda asked: _own(opened, asked.url, shown.url))
        opened.goto(shown.url)
        yield opened


def _own(page: Any, asked: str, url: str) -> None:
    if not asked.startswith(url):
        page.complaints.append(f"foreign: {asked}")


@needs_browser
def test_every_part_shows_its_facts_and_devices_words_stay_words(
    page: Any, shown: FleetPage
) -> None:
    for part, facts in FACTS.items():
        page.goto(f"{shown.url}#{part}")
        for fact in facts:
            page.get_by_text(fact).locator("visible=true").first.wait_for()
        assert page.locator("img").count() == 1, part
    assert page.evaluate("window.hit") is None
    assert page.complaints == []


@needs_browser
def test_a_person_finds_devices_by_filter_page_and_link(page: Any, shown: FleetPage) -> None:
    page.goto(f"{shown.url}#devices")
    page.get_by_text("page 1 of 2").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("page 2 of 2").wait_for()
    page.get_by_label("Name or group").fill("north")
    until(lambda: page.locator("#rows tr").count() == 2, 30, "both of the north are left")
    page.get_by_role("link", name="cam-3").click()
    page.get_by_role("heading", name="cam-3").wait_for()
    page.goto(f"{shown.url}#devices/trouble")
    until(lambda: page.locator("#rows tr").count() == 1, 30, "only the one in trouble is left")
    assert page.complaints == []


@needs_browser
def test_a_phone_needs_no_sideways_scrolling(page: Any, shown: FleetPage) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for part, (fact, *_) in FACTS.items():
        page.goto(f"{shown.url}#{part}")
        page.get_by_text(fact).locator("visible=true").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, part
