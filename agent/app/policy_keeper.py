"""Keeps the command policy on disk as new as the repository's.

Commands are refused until the first policy has come; later ones are fetched when a hint comes, and every hour
without one. A road that is bad is tried again; a policy that is not authentic leaves the old one in force and a row in
the audit record, one for each reason until all is well again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agent.errors import StorageError, TransferError, TrustError, VigilError
from agent.host.clock import monotonic_ns
from agent.host.disk import Disk
from agent.schema.messages import Policy
from agent.trust.policy import check_policy

log = logging.getLogger(__name__)
_EVERY_S = 3600.0
_RETRY_S = 5.0


class PolicySource(Protocol):
    """Where the newest verified policy comes from."""

    def policy(self) -> tuple[bytes, Policy]:
        """Return it as signed and decoded; raises `TrustError` or `TransferError`."""


class PolicyKeeper:
    """Called between updates, in the updater's thread, whose roads it uses.

    Args:
        path: Where the verified policy is written.
        source: Where it comes from.
        connected: Whether asking makes sense now.
        disk: Disk under `path`.
        refused: Told the code and the reason when something is not authentic.
    """

    def __init__(
        self,
        path: Path,
        source: PolicySource,
        connected: Callable[[], bool],
        disk: Disk,
        refused: Callable[[str, str], None],
    ) -> None:
        self._path = path
        self._source = source
        self._connected = connected
        self._disk = disk
        self._refused = refused
        self._reason = ""
        self._due_ns = 0
        self._hinted = threading.Event()
        self.version = 0

    def hint(self, *_message: object) -> None:
        """Look as soon as possible: something new may be there. Any thread may say so."""
        self._hinted.set()

    def refresh_if_due(self) -> None:
        """Fetch the policy if it is time to; every fault is logged, none raised."""
        if not self._connected() or (monotonic_ns() < self._due_ns and not self._hinted.is_set()):
            return
        self._hinted.clear()
        wait_s = _EVERY_S
        try:
            self._refresh()
            self._reason = ""
        except TransferError as error:
            log.info("command policy not refreshed: %s", error)
            wait_s = _RETRY_S
        except VigilError as error:
            log.warning("command policy not refreshed: %s", error.diagnostics())
            self._tell(error)
        self._due_ns = monotonic_ns() + int(wait_s * 1e9)

    def _tell(self, error: VigilError) -> None:
        if not isinstance(error, TrustError) or error.code == self._reason:
            return
        try:
            self._refused(error.code, f"policy: {error}")
            self._reason = error.code
        except StorageError as fault:
            log.error("%s", fault.diagnostics())

    def _refresh(self) -> None:
        data, policy = self._source.policy()
        check_policy(policy)
        if policy.version != self.version:
            self._disk.write_atomic(self._path, data)
            log.info("command policy %d is in force", policy.version)
        self.version = policy.version
