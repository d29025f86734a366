"""The release of a simulated roll-out: a signed repository on a web server, and the controller's order to fetch from it."""

from __future__ import annotations

import hashlib
import json
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brokers import usage_of
from fetching import File, Shop
from securesystemslib.signer import CryptoSigner
from stage import Stage

from agent.fleet.authority import CA_CERT
from agent.fleet.home import BROKER
from agent.fleet.operators import CommandDesk, SignedCommand, deploy_order
from agent.fleet.rollout_plan import PLAN_SCHEMA, Plan, Wave, waves_of
from agent.fleet.rollout_rules import Standing
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.host.clock import wall_ms
from agent.schema.blocks import BLOCK_BYTES
from agent.trust.floor import Floor
from agent.update.ports import Source
from agent.update.sources.https import HttpsSource
from agent.update.trust_client import TrustClient
from tests.parts.signed_repository import SignedRepository, make_release

_CLASS, _NAME = "gate", "scale"
_LIFE_S = 24 * 3600


class Shelf:
    """A published release of so many megabytes, served over HTTPS from `stage.folder / "public"`."""

    def __init__(self, stage: Stage, megabytes: float) -> None:
        self._stage = stage
        repository = SignedRepository(classes=(_CLASS,))
        self._release = make_release(device_class=_CLASS, size=int(megabytes * 1e6))
        for name, data in self._release.files.items():
            repository.enter(_CLASS, f"{self._release.folder}/{name}", data, BLOCK_BYTES)
        repository.publish()
        for name, data in repository.files.items():
            file = stage.folder / "public" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        self._server = stage.worker("static_server", str(self._settings()))
        self._url = f"https://127.0.0.1:{self._server.ask()['port']}/"
        self._files = self._examine(repository.root_bytes)

    def shop(self, mqtt_percent: int) -> Shop:
        """Return what devices must know to fetch it."""
        return Shop(url=self._url, ca=str(self._ca), files=self._files, mqtt_percent=mqtt_percent)

    def begin(self) -> Campaign:
        """Sign a command for each device and give the roll-out to the controller: 5, 25, 100 percent, no soak."""
        plan = Plan(
            schema=PLAN_SCHEMA,
            name=_NAME,
            release=self._release.manifest.release_id,
            waves=(Wave(percent=5), Wave(percent=25), Wave(percent=100)),
            soak_s=0,
        )
        waves = waves_of(plan, {name: frozenset() for name in self._stage.names})
        ref, now_ms = self._release.ref, wall_ms()
        rollout = Rollout(_NAME, plan, ref.path, ref.sha256, Standing.RUNNING, "begins", now_ms)
        store = RolloutStore(self._stage.place)
        store.create(rollout, waves, self._commands())
        return Campaign(self._stage, store)

    def usage(self) -> dict[str, tuple[float, float]]:
        """Return CPU seconds and megabytes of the web server."""
        return {"web server": usage_of(self._server.pid)}

    @property
    def _ca(self) -> Path:
        return self._stage.folder / CA_CERT

    def _settings(self) -> Path:
        own = self._stage.folder / "home" / BROKER
        document = {
            "folder": str(self._stage.folder / "public"),
            "cert": str(own / f"{BROKER}.crt"),
            "key": str(own / f"{BROKER}.key"),
        }
        path = self._stage.folder / "web.json"
        path.write_text(json.dumps(document))
        return path

    def _examine(self, root: bytes) -> list[File]:
        """Do once what every real device does, and return what it read: python-tuf's documents, then the release."""
        context = ssl.create_default_context(cafile=str(self._ca))
        road = _Noting(HttpsSource(self._url, context))
        with tempfile.TemporaryDirectory(dir=self._stage.folder) as name:
            place = Path(name)
            trusted = TrustClient(place, root, Floor(place / "floor"), _CLASS).check(road)
            for file, data in self._release.files.items():
                digest = hashlib.sha256(data).hexdigest()
                target = trusted.file(f"{self._release.folder}/{file}", digest)
                for _ in road.read(target.location, 0):
                    pass
        return road.files

    def _commands(self) -> dict[str, SignedCommand]:
        desk = CommandDesk(self._stage.folder / "counters.json")
        signer = CryptoSigner.generate_ed25519()
        return {
            device: desk.issue(
                deploy_order(self._release.ref, f"d/{device}"), "ada", [signer], 0, _LIFE_S
            )
            for device in self._stage.names
        }


class Campaign:
    """A roll-out on its way."""

    def __init__(self, stage: Stage, store: RolloutStore) -> None:
        self._stage = stage
        self._store = store

    def missing(self) -> int:
        """Return how many devices do not have it; 0, too, when the roll-out ended without them."""
        if self._store.rollout(_NAME).standing is not Standing.RUNNING:
            return 0
        return max(1, len(self._stage.names) - self._tally("installed"))

    def figures(self, took_s: float) -> dict[str, Any]:
        """Return how it went; closes the books."""
        rollout = self._store.rollout(_NAME)
        steps = Counter(row.step.value for row in self._store.devices(_NAME))
        self._store.close()
        https, mqtt = self._tally("https_bytes"), self._tally("mqtt_bytes")
        return {
            "standing": rollout.standing.value,
            "reason": rollout.reason,
            "devices": dict(steps),
            "took_s": round(took_s, 1),
            "https_mb": round(https / 1e6, 1),
            "mqtt_mb": round(mqtt / 1e6, 1),
            "mb_per_s": round((https + mqtt) / 1e6 / took_s, 1),
            "by_mqtt": self._tally("by_mqtt"),
            "failed": self._tally("failed"),
        }

    def _tally(self, what: str) -> int:
        return sum(crowd.ask()[what] for crowd in self._stage.crowds)


class _Noting:
    """A source that notes which files were read, and their digests."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.files: list[File] = []

    def read(self, path: str, start: int) -> Iterator[bytes]:
        data = b"".join(self._source.read(path, start))
        self.files.append(File(path=path, sha256=hashlib.sha256(data).hexdigest()))
        yield data
