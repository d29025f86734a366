"""What this device is and owns: board, profile, key, and the files under its state folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.errors import StorageError
from agent.host.board import read_facts
from agent.host.disk import REAL_DISK, Disk
from agent.host.sensors import temperature_c
from agent.models.choose import choose
from agent.models.engine_cache import EngineCache
from agent.models.measurements import TRIAL, Measurements, measured
from agent.models.opening import Opener
from agent.models.profiles import examine, load_profiles, named
from agent.models.skew import find_skew
from agent.models.store import InstalledRelease, ModelStore
from agent.schema.config import Config
from agent.schema.ipc import GoldenFinished
from agent.schema.keystore import key_config
from agent.schema.manifest import Manifest
from agent.schema.profile import BoardFacts, Choice, DeviceProfile
from agent.telemetry.days import FOLDER as DAYS
from agent.telemetry.days import Days
from agent.trust.floor import Floor
from agent.trust.ledger import Ledger
from agent.trust.rotation import spare_key
from agent.trust.stores import KeyStore, floor_counter, key_store

log = logging.getLogger(__name__)
_MAX_ROOT_BYTES = 512 * 1024


@dataclass(frozen=True)
class Device:
    """Everything that outlives a run of the agent, opened.

    Attributes:
        trust_root: The TUF root metadata the device was provisioned with.
        keys: Where the device key lives.
        engines: TensorRT engines that were built here.
        days: What each day came to.
        folder: The state folder; everything durable is below it.
    """

    config: Config
    facts: BoardFacts
    profile: DeviceProfile
    trust_root: bytes
    keys: KeyStore
    opener: Opener
    store: ModelStore
    engines: EngineCache
    measurements: Measurements
    floor: Floor
    ledger: Ledger
    days: Days
    folder: Path
    disk: Disk

    @property
    def id(self) -> str:
        """This device's id, which is its certificate's CN and its client id."""
        return self.config.device.id

    @property
    def interval_s(self) -> float:
        """Seconds between two measurements: the operator's, else the profile's."""
        return self.config.telemetry.interval_s or self.profile.telemetry.interval_s

    @property
    def runtime_folder(self) -> Path:
        """Where the status file goes; need not survive."""
        return Path(self.config.runtime_dir)

    def close(self) -> None:
        """Close what stays open while the agent runs, and keep what the day came to."""
        self.days.save()
        self.ledger.close()

    def choose(self, manifest: Manifest) -> Choice:
        """Return the variant of a release that suits this board, with the reasons."""
        try:
            choice = self.measurements.choose(self.profile, manifest, self.facts)
        except StorageError as error:
            log.warning("choosing without measurements: %s", error)
            choice = choose(self.profile, manifest, self.facts)
        for verdict in choice.verdicts:
            chosen = "chosen" if verdict.variant == choice.variant else "not chosen"
            log.info("variant %s %s: %s", verdict.variant, chosen, verdict.reason)
        return choice

    def record_trial(self, release: InstalledRelease, result: GoldenFinished) -> None:
        """Keep the latency of a trial for the next choice; what cannot be kept is logged."""
        if result.p95_ms <= 0:
            return
        new = measured(
            release.variant,
            self.facts,
            p95_ms=result.p95_ms,
            frames=result.frames,
            origin=TRIAL,
            temperature_c=temperature_c(),
        )
        try:
            self.measurements.record(new)
        except StorageError as error:
            log.warning("the trial's latency is not kept: %s", error)


def open_device(config: Config, disk: Disk = REAL_DISK) -> Device:
    """Open what the configuration names.

    Raises:
        ConfigError: No such profile, or a key that anyone may read.
        KeyUnavailableError: The device key cannot be read.
        StorageError: The state folder cannot be used.
    """
    folder = Path(config.state_dir)
    for path in (folder, folder / "tuf", folder / "models", Path(config.runtime_dir)):
        disk.make_dirs(path)
    facts = read_facts()
    profile = _find_profile(config.profile, facts)
    keys = key_store(key_config(config.key), disk)
    key, identity = keys.open(), config.device
    return Device(
        config=config,
        facts=facts,
        profile=profile,
        trust_root=disk.read(Path(config.trust_root), _MAX_ROOT_BYTES),
        keys=keys,
        opener=Opener(key, identity.id, identity.device_class, partial(spare_key, keys)),
        store=ModelStore(folder / "models", disk),
        engines=EngineCache(folder / "engines", key, disk),
        measurements=Measurements(folder, disk),
        floor=Floor(folder / "floor", disk, floor_counter(keys)),
        ledger=Ledger(folder / "commands.db"),
        days=Days(folder / DAYS, disk),
        folder=folder,
        disk=disk,
    )


def _find_profile(wanted: str, facts: BoardFacts) -> DeviceProfile:
    """Return the configured or the recognised profile; what is odd about the board is logged."""
    profiles = load_profiles()
    if wanted == "auto":
        found = examine(facts, profiles)
        for warning in found.warnings:
            log.warning("%s", warning)
        profile = found.profile
    else:
        profile = named(wanted, profiles)
    for skew in find_skew(facts):
        log.warning("%s; %s [%s]", skew.problem, skew.fix, skew.code)
    for problem in facts.unreadable:
        log.warning("%s", problem)
    log.info("board %s runs with profile %s", facts.model, profile.name)
    return profile
