"""Documents with a mistake in them: the message says what was meant, where that can be told."""

from __future__ import annotations

import pytest

from agent.schema.config import Config
from agent.schema.document import Malformed, parse_json, parse_yaml
from agent.schema.messages import Policy

DEVICE = "schema: 1\ndevice: {id: dev-1, class: gate}\nbroker: {host: localhost, allow_plaintext: true}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("consol: {port: 1}", "unknown field consol, did you mean console?"),
        ("console: {prot: 1}", "did you mean port?"),
        ("cameras: [{nmae: belt, source: x}]", "did you mean name?"),
        ("colour_of_the_box: red", "unknown field colour_of_the_box"),
        ("cameras: [{name: Förderband, source: x}]", "small letters, digits"),
    ],
)
def test_a_mistyped_field_or_name_is_told_in_words(text: str, words: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_yaml(DEVICE + text, Config)
    assert words in refused.value.problem
    assert ("did you mean" in words) == ("did you mean" in refused.value.problem)


def test_a_mistyped_field_in_a_dictionary_is_told_too() -> None:
    document = b'{"schema": 1, "version": 1, "users": [], "commands": {"stop": {"rol": "viewer"}}}'
    with pytest.raises(Malformed, match="did you mean role"):
        parse_json(document, Policy)


def test_a_field_of_a_hostile_length_is_not_compared() -> None:
    with pytest.raises(Malformed) as refused:
        parse_json(b'{"' + b"console" * 9 + b"x" * 20000 + b'": 1}', Config)
    assert "did you mean" not in refused.value.problem


def test_an_empty_document_is_said_to_be_empty() -> None:
    with pytest.raises(Malformed, match="expected JSON, found nothing"):
        parse_json(b"\n", Config)
