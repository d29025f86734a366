"""A fleet's last days: asked of devices on a real mosquitto, brought down to reasons, and told on one page."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from agent.cli import app
from agent.errors import ConfigError, TransferError
from agent.fleet.accounts import Account, account, read_history
from agent.fleet.attention import ranked, reasons_of
from agent.fleet.fleet_report import FleetMonth, fleet_report
from agent.fleet.operators import command_body
from agent.fleet.registry import DeviceRecord
from agent.host.clock import utc, wall_ms
from agent.release.signers import generate
from agent.schema.days import CameraDay, Day, DayHistory, Noted, Spread, StageDay
from agent.schema.document import to_json
from agent.schema.messages import State
from agent.web.period import Period
from tests.fleet.answering import answer_with_a_file
from tests.fleet.look_site import Site, site_in
from tests.telemetry.test_days import EVIL, Parsed

DAY_S = 86_400
NOW_MS = 20_000 * DAY_S * 1000 + DAY_S * 1000 - 1  # the end of 2024-10-04
PERIOD = Period(NOW_MS, 30)


def spread(mean: float, most: float | None = None) -> Spread:
    return Spread(count=100, mean=mean, least=mean, most=mean if most is None else most)


def day(back: int, now_ms: int = NOW_MS, **changes: Any) -> Day:
    facts: dict[str, Any] = {
        "date": (utc(now_ms).date() - timedelta(days=back)).isoformat(),
        "starts": 1,
        "measured_s": DAY_S,
        "serving_s": DAY_S,
        "fps": spread(25.0),
        "temperature_c": spread(50.0, 60.0),
        "stages": {"infer": StageDay(p50=spread(20.0), p95=spread(25.0))},
    }
    return Day(**(facts | changes))


def history(device: str = "cam-2", now_ms: int = NOW_MS, **changes: Any) -> DayHistory:
    days = [day(back, now_ms) for back in range(29, -1, -1)]
    return replace(DayHistory(v=1, device=device, at_ms=now_ms, days=days), **changes)


def told(device: str, days: list[Day] | None = None, **said: Any) -> Account:
    facts: dict[str, Any] = {"online": True, "profile": "pi", "release": "people 2.0", **said}
    found = history(device) if days is None else history(device, days=days)
    return account(found, State(v=1, device=device, **facts), PERIOD)


def why(one: Account, slow: str = "", limit_c: float | None = 80.0) -> list[str]:
    return [reason.text for reason in reasons_of(one, slow, limit_c)]


def test_nothing_is_said_against_a_device_that_is_well() -> None:
    assert why(told("well")) == []


def test_every_reason_is_named_in_words_and_grave_ones_rank_first() -> None:
    camera = CameraDay(judged=100, drifted={"blur": 60, "night": 1})
    gone = [day(back) for back in (9, 8, 7, 2, 1, 0)]
    hot = [day(0, temperature_c=spread(70.0, 93.0), measured_s=DAY_S, serving_s=DAY_S / 2)]
    accounts = {
        "away": told("away", gone),
        "drifting": told("drifting", [day(0, cameras={"belt": camera})]),
        "hot": told("hot", hot, problem="outbox is full"),
        "restless": told("restless", [day(0, starts=61)]),
        "silent": told("silent", []),
        "well": told("well"),
    }
    slow = {"well": "infer 43 ms, 2.0 times the median of 3 alike"}
    assert why(accounts["away"]) == ["ran 60.0% of the time"]
    assert why(accounts["drifting"]) == ["belt: blur, 60.0% of the time"]
    assert why(accounts["hot"]) == [
        "now: outbox is full",
        "no frames in 50.0% of the time that it ran",
        "93.0 °C at most, limit 80 °C",
    ]
    assert why(accounts["restless"]) == ["started 61 times in 1 day"]
    found = ranked(accounts.values(), slow, {"pi": 80.0})
    assert [one.account.device for one in found] == [
        "hot", "away", "drifting", "silent", "restless", "well",
    ]  # fmt: skip
    assert found[-1].reasons[0].text == slow["well"]


def test_updates_count_by_how_they_ended_and_other_rows_say_nothing() -> None:
    texts = (
        "models/a/b/2.0/manifest.json rolled_back x",
        "models/a/b/3.0/m committed",
        EVIL,
        "x y z",
    )
    noted = [Noted(at_ms=NOW_MS, kind="update", text=text) for text in texts]
    noted += [
        Noted(at_ms=0, kind="update", text=texts[0]),
        Noted(at_ms=NOW_MS, kind="drift", text=texts[0]),
    ]
    found = account(history(noted=noted), State(v=1, device="cam-2", online=True), PERIOD)
    assert [(one.release, one.outcome) for one in found.endings] == [
        ("a/b/2.0", "rolled_back"),
        ("a/b/3.0/m", "committed"),
    ]
    assert why(found) == ["1 update rolled back"]


def test_a_device_counts_from_the_first_day_that_it_kept() -> None:
    found = told("young", [day(3), day(0)])
    assert [round(one.ran) for one in found.days.values()] == [1, 0, 0, 1]


STRANGE = {
    "not gzip": b"{}",
    "cut off": gzip.compress(to_json(history()))[:-9],
    "not a history": gzip.compress(b'{"v": 1}'),
    "another's": gzip.compress(to_json(history("cam-3"))),
    "a day twice": gzip.compress(to_json(history(days=[day(0), day(0)]))),
    "no date": gzip.compress(to_json(history(days=[day(0, date="yesterday")]))),
    "figures that cannot be": gzip.compress(to_json(history(days=[day(0, fps=spread(1e300))]))),
    "time that runs back": gzip.compress(to_json(history(days=[day(0, measured_s=-1.0)]))),
    "a bomb": gzip.compress(bytes(20 << 20)),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_cannot_be_is_refused_as_a_whole(case: str) -> None:
    with pytest.raises(TransferError, match="cannot be read"):
        read_history(STRANGE[case], "cam-2")


def test_the_page_tells_of_all_devices_and_reads_no_word_as_html() -> None:
    evil = CameraDay(judged=100, drifted={EVIL: 50})
    days = [day(back, cameras={EVIL: evil}) for back in range(3)]
    noted = [Noted(at_ms=NOW_MS, kind="update", text=f"{EVIL} committed")]
    hostile = account(
        history("cam-9", days=days, noted=noted),
        State(v=1, device="cam-9", online=True, problem=EVIL, release=EVIL),
        PERIOD,
    )
    slow = StageDay(p50=spread(50.0), p95=spread(90.0))
    alike = [told(f"cam-{number}") for number in range(4)]
    late = told("cam-4", [day(back, stages={"infer": slow}) for back in range(30)])
    missing = {"cam-5": "offline", "cam-6": EVIL}
    month = FleetMonth("Fleet", PERIOD, [hostile, *alike, late], missing, {"pi": 85.0})
    parsed = Parsed(fleet_report(month))
    assert parsed.open == []
    text = " ".join(parsed.texts)
    for part in (
        "Fleet: 2024-09-05 to 2024-10-04",
        f"! now: {EVIL}",
        "infer 50 ms, 2.5 times the median of 5 alike",
        "Nothing is known against the other 4.",
        "1 offline; 1 <script>",
        "Devices with a camera that had drifted, by cause",
        "committed 1",
    ):
        assert part in text, part
    # Three curves for each of six figures, two profiles, one cause, one outcome.
    assert len(parsed.lines) == 6 * 3 + 2 + 1 + 1
    # All run the whole month, but for the profile of the hostile one, which kept three days.
    assert sorted(len(line) for line in parsed.lines)[:2] == [3, 30]


def test_a_fleet_of_which_nothing_is_known_still_has_a_page() -> None:
    parsed = Parsed(fleet_report(FleetMonth("Fleet", PERIOD, [told("new", [])], {}, {})))
    assert parsed.open == []
    assert "kept nothing of these days" in " ".join(parsed.texts)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_in(tmp_path_factory.mktemp("report")) as made:
        yield made


def report(site: Site, folder: Path, *options: str) -> Any:
    key = folder / "ada.key"
    if not key.exists():
        generate(folder, "ada")
    words = (
        "--as",
        "ada",
        "--key",
        key,
        "--counters",
        folder / "counters",
        "--out",
        folder / "f.html",
    )
    result = CliRunner().invoke(
        app, ["fleet", "report", *map(str, (site.home.folder, *words, *options))]
    )
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


def test_every_device_is_asked_and_who_did_not_answer_is_named(site: Site, tmp_path: Path) -> None:
    """`cam-1` says nothing, `cam-2` answers in several parts, `cam-3` sends nonsense, `cam-4` never spoke."""
    now_ms, heard = wall_ms(), list[bytes]()
    texts = [hashlib.sha512(str(number).encode()).hexdigest() for number in range(900)]
    noise = [Noted(at_ms=now_ms, kind="drift", text=text) for text in texts]
    sent = {"cam-2": gzip.compress(to_json(history(now_ms=now_ms, noted=noise))), "cam-3": b"no"}
    assert len(sent["cam-2"]) > 2 * 16_384
    devices = [site.device(name) for name in sent]
    threads = []
    for device in devices:
        assert device.accepted(30)
        device.subscribe(f"vigil/1/d/{device.name}/cmd")
        state = State(v=1, device=device.name, online=True, release="people 2.0")
        device.publish(f"vigil/1/d/{device.name}/state", to_json(state), retain=True)
        arguments = (device, heard, sent[device.name], "daily-summaries")
        threads.append(threading.Thread(target=answer_with_a_file, args=arguments))
        threads[-1].start()
    # Two are silent, so all of this time passes.
    found = report(site, tmp_path, "--wait", "15", "--listen", "5", "--json")
    for thread in threads:
        thread.join(30)
    for device in devices:
        device.close()
    assert found["answered"] == 1
    assert found["missing"]["cam-1"] == "no answer in time"
    assert "cannot be read" in found["missing"]["cam-3"]
    assert found["missing"]["cam-4"] == "never heard by this broker"
    bodies = [command_body(envelope) for envelope in heard]
    assert {(one.cmd, one.args["days"], one.iss) for one in bodies} == {
        ("daily-summaries", 30, "ada")
    }
    page = (tmp_path / "f.html").read_text()
    for part in ("cam-1", "no answer in time", "devices</td><td>4<", "agents ran</td>"):
        assert part in page, part


def test_nobody_to_ask_and_nobody_who_answers_leave_no_page(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="elsewhere: no device is enrolled"):
        report(site, tmp_path, "--group", "elsewhere")
    site.home.registry.put_device(DeviceRecord("cam-5", "gate", ("south",), b"", "0"))
    device = site.device("cam-5")
    assert device.accepted()
    state = State(v=1, device="cam-5", online=True)
    device.publish("vigil/1/d/cam-5/state", to_json(state), retain=True)
    with pytest.raises(TransferError, match="no device answered: no answer in time"):
        report(site, tmp_path, "--group", "south", "--wait", "1", "--listen", "60")
    device.close()
    assert not (tmp_path / "f.html").exists()
