"""Changes to the configuration that come from afar or from the device's own page: tried, then kept or undone.

The operator's file is never touched. What differs from it lies in `settings.json` in the state folder, one
file that is always replaced as a whole, so that a power cut leaves the step before or the step after:

    propose    the change is on trial: written, not yet in force; the agent starts again
    begin      a start with a change on trial counts it; one that was tried too often is undone
    keep       the agent came up with it and kept its link: it is in force from now on
    give_up    it did not: what was in force before is so again

    settings = Settings(Path("/etc/vigil/vigil.yaml"))
    config = settings.begin()                      # at the start of the agent
    settings.propose({"cameras": {"door": {"fps": 5}}}, needs)
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.config.reading import config_of, filmed, read_tree
from agent.errors import CommandError, ConfigError, StorageError, VigilError
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.schema.config import Config
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.patch import difference, patched
from agent.schema.settings import SETTINGS_SCHEMA, Needs, SettingsRecord, Trial, Verdict

logger = logging.getLogger(__name__)

FILE = "settings.json"
MAX_TRIES = 2  # starts with one change, the first of them and one that a power cut took
MAX_CHANGES_BYTES = 64 * 1024
_MAX_FILE_BYTES = 512 * 1024
# Where the state lies cannot change while it is being looked for.
FIXED = frozenset({"schema", "state_dir", "runtime_dir"})
# Who may change these decides whom the device trusts and who reaches it.
PROTECTED = frozenset(
    {"broker", "console", "device", "examples", "key", "opentelemetry", "trust_root"}
)


@dataclass(frozen=True)
class Origin:
    """Who asked for a change: a command with its id, or nobody by command (the device's own page).

    Attributes:
        may_change_protected: Whether sections in `PROTECTED` may be changed, too.
    """

    command: str = ""
    cmd: str = ""
    may_change_protected: bool = False


NOBODY = Origin()


class Settings:
    """The configuration in force, and the one change that may be on trial. Any thread may use it.

    Args:
        path: The operator's file.
        disk: Where the state folder is.

    Raises:
        ConfigError: The file, or what was changed since, cannot be used.
    """

    def __init__(self, path: Path, disk: Disk = REAL_DISK) -> None:
        self._path, self._disk = path, disk
        self._lock = threading.Lock()
        self._tree = read_tree(path)
        alone = config_of(self._tree, path, str(path))
        self._file = Path(alone.state_dir) / FILE
        self._record = self._read()
        self._config = self._fit(self._record.kept)

    @property
    def path(self) -> Path:
        """The operator's file."""
        return self._path

    @property
    def config(self) -> Config:
        """What is in force, a change on trial included once `begin` let it be."""
        return self._config

    @property
    def changes(self) -> dict[str, Any]:
        """What is kept and differs from the operator's file, as a patch."""
        return self._record.kept

    @property
    def record(self) -> SettingsRecord:
        """All of it, as on disk."""
        return self._record

    @property
    def trial(self) -> Trial | None:
        """The change on trial."""
        return self._record.trial

    @property
    def last(self) -> Verdict | None:
        """How the last change ended."""
        return self._record.last

    def begin(self) -> Config:
        """Count one more start with the change on trial and return the configuration to start with."""
        with self._lock:
            trial = self._record.trial
            if trial is None:
                return self._config
            if trial.tries >= MAX_TRIES:
                error = ConfigError(
                    "the agent did not stay up with these settings", code="config.crash_loop"
                )
                self._end(trial, error)
                return self._config
            try:
                config = self._fit(trial.changes)
                self._write(replace(self._record, trial=replace(trial, tries=trial.tries + 1)))
            except (ConfigError, StorageError) as error:
                self._end(trial, error)
                return self._config
            self._config = config
            return config

    def propose(self, changes: Mapping[str, Any], needs: Needs, origin: Origin) -> bool:
        """Check a change and put it on trial; the agent must then start again.

        Args:
            changes: As `agent.schema.patch` describes them, against what is in force now.
            needs: What the agent must reach with them.
            origin: Who asked.

        Returns:
            Whether anything changes; False where all is so already, and nothing was written.

        Raises:
            ConfigError: The result would be no configuration (`config.invalid`), or a section cannot be
                changed from afar (`config.fixed`) or by this origin (`config.protected`).
            CommandError: Another change is on trial (`command.busy`).
            StorageError: The change could not be written; nothing changed.
        """
        with self._lock:
            after, config = self._checked(changes, origin)
            if after == self._record.kept:
                return False
            seen = {camera.name for camera in filmed(config)}
            needed = [name for name in needs.cameras if name in seen]
            trial = Trial(
                changes=after,
                command=origin.command,
                cmd=origin.cmd,
                needs=replace(needs, cameras=needed),
                since_ms=wall_ms(),
            )
            self._write(replace(self._record, trial=trial))
            return True

    def amend(self, changes: Mapping[str, Any], origin: Origin = NOBODY) -> Config:
        """Keep a small change at once, without a trial, and return what is in force; raises as `propose`.

        A command's change is its verdict, too, in the same write: the next life tells that it was kept.
        """
        with self._lock:
            after, config = self._checked(changes, origin)
            verdict = Verdict(command=origin.command, cmd=origin.cmd, kept=True, at_ms=wall_ms())
            last = verdict if origin.command else self._record.last
            self._write(replace(self._record, kept=after, last=last))
            self._config = config
            return config

    def keep(self) -> None:
        """Let the change on trial be in force for good; raises `StorageError` when it cannot be written."""
        with self._lock:
            trial = self._record.trial
            if trial is not None:
                verdict = _verdict(trial, None)
                self._write(replace(self._record, kept=trial.changes, trial=None, last=verdict))

    def give_up(self, error: VigilError) -> None:
        """Undo the change on trial because of `error`; the agent must then start again."""
        with self._lock:
            trial = self._record.trial
            if trial is not None:
                self._end(trial, error)

    # under the lock ----------------------------------------------------------------------------------

    def _checked(self, changes: Mapping[str, Any], origin: Origin) -> tuple[dict[str, Any], Config]:
        """Return what would differ from the operator's file, and the whole with it."""
        if self._record.trial is not None:
            raise CommandError(
                "another change of settings is on trial",
                code="command.busy",
                hint="send it again when it is kept or undone",
            )
        _check_sections(changes, origin)
        in_force = patched(self._tree, self._record.kept)
        after: dict[str, Any] = difference(self._tree, patched(in_force, dict(changes)))
        if len(json.dumps(after)) > MAX_CHANGES_BYTES:
            message = f"settings: expected changes of at most {MAX_CHANGES_BYTES} bytes, found more"
            raise ConfigError(message, code="config.too_large")
        return after, self._fit(after)

    def _fit(self, changes: dict[str, Any]) -> Config:
        source = f"{self._path} with {self._file}" if changes else str(self._path)
        return config_of(patched(self._tree, changes), self._path, source)

    def _end(self, trial: Trial, error: VigilError) -> None:
        logger.error("change of settings undone: %s", error.diagnostics())
        record = replace(self._record, trial=None, last=_verdict(trial, error))
        try:
            self._write(record)
        except StorageError as fault:
            # The next start finds the trial again, counts it and comes here until it can be written.
            logger.error("its end could not be written: %s", fault)
            self._record = record
        self._config = self._fit(record.kept)

    def _write(self, record: SettingsRecord) -> None:
        self._disk.write_atomic(self._file, to_json(record))
        self._record = record

    def _read(self) -> SettingsRecord:
        if not self._disk.exists(self._file):
            return SettingsRecord(schema=SETTINGS_SCHEMA)
        hint = "repair or remove it; without it the operator's file alone is in force"
        try:
            return parse_json(self._disk.read(self._file, _MAX_FILE_BYTES), SettingsRecord)
        except Malformed as error:
            message = f"{self._file}: {error}"
            raise ConfigError(message, code="config.damaged", hint=hint) from error


def _check_sections(changes: Mapping[str, Any], origin: Origin) -> None:
    for section in changes:
        if section in FIXED:
            message = f"settings: {section} can only be changed in the file on the device"
            raise ConfigError(message, code="config.fixed")
        if section in PROTECTED and not origin.may_change_protected:
            hint = "ask somebody who may give set-config-protected"
            message = f"settings: {section} is protected"
            raise ConfigError(message, code="config.protected", hint=hint)
    if not origin.may_change_protected:
        _check_reach(changes)


def _check_reach(changes: Any) -> None:
    """Refuse what would let a camera read any file of the agent's and send it anywhere."""
    if isinstance(changes, list):
        for one in changes:
            _check_reach(one)
    if not isinstance(changes, dict):
        return
    for name, value in changes.items():
        if name == "password_file" or (name == "source" and str(value).startswith("gst:")):
            message = f"settings: {name} {str(value)[:40]!r} is protected"
            hint = "ask somebody who may give set-config-protected"
            raise ConfigError(message, code="config.protected", hint=hint)
        _check_reach(value)


def _verdict(trial: Trial, error: VigilError | None) -> Verdict:
    return Verdict(
        command=trial.command,
        cmd=trial.cmd,
        kept=error is None,
        code=error.code if error else "",
        reason=str(error) if error else "",
        at_ms=wall_ms(),
    )
