"""Commands that are loaded when they are called for: a device that runs loads none of the workstation's."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

# Each command's module in this package, and its function there, or the typer app of its own commands.
_COMMANDS = {
    "run": "run:run",
    "demo": "demo:demo",
    "detect": "detect:detect",
    "eval": "eval:evaluate",
    "bench": "bench:bench",
    "status": "status:status",
    "doctor": "doctor:doctor",
    "report": "report:report",
    "asyncapi": "asyncapi:asyncapi",
    "enroll": "enroll:enroll",
    "diagnostics": "diagnostics:diagnostics",
    "profile": "profile:app",
    "provision": "provision:app",
    "release": "release:app",
    "fleet": "fleet:app",
    "audit": "audit:app",
}


class _Commands(Mapping[str, Any]):
    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


def _load(name: str) -> Any:
    module, _, member = _COMMANDS[name].partition(":")
    found = getattr(import_module(f"agent.cli.{module}"), member)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # from here on Ctrl-C is an exception
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = typer.Typer()
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        parent.command(name)(found)
    return get_group(parent).commands[name]


class OnDemand(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]  # nothing writes to it
