"""Who may publish and receive which topic."""

from __future__ import annotations

import pytest

from agent.fleet.access import device_may_publish, device_may_receive, matches


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("vigil/1/d/cam-1/state", {"publish"}),
        ("vigil/1/d/cam-1/event/door", {"publish"}),
        ("vigil/1/d/cam-1/blk/req", {"publish"}),
        ("vigil/1/d/cam-1/blk/rsp", {"receive"}),
        ("vigil/1/d/cam-1/cmd", {"receive"}),
        ("vigil/1/hint", {"receive"}),
        ("vigil/1/g/north/cmd", {"receive"}),
        ("vigil/1/g/south/cmd", set()),
        ("vigil/1/d/cam-2/state", set()),
        ("vigil/1/d/cam-2/cmd", set()),
        ("vigil/1/d/+/cmd", set()),
        ("vigil/1/#", set()),
        ("#", set()),
        ("vigil/1/d/cam-1/#", set()),
    ],
)
def test_a_device_uses_only_its_own_topics(topic: str, allowed: set[str]) -> None:
    found = {
        "publish": device_may_publish("cam-1", topic),
        "receive": device_may_receive("cam-1", {"north"}, topic),
    }
    assert {action for action, is_allowed in found.items() if is_allowed} == allowed


@pytest.mark.parametrize(("topic", "pattern"), [("a/b", "a/+"), ("a/b/c", "a/#"), ("a", "a")])
def test_filters_match_as_mqtt_says(topic: str, pattern: str) -> None:
    assert matches(topic, pattern)


@pytest.mark.parametrize(
    ("topic", "pattern"), [("a", "a/+"), ("b/c", "a/#"), ("a/b", "a"), ("a/b/c", "a/+")]
)
def test_filters_match_nothing_else(topic: str, pattern: str) -> None:
    assert not matches(topic, pattern)
