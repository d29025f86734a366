"""The command policy on disk: put there by the update client after TUF has verified it, read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import StorageError, TrustError
from agent.host.disk import REAL_DISK, Disk
from agent.schema.document import trusted_json
from agent.schema.messages import Policy

if TYPE_CHECKING:
    from pathlib import Path

MAX_POLICY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class PolicyFile:
    """Reads the policy anew for every command, so that a revoked key is out as soon as the file is."""

    path: Path
    disk: Disk = REAL_DISK

    def __call__(self) -> Policy:
        """Return the current policy.

        Raises:
            TrustError: `policy.missing` before the first update check, `policy.unreadable` for a file
                that the disk does not give, `trust.malformed` for one that is no policy.
        """
        if not self.disk.exists(self.path):
            raise TrustError("this device has no command policy yet", code="policy.missing")
        try:
            data = self.disk.read(self.path, MAX_POLICY_BYTES)
        except StorageError as error:
            raise TrustError(str(error), code="policy.unreadable") from error
        return trusted_json(data, Policy, str(self.path))
