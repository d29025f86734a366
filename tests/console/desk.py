"""Who takes the page's changes of settings, scripted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.errors import VigilError
from agent.schema.settings import Verdict


@dataclass
class Desk:
    """Takes what the page proposes, or refuses it with `fault`."""

    fault: VigilError | None = None
    on_trial: bool = False
    last: Verdict | None = None
    proposed: list[Mapping[str, Any]] = field(default_factory=list)

    def propose(self, changes: Mapping[str, Any]) -> bool:
        if self.fault is not None:
            raise self.fault
        self.proposed.append(changes)
        return True
