"""Which protocol is tried next, and after how long."""

import threading

import pytest

from agent.control.link import Link
from agent.control.link.dialling import STABLE_S, Dial, Ending, Mqtt, first_dial
from agent.errors import ConfigError
from agent.host.ports import free_port
from agent.schema.config import BrokerConfig
from tests.control.world import TOPICS, WAIT_S, until


@pytest.mark.parametrize("ending", [Ending.SILENT, Ending.CLOSED, Ending.UNSUPPORTED])
def test_auto_falls_back_to_3_1_1_without_waiting(ending: Ending) -> None:
    dial = first_dial("auto")
    assert dial.protocol is Mqtt.V5
    dial = dial.ended(ending, 0.0)
    assert dial.protocol is Mqtt.V311
    assert dial.wait_s(ending, 0.5) == 0.0


def test_both_versions_failing_is_waited_for() -> None:
    dial = first_dial("auto").ended(Ending.SILENT, 0.0).ended(Ending.SILENT, 0.0)
    assert dial.protocol is Mqtt.V5
    assert dial.wait_s(Ending.SILENT, 0.5) > 0.0


@pytest.mark.parametrize("ending", [Ending.UNREACHABLE, Ending.UNTRUSTED, Ending.REFUSED])
def test_faults_that_are_not_the_versions_keep_the_version(ending: Ending) -> None:
    assert first_dial("auto").ended(ending, 0.0).protocol is Mqtt.V5


def test_what_worked_survives_a_short_silence_but_not_a_long_one() -> None:
    dial = first_dial("auto").ended(Ending.SILENT, 0.0).accepted()
    dial = dial.ended(Ending.LOST, STABLE_S)
    dial = dial.ended(Ending.SILENT, 0.0)
    assert dial.protocol is Mqtt.V311
    dial = dial.ended(Ending.SILENT, 0.0)
    assert dial.protocol is Mqtt.V5


@pytest.mark.parametrize(("protocol", "version"), [("5", Mqtt.V5), ("3.1.1", Mqtt.V311)])
def test_a_fixed_version_is_never_left(protocol: str, version: Mqtt) -> None:
    dial = first_dial(protocol)
    for _ in range(5):
        assert dial.protocol is version
        dial = dial.ended(Ending.UNSUPPORTED, 0.0)
        assert dial.wait_s(Ending.UNSUPPORTED, 0.0) > 0.0


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(ConfigError, match=r"broker\.protocol: expected one of auto, 5, 3\.1\.1"):
        first_dial("4")


@pytest.mark.parametrize("ending", list(Ending))
def test_waits_grow_and_stay_bounded(ending: Ending) -> None:
    dial, waits_s = first_dial("5"), []
    for _ in range(40):
        dial = dial.ended(ending, 0.0)
        waits_s.append(dial.wait_s(ending, 0.0))
    assert waits_s[0] > 0.0
    assert waits_s == sorted(waits_s)
    assert waits_s[5] > 8 * waits_s[0]
    assert waits_s[-1] <= 600.0


def test_refused_credentials_wait_much_longer_than_an_absent_broker() -> None:
    dial = first_dial("5").ended(Ending.REFUSED, 0.0)
    for ending in (Ending.REFUSED, Ending.UNTRUSTED, Ending.TAKEN_OVER):
        assert dial.wait_s(ending, 0.0) >= 10 * dial.wait_s(Ending.UNREACHABLE, 0.0)


def test_jitter_spreads_the_waits() -> None:
    dial = first_dial("5").ended(Ending.LOST, 0.0)
    assert dial.wait_s(Ending.LOST, 0.99) > 1.9 * dial.wait_s(Ending.LOST, 0.0)


def test_a_connection_that_is_lost_at_once_is_not_redialled_at_full_speed() -> None:
    dial = first_dial("5")
    for _ in range(6):
        dial = dial.accepted().ended(Ending.LOST, 0.2)
    restless_s = dial.wait_s(Ending.LOST, 0.0)
    assert restless_s > 4.0
    assert dial.accepted().ended(Ending.LOST, STABLE_S).wait_s(Ending.LOST, 0.0) < restless_s / 10


def test_stopping_does_not_wait_for_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dial, "wait_s", lambda *_: 3600.0)
    link = Link(BrokerConfig(host="127.0.0.1", port=free_port(), allow_plaintext=True), TOPICS)
    stop = threading.Event()
    thread = threading.Thread(target=link.run, args=(stop,), daemon=True)
    thread.start()
    assert until(lambda: link.problem)
    stop.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()
