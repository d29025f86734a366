"""docs/events.md: its configuration is one, its examples are messages, one of each type."""

import re
from pathlib import Path

from agent.config import load_config
from agent.schema.document import parse_json
from agent.schema.events import Event, PlaceAction, ZoneEvent

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text()
HEAD = """\
schema: 1
device: {id: cam-1, class: gate}
broker: {host: localhost, allow_plaintext: true}
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_its_configuration_is_read(tmp_path: Path) -> None:
    (yaml,) = blocks("yaml")
    path = tmp_path / "vigil.yaml"
    path.write_text(HEAD + yaml)
    config = load_config(path)
    (camera,) = config.cameras
    assert (len(camera.zones), len(camera.lines), len(camera.speeds)) == (1, 2, 1)
    assert config.events.clips.enabled


def test_there_is_a_true_example_of_every_message() -> None:
    examples = [block.encode() for block in blocks("json")]
    events = [parse_json(one, Event) for one in examples if b'"place"' not in one]
    places = [parse_json(one, ZoneEvent) for one in examples if b'"place"' in one]
    assert [event.type for event in events] == ["new", "update", "end"]
    assert {place.type for place in places} == set(PlaceAction)
    for event in events:
        assert (event.before is None) == (event.type == "new")
        assert (event.end_ms is not None) == (event.type == "end")
