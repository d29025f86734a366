"""`vigil provision`: what the script asks is answered in plain words, and nothing wrong is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.parts.processes import vigil
from tests.parts.site import Site


@pytest.fixture
def config(site: Site) -> Path:
    return site.device("provisioned").config


def provision(*arguments: str, config: Path) -> tuple[int, str, str]:
    done = vigil("provision", *arguments, "--config", str(config))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "form",
    ["- {name: door, source: /dev/video3}", "cameras:\n  - {name: door, source: /dev/video3}"],
)
def test_cameras_of_a_file_become_those_of_the_device(
    config: Path, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(form)
    before = yaml.safe_load(config.read_text())
    assert provision("cameras", str(file), config=config)[0] == 0
    assert yaml.safe_load(config.read_text()) == {
        **before,
        "cameras": [{"name": "door", "source": "/dev/video3"}],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {name: door}", "source"),
        ("door", "cameras"),
        ("- {name: a, source: x}\n- {name: a, source: y}", "unique camera names"),
        ("[", "expected a YAML list"),
        ("- {name: door, source: x, colour: blue}", "colour"),
    ],
)
def test_wrong_cameras_leave_the_configuration_as_it_was(
    config: Path, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(text)
    before = config.read_text()
    status, _, told = provision("cameras", str(file), config=config)
    assert status == 78
    assert words in told
    assert str(file) in told, "and not a file that is gone by now"
    assert ".trial" not in told
    assert config.read_text() == before
    assert not config.with_name("vigil.yaml.trial").exists()


def test_the_summary_says_what_this_device_is_and_what_is_next(config: Path) -> None:
    status, told, _ = provision("summary", config=config)
    assert status == 0
    for words in ("provisioned, class sorters", "belt", "http://127.0.0.1:", "vigil fleet deploy"):
        assert words in told


def test_a_device_without_cameras_is_told_to_get_some(config: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**tree, "cameras": []}))
    assert "add cameras" in provision("summary", config=config)[1]


def test_the_drop_in_names_the_profile(config: Path) -> None:
    status, told, _ = provision("drop-in", config=config)
    assert status == 0
    assert "[Service]" in told


def test_an_invitation_is_for_this_device_or_refused(site: Site, config: Path) -> None:
    bundles = site.fleet.folder / "bundles"
    assert (
        provision("invitation", str(bundles / "provisioned"), config=config)[1] == "provisioned\n"
    )
    site.device("another")
    status, _, told = provision("invitation", str(bundles / "another"), config=config)
    assert status == 78
    assert "invites another, but this device is provisioned" in told
