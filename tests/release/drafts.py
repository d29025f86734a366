"""A draft of both bundled forms of a model, and the command line that works on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from agent.cli import app
from agent.errors import VigilError

BUNDLED = Path(__file__).parents[2] / "agent/demo/bundled"
CLIP = BUNDLED / "conveyor.mp4"
IMAGES = ["golden/1.png", "golden/2.jpg", "golden/3.png"]

Alter = Callable[..., Path]


def vigil(*arguments: object) -> str:
    return _done(*arguments).output


def answer(*arguments: object) -> dict[str, Any]:
    """What a command prints with `--json`: one object, and nothing else on standard output."""
    told: dict[str, Any] = json.loads(_done(*arguments, "--json").stdout)
    return told


def _done(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, VigilError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result
