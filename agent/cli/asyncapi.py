"""`vigil asyncapi`: every topic and message, as an AsyncAPI 3 document."""

from __future__ import annotations

import sys

from agent import __version__


def asyncapi() -> None:
    """Print the AsyncAPI document of all topics and messages (JSON)."""
    from agent.schema.asyncapi import asyncapi_json

    sys.stdout.write(asyncapi_json(__version__).decode())
