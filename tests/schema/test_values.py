"""Names that become paths and topics."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.schema.messages import CommandId
from agent.schema.values import Identifier, Sha256, TargetPath, Version

GOOD = [
    (Identifier, "camera-1.left"),
    (Sha256, "0f" * 32),
    (TargetPath, "models/shop/yolo/1.2"),
    (Version, "1.2.3-rc1"),
    (CommandId, "01J9-abcdefg"),
]


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_a_proper_name_is_accepted(kind: Any, text: str) -> None:
    assert msgspec.convert(text, kind) == text


@pytest.mark.parametrize(("kind", "text"), GOOD)
@pytest.mark.parametrize("tail", ["\n", "\0", "/../x", " ", "é"])
def test_nothing_can_be_appended_to_a_name(kind: Any, text: str, tail: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text + tail, kind)
