"""A repository whose approvers' keys are on P-256, so that they sign for OpenSSF's model-signing, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from agent.release.repository import Repository
from tests.release.drafts import vigil

RELEASE = "gate/people/1.0"


@dataclass(frozen=True)
class Site:
    """A repository whose release keys are on P-256, with a staged release that two people approved, on copies."""

    repository: Repository
    built: Path
    copies: list[Path]
    keys: list[CryptoSigner]
    people: Any

    def carry(self, copy: Path) -> None:
        place = self.repository.staged.parent
        vigil("release", "approve", place, "gate", "--carried", copy / "staged/gate.json")

    def publish(self) -> list[Path]:
        self.repository.publish(*self.people.online)
        return sorted((self.repository.public / "signatures" / RELEASE).iterdir())
