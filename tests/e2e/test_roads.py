"""A whole device and its two roads: a web server first, MQTT blocks when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.schema.messages import ReplyStatus
from tests.parts.processes import until
from tests.parts.site import QUICK, Site
from tests.parts.web_server import Handler, WebServer, honest


class Published(dict[str, bytes]):
    """The fleet's public folder as a web server's files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def get(self, path: str, default: Any = None) -> Any:
        """Read a published file, if it is one."""
        file = self._folder / path
        return file.read_bytes() if file.is_file() else default


@pytest.fixture
def web(site: Site) -> Iterator[WebServer]:
    with WebServer(Published(site.fleet.repository.public)) as server:
        yield server


def with_web(server: WebServer) -> dict[str, Any]:
    return {**QUICK, "repository": {"url": server.url}}


def payloads_asked(server: WebServer) -> int:
    return sum(path.endswith("onnx.sealed") for path, _ in server.requests)


def test_the_web_server_comes_first_and_mqtt_is_not_needed(site: Site, web: WebServer) -> None:
    device = site.running("by-web", update=with_web(web))
    road = site.hold(".sealed")
    assert site.install(device, site.release("1.0.0")).status is ReplyStatus.SUCCEEDED
    assert not road.held.is_set()
    assert any(path.endswith(".sealed") for path, _ in web.requests)
    assert any("timestamp.json" in path for path, _ in web.requests)


def test_a_web_server_that_fails_in_mid_file_is_followed_by_mqtt(
    site: Site, web: WebServer
) -> None:
    def breaking(handler: Handler, data: bytes, start: int) -> None:
        if not handler.path.endswith(".sealed") or len(data) < 500_000:
            honest(handler, data, start)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:400_000])
        handler.wfile.flush()
        handler.close_connection = True

    web.script = breaking
    device = site.running("by-both", update=with_web(web))
    assert site.install(device, site.release("1.0.0")).status is ReplyStatus.SUCCEEDED
    assert "road 0 at byte 4" in device.log_text
    assert site.wait(device, lambda state: state.release is not None).floor == 1


def test_a_window_that_is_shut_is_shown_and_the_next_configuration_goes_on(site: Site) -> None:
    shut = {**QUICK, "metered": {"daily_mb": 0.000001}}
    device = site.running("by-budget", update=shut)
    command = site.deploy(device, site.release("1.0.0"))
    state = site.wait(device, lambda state: bool(state.progress and state.progress.waiting))
    assert state.progress is not None
    assert state.progress.waiting.startswith("waiting for the budget")
    until(lambda: "waiting for the budget" in device.cli("status").stdout, 30, "status says so")
    device.stop()
    device.configure(update=QUICK)
    device.start()
    assert site.end_of(command).status is ReplyStatus.SUCCEEDED
