"""The AsyncAPI document is what the code says, complete, and consistent in itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent import __version__
from agent.fleet.access import DEVICE_READS, DEVICE_WRITES
from agent.schema.asyncapi import CHANNELS, asyncapi_document, asyncapi_json, channel_of
from agent.schema.topics import DEVICE_LEAVES, DeviceTopics

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.json"
TOPICS = DeviceTopics("cam-1")


def test_the_committed_document_is_the_one_the_code_makes() -> None:
    assert COMMITTED.read_bytes() == asyncapi_json(__version__), (
        "run `vigil asyncapi > docs/asyncapi.json`"
    )


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi_document("1")
    references = list(_references(document))
    assert len(references) > 40
    for reference in references:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in place, reference
            place = place[part]


def test_every_schema_is_valid_json_schema() -> None:
    for schema in asyncapi_document("1")["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_operation_has_its_channel_and_every_channel_one_message() -> None:
    document = asyncapi_document("1")
    assert set(document["operations"]) == set(document["channels"])
    assert {one["action"] for one in document["operations"].values()} == {"send", "receive"}
    assert all(len(one["messages"]) == 1 for one in document["channels"].values())


@pytest.mark.parametrize("leaf", sorted(DEVICE_LEAVES))
def test_every_topic_of_a_device_is_described(leaf: str) -> None:
    topic = TOPICS.leaf(leaf if leaf not in {"event", "zone", "detections"} else f"{leaf}/door")
    assert channel_of(topic) is not None


@pytest.mark.parametrize("topic", ["vigil/1/d/cam-1/else", "vigil/1/d/cam-1/event/a/b", "x/hint"])
def test_other_topics_are_not(topic: str) -> None:
    assert channel_of(topic) is None


def test_what_a_device_sends_is_what_brokers_let_it_send() -> None:
    sent = {one.address.partition("/d/{device}/")[2] for one in CHANNELS if one.sends} - {""}
    assert {leaf.replace("{camera}", "#") for leaf in sent} == set(DEVICE_WRITES)
    read = {one.address.partition("/d/{device}/")[2] for one in CHANNELS if not one.sends} - {""}
    assert read == set(DEVICE_READS)


def _references(tree: Any) -> Any:
    if isinstance(tree, dict):
        yield from [tree["$ref"]] if "$ref" in tree else []
        for value in tree.values():
            yield from _references(value)
    if isinstance(tree, list):
        for value in tree:
            yield from _references(value)
