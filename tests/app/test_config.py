"""The operator's file: every fault is named by file, place, expected and found; nothing wrong is guessed at."""

from pathlib import Path

import pytest

from agent.config import load_config
from agent.errors import ConfigError
from agent.schema.keystore import FileKeyConfig

GOOD = """\
schema: 1
device: {id: cam-1, class: shop}
broker: {host: broker.example, tls: {ca: ca.crt, cert: cam.crt, key: cam.key}}
state_dir: state
cameras:
  - {name: door, source: door.mp4}
  - {name: yard, source: "rtsp://10.0.0.7/stream"}
  - {name: desk, source: /dev/video0}
  - {name: test, source: "pattern:"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "vigil.yaml"
    path.write_text(text)
    return path


def test_relative_paths_are_relative_to_the_file_and_urls_are_left_alone(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.state_dir == str(tmp_path / "state")
    assert config.key == FileKeyConfig(path=str(tmp_path / "identity/device.key"))
    assert config.broker.tls is not None
    assert config.broker.tls.ca == str(tmp_path / "ca.crt")
    assert [camera.source for camera in config.cameras] == [
        str(tmp_path / "door.mp4"),
        "rtsp://10.0.0.7/stream",
        "/dev/video0",
        "pattern:",
    ]


@pytest.mark.parametrize(
    ("change", "place", "expected", "found"),
    [
        (("schema: 1", "schema: 2"), "$.schema", "1", "2"),
        (("id: cam-1", "id: Cam 1"), "$.device.id", "small letters", "Cam 1"),
        (("id: cam-1", "id: 7"), "$.device.id", "str", "int"),
        (("class: shop", "klass: shop"), "$.device", "klass", ""),
        (("state_dir: state", "statedir: state"), "$", "statedir", ""),
        (("name: yard", "name: door"), "$.cameras[0].name", "unique", "door"),
        (
            ("tls: {ca: ca.crt, cert: cam.crt, key: cam.key}", "port: 1883"),
            "$.broker.tls",
            "ca",
            "",
        ),
        (("host: broker.example", "host: b, protocol: '4'"), "$.broker.protocol", "auto", "4"),
        (("host: broker.example", "host: b, port: 70000"), "$.broker.port", "65535", ""),
        (("name: door,", "name: door, fps: -1,"), "$.cameras[0].fps", "> 0", ""),
        (("name: door,", "name: door, password_file: p,"), "$.cameras[0].password_file", "URL", ""),
        (("name: door,", "name: door, motion: {threshold: 0},"), ".threshold", ">= 1", ""),
        (("name: door,", "name: door, motion: {masks: [[[0, 0], [1, 1]]]},"), ".masks[0]", "3", ""),
        (
            ("name: door,", "name: door, motion: {masks: [[[0, 0], [9, 1], [1, 1]]]},"),
            "[0]",
            "1",
            "",
        ),
        (("cameras:", "cameras: ["), "line", "YAML", ""),
    ],
)
def test_a_fault_is_named_with_file_place_expected_and_found(
    tmp_path: Path, change: tuple[str, str], place: str, expected: str, found: str
) -> None:
    assert change[0] in GOOD
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert caught.value.exit_status == 78
    for part in (str(path), place, expected, found):
        assert part in message


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.yaml")
    assert str(tmp_path / "none.yaml") in str(caught.value)
    assert "--config" in caught.value.hint


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a" * 300_000, b"", b"- 1", b"a: &a [*a]"])
def test_what_is_no_configuration_at_all_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "vigil.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=str(path)):
        load_config(path)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_config(tmp_path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "state_dir: elsewhere\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "state_dir" in str(caught.value)


def test_a_password_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    text = GOOD.replace('stream"}', 'stream", password_file: secrets/yard}')
    config = load_config(written(tmp_path, text))
    assert config.cameras[1].password_file == str(tmp_path / "secrets/yard")
