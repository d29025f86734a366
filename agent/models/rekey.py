"""A new device key takes over: every installed release is passed on to it, then the old one is destroyed.

Rules
- Each grant is written anew, whole, before the keys change places; a power cut leaves every grant for one of
  the two keys, and `Opener` tries both. Repeating goes on where it stopped.
- A damaged release, or a grant that neither key opens, is left as it is: it cannot run either way.
"""

from __future__ import annotations

import logging

from agent.errors import PackageError, TrustError
from agent.host.disk import REAL_DISK, Disk
from agent.models.store import ModelStore
from agent.schema.config import DeviceConfig
from agent.trust.rotation import rewrap
from agent.trust.stores import KeyStore

log = logging.getLogger(__name__)
_MAX_GRANT_BYTES = 4096


def adopt_next_key(
    keys: KeyStore, models: ModelStore, device: DeviceConfig, disk: Disk = REAL_DISK
) -> None:
    """Pass every installed release on to the successor's key and put it in force; may be repeated.

    Call it once the fleet has registered the new key; nothing happens where there is no successor.

    Raises:
        KeyUnavailableError: The key store cannot be used now; both keys are still there.
        StorageError: A grant cannot be written; both keys are still there.
    """
    successor = keys.successor()
    if not successor.exists():
        return
    old, new_public = keys.open(), successor.open().public_bytes
    for ref in models.installed():
        try:
            release = models.load(ref)
        except PackageError as error:
            log.warning("%s is not passed on to the new key: %s", ref.label, error)
            continue
        place = (release.manifest.release_id, device.device_class, device.id)
        grant = disk.read(release.grant_path, _MAX_GRANT_BYTES)
        try:
            disk.write_atomic(release.grant_path, rewrap(grant, old, new_public, place))
        except TrustError as error:
            log.info("%s: its grant is not for the old key: %s", ref.label, error)
    keys.promote()
