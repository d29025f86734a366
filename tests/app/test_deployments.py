"""The example configurations of docs/deployments.md: each loads as it is, and starts with the tests' fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import load_config
from tests.parts.site import Site

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/deployments").glob("*.yaml"))
# What a test cannot have: somebody's broker, cameras, keys.
OTHERS = {"schema", "device", "broker", "key", "trust_root", "cameras"}


def name_of(path: Path) -> str:
    return path.stem


def test_there_are_three() -> None:
    assert {path.stem for path in EXAMPLES} == {"cloud", "edge", "on-premises"}


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_loads_as_it_is(example: Path) -> None:
    config = load_config(example)
    assert config.cameras
    assert config.broker.tls is not None
    assert not config.broker.allow_plaintext


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_starts(example: Path, site: Site) -> None:
    tree: dict[str, Any] = yaml.safe_load(example.read_text())
    device = site.device(f"like-{example.stem}")
    console = tree["console"] | {"port": device.port}
    if "tls_cert" in console:
        secrets(site, device.config.parent)
    sections = {name: part for name, part in tree.items() if name not in OTHERS}
    own = yaml.safe_load(device.config.read_text())["update"]
    device.configure(
        **{**sections, "console": console, "update": {**tree.get("update", {}), **own}}
    )
    device.start()
    state = site.wait_ready(device)
    assert state.device == device.name
    assert device.stop() == 0


def secrets(site: Site, folder: Path) -> None:
    """Certificate and token of the page."""
    issued = site.fleet.authority.server_certificate(["127.0.0.1"])
    (folder / "console.crt").write_bytes(issued.cert_pem)
    (folder / "console.key").write_bytes(issued.key_pem)
    (folder / "console.token").write_text("a-token-of-some-length\n")
    for name in ("console.key", "console.token"):
        (folder / name).chmod(0o600)
