"""The error tree: one class for each thing a catcher can do about it.

Rules
- A class says what to do next (exit, refuse, retry, reject, reopen, stop updates); its `code` says which
  fault it was. Codes are stable: they travel over MQTT and appear in replies, states and audit rows.
- `str(error)` is one line that says what and where. `diagnostics()` adds what to do about it, for a person.
- Hostile bytes end in `TrustError` (or a `PackageError`/`ModelError` behind a signature), nothing else.
"""

from __future__ import annotations


class VigilError(Exception):
    """Root of every error that Vigil raises on purpose.

    Args:
        message: One line: what went wrong and where.
        code: Stable dotted identifier of the fault, for example `trust.rollback`.
        hint: What the reader can do about it; empty when nothing sensible is known.
    """

    default_code = "internal"
    exit_status = 1

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def diagnostics(self) -> str:
        """Return the message with its code and the suggested remedy, for a person."""
        text = f"{self.message} [{self.code}]"
        return f"{text}\n  -> {self.hint}" if self.hint else text


class ConfigError(VigilError):
    """A file the operator writes is wrong: exit with 78 (EX_CONFIG) and do not restart."""

    default_code = "config.invalid"
    exit_status = 78


class InUseError(VigilError):
    """Another process has what this one needs: exit with 75 (EX_TEMPFAIL), try again later."""

    default_code = "state.in_use"
    exit_status = 75


class TrustError(VigilError):
    """Signed or sealed data fails a check: refuse, report, never retry by itself."""

    default_code = "trust.refused"


class KeyUnavailableError(VigilError):
    """The key store cannot be used now (token gone, locked, wrong PIN): retry, it is not tampering."""

    default_code = "key.unavailable"


class TransferError(VigilError):
    """The road is bad (network, broker, server): keep the partial file and retry."""

    default_code = "transfer.failed"


class PackageError(VigilError):
    """An authentic release does not suit this device or is incomplete: reject it."""

    default_code = "package.unsuitable"


class ModelError(VigilError):
    """A model cannot be loaded or misbehaves: reject it before, or roll back after, the swap."""

    default_code = "model.failed"


class CameraError(VigilError):
    """A camera gives no frames: reopen it and run degraded meanwhile."""

    default_code = "camera.failed"


class StorageError(VigilError):
    """The disk cannot keep a promise (full, read-only, failing): stop updates, keep inferring."""

    default_code = "storage.failed"


class CommandError(VigilError):
    """An authentic command cannot be carried out as asked: reply `failed` with the reason."""

    default_code = "command.failed"
