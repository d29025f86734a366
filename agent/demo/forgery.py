"""What a thief with the online keys can do: a repository whose newest release nobody approved.

Snapshot and timestamp are signed with the real online keys; the class's own document, which lists the
release, is signed with keys of the thief's. Devices must refuse it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuf.api.metadata import Root

from agent.demo.fleet import DEVICE_CLASS, DemoFleet
from agent.fleet.blocks import BlockServer
from agent.host.disk import REAL_DISK
from agent.release.charter import SNAPSHOT, TIMESTAMP
from agent.release.online import write_snapshot, write_timestamp
from agent.release.repository import Repository, utc_now
from agent.release.shelf import Shelf
from agent.release.signers import generate
from agent.schema.manifest import ReleaseRef


@contextmanager
def forged(fleet: DemoFleet, release: Path) -> Iterator[ReleaseRef]:
    """Serve a forged repository with `release` in it instead of the real one, for a while."""
    folder = fleet.folder / "forged"
    shutil.copytree(fleet.repository.public.parent, folder)
    ref = Repository(folder).add_release(release)
    shelf = Shelf(folder, REAL_DISK)
    document = shelf.read_staged(DEVICE_CLASS)
    for number in (1, 2):
        document.sign(generate(folder / "keys", f"thief-{number}"), append=True)
    shelf.publish_targets(document)
    shelf.publish_document(DEVICE_CLASS, document)
    root: Root = shelf.published("root").signed
    write_snapshot(shelf.metadata, root, fleet.online(SNAPSHOT), utc_now(), REAL_DISK)
    write_timestamp(shelf.metadata, root, fleet.online(TIMESTAMP), utc_now(), REAL_DISK)
    fleet.road.elsewhere = BlockServer(shelf.public)
    try:
        yield ref
    finally:
        fleet.road.elsewhere = None
        fleet.publish()  # newer than the forged snapshot and timestamp
