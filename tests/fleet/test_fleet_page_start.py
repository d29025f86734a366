"""When `vigil fleet serve` shows the page: by its option, by `fleet.yaml`, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from agent.cli.fleet_serve import _showing
from agent.errors import ConfigError
from agent.fleet.access import CONTROLLER
from agent.fleet.controller import Controller
from agent.fleet.home import (
    FLEET_SCHEMA,
    FleetConfig,
    FleetHome,
    FleetPageConfig,
    create_home,
    open_home,
)


def home(folder: Path, page: FleetPageConfig | None) -> FleetHome:
    config = FleetConfig(
        schema=FLEET_SCHEMA, broker_host="127.0.0.1", broker_port=1, repository="repo", page=page
    )
    create_home(folder, config).registry.close()
    return open_home(folder)


def printed(opened: FleetHome, port: int | None, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is printed; where that is an address, the page answered there."""
    controller = Controller(opened.broker(CONTROLLER), services=None)
    with _showing(opened, controller, port):
        said = capsys.readouterr().out
        for url in re.findall(r"http://\S+", said):
            assert httpx.get(f"{url}api/fleet", timeout=60).json()["devices"] == 0
    controller.stop()
    opened.registry.close()
    return said


@pytest.mark.parametrize(
    ("page", "port"), [(None, 0), (FleetPageConfig(port=0), None), (FleetPageConfig(port=1), 0)]
)
def test_option_or_section_shows_the_page(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    page: FleetPageConfig | None,
    port: int | None,
) -> None:
    assert "the fleet's page: http://127.0.0.1:" in printed(home(tmp_path, page), port, capsys)


def test_without_both_nothing_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not printed(home(tmp_path, None), None, capsys)


def test_a_page_that_may_not_be_shown_is_named_before_anything_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everywhere = FleetPageConfig(host="0.0.0.0", port=0)  # noqa: S104 - refused
    with pytest.raises(ConfigError, match=r"page\.host"):
        printed(home(tmp_path, everywhere), None, capsys)
