"""When the demonstration opens the device's page by itself."""

from __future__ import annotations

import webbrowser

import pytest

from agent.cli.live_page import open_page


@pytest.mark.parametrize(
    ("desktop", "opened"), [({"DISPLAY": ":0"}, 1), ({"WAYLAND_DISPLAY": "wayland-0"}, 1), ({}, 0)]
)
def test_a_browser_is_opened_only_on_a_desktop(
    desktop: dict[str, str], opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in desktop.items():
        monkeypatch.setenv(name, value)
    pages: list[str] = []
    monkeypatch.setattr(webbrowser, "open", pages.append)
    open_page("http://127.0.0.1:1/")
    assert len(pages) == opened
