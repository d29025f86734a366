"""Making findings, and the verdict over them: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from agent.schema.doctor import Finding, Level

if TYPE_CHECKING:
    from agent.errors import VigilError

_RANK = {Level.OK: 0, Level.UNSEEN: 0, Level.WARNING: 1, Level.PROBLEM: 2}
_DENIED = "storage.denied"


def good(check: str, what: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(check=check, level=Level.OK, code="ok", what=what)


def unseen(check: str, what: str, fix: str = "") -> Finding:
    """Return a finding that something could not be examined."""
    return Finding(check=check, level=Level.UNSEEN, code="unseen", what=what, fix=fix)


def warning(check: str, code: str, what: str, why: str, fix: str) -> Finding:
    """Return a finding that will become a problem, or already costs something."""
    return Finding(check=check, level=Level.WARNING, code=code, what=what, why=why, fix=fix)


def problem(check: str, code: str, what: str, why: str, fix: str) -> Finding:
    """Return a finding that keeps the device from doing its work."""
    return Finding(check=check, level=Level.PROBLEM, code=code, what=what, why=why, fix=fix)


def from_error(check: str, error: VigilError, why: str, fix: str) -> Finding:
    """Return what an error of the tree says; one of missing rights only says that nothing was seen."""
    if error.code == _DENIED:
        return unseen(check, str(error), "run it as the agent's user: sudo -u vigil vigil doctor")
    return problem(check, error.code, str(error), why, error.hint or fix)


def verdict(findings: Iterable[Finding]) -> Level:
    """Return the worst level; what was not seen makes nothing worse."""
    worst = max((finding.level for finding in findings), key=_RANK.__getitem__, default=Level.OK)
    return Level.OK if worst is Level.UNSEEN else worst


def exit_status(level: Level) -> int:
    """Return 0, 1 for warnings, 2 for problems."""
    return _RANK[level]
