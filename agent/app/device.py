"""What this device is and owns: board, profile, key, and the files under its state folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.host.board import read_facts
from agent.host.disk import REAL_DISK, Disk
from agent.models.choose import choose
from agent.models.engine_cache import EngineCache
from agent.models.opening import Opener
from agent.models.profiles import load_profiles, named, recognise
from agent.models.store import ModelStore
from agent.schema.config import Config
from agent.schema.keystore import key_config
from agent.schema.manifest import Manifest
from agent.schema.profile import BoardFacts, Choice, DeviceProfile
from agent.trust.floor import Floor
from agent.trust.ledger import Ledger
from agent.trust.rotation import spare_key
from agent.trust.stores import floor_counter, key_store

log = logging.getLogger(__name__)
_MAX_ROOT_BYTES = 512 * 1024


@dataclass(frozen=True)
class Device:
    """Everything that outlives a run of the agent, opened.

    Attributes:
        trust_root: The TUF root metadata the device was provisioned with.
        engines: TensorRT engines that were built here.
        folder: The state folder; everything durable is below it.
    """

    config: Config
    facts: BoardFacts
    profile: DeviceProfile
    trust_root: bytes
    opener: Opener
    store: ModelStore
    engines: EngineCache
    floor: Floor
    ledger: Ledger
    folder: Path
    disk: Disk

    @property
    def id(self) -> str:
        """This device's id, which is its certificate's CN and its client id."""
        return self.config.device.id

    @property
    def runtime_folder(self) -> Path:
        """Where the status file goes; need not survive."""
        return Path(self.config.runtime_dir)

    def choose(self, manifest: Manifest) -> Choice:
        """Return the variant of a release that suits this board, with the reasons."""
        choice = choose(self.profile, manifest, self.facts)
        for verdict in choice.verdicts:
            chosen = "chosen" if verdict.variant == choice.variant else "not chosen"
            log.info("variant %s %s: %s", verdict.variant, chosen, verdict.reason)
        return choice


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
    profiles = load_profiles()
    is_auto = config.profile == "auto"
    profile = recognise(facts, profiles) if is_auto else named(config.profile, profiles)
    log.info("board %s runs with profile %s", facts.model, profile.name)
    keys = key_store(key_config(config.key), disk)
    key, identity = keys.open(), config.device
    return Device(
        config=config,
        facts=facts,
        profile=profile,
        trust_root=disk.read(Path(config.trust_root), _MAX_ROOT_BYTES),
        opener=Opener(key, identity.id, identity.device_class, partial(spare_key, keys)),
        store=ModelStore(folder / "models", disk),
        engines=EngineCache(folder / "engines", key, disk),
        floor=Floor(folder / "floor", disk, floor_counter(keys)),
        ledger=Ledger(folder / "commands.db"),
        folder=folder,
        disk=disk,
    )
