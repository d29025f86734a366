"""Commands that every agent answers by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent.control.replies import arguments
from agent.schema.actions import NoArgs

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.control.commander import Handler
    from agent.control.replies import Replier
    from agent.schema.messages import CommandBody, State, Telemetry


def builtin_handlers(
    state: Callable[[], State], telemetry: Callable[[], Telemetry]
) -> dict[str, Handler]:
    """Return `status` (the reply's data is the state) and `self-report` (fresh measurements)."""

    def status(body: CommandBody, replier: Replier) -> None:
        arguments(body, NoArgs)
        replier.succeeded(**msgspec.to_builtins(state()))

    def self_report(body: CommandBody, replier: Replier) -> None:
        arguments(body, NoArgs)
        replier.succeeded(**msgspec.to_builtins(telemetry()))

    return {"status": status, "self-report": self_report}
