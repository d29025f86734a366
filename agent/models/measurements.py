"""Latencies measured on this device, kept by board, runtime version and payload.

Rules
- The file is read at every use: what `vigil profile measure` wrote, the running agent finds.
- A figure measured alone (`measure`) is never replaced by one from a trial, which ran beside the serving
  model and is slower than the truth.
- What a trial measured never leaves a board without a model: where no other variant fits, it counts for nothing.
- It is a cache: a damaged file is reported, set aside in place of deletion, and begun anew.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from agent.errors import StorageError
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.models.choose import choose
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.profile import Measurement, MeasurementFile

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from agent.schema.manifest import Manifest, Variant
    from agent.schema.profile import BoardFacts, Choice, DeviceProfile

log = logging.getLogger(__name__)
MEASUREMENTS_FILE = "measurements.json"
TRIAL, ALONE = "trial", "measure"
_SCHEMA = 1
_MAX_BYTES = 256 * 1024
_MAX_KEPT = 200
_ORIGINS = frozenset({TRIAL, ALONE})


class Measurements:
    """The cache in `folder`, which is the agent's state folder."""

    def __init__(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        self._path = folder / MEASUREMENTS_FILE
        self._disk = disk

    def load(self) -> list[Measurement]:
        """Return what is kept, oldest first; a damaged file counts as empty.

        Raises:
            StorageError: The file is there and cannot be read.
        """
        if not self._disk.exists(self._path):
            return []
        try:
            found = parse_json(self._disk.read(self._path, _MAX_BYTES), MeasurementFile)
            if found.schema == _SCHEMA:
                return found.measurements
            problem = f"at $.schema: expected {_SCHEMA}, found {found.schema}"
        except Malformed as error:
            problem = str(error)
        except StorageError as error:
            if error.code != "storage.too_long":
                raise
            problem = str(error)
        log.warning("%s is damaged and begun anew: %s", self._path, problem)
        self._disk.rename(self._path, self._path.with_suffix(".damaged"))
        return []

    def choose(self, profile: DeviceProfile, manifest: Manifest, facts: BoardFacts) -> Choice:
        """Return the variant of a release that suits this board by what was measured here, with the reasons.

        Raises:
            StorageError: The file cannot be read.
        """
        choice = choose(profile, manifest, facts, self.of(manifest, facts))
        if choice.variant is not None:
            return choice
        # A trial beside other work says how busy the board was then.
        calm = choose(profile, manifest, facts, self.of(manifest, facts, {ALONE}))
        return choice if calm.variant is None else calm

    def of(
        self, manifest: Manifest, facts: BoardFacts, origins: Container[str] = _ORIGINS
    ) -> dict[str, float]:
        """Return the p95 of every variant that was measured on this board with this runtime, by id.

        Raises:
            StorageError: The file cannot be read.
        """
        kept = {_key(each): each.p95_ms for each in self.load() if each.origin in origins}
        asked = {variant.id: key_of(variant, facts) for variant in manifest.variants}
        return {name: kept[key] for name, key in asked.items() if key in kept}

    def record(self, new: Measurement) -> bool:
        """Keep a measurement; return False where one that was measured alone stays instead.

        Raises:
            StorageError: It cannot be written; what was kept before is kept still.
        """
        kept = self.load()
        same = next((each for each in kept if _key(each) == _key(new)), None)
        if same is not None and (same.origin, new.origin) == (ALONE, TRIAL):
            return False
        others = [each for each in kept if each is not same]
        newest = [*others, new][-_MAX_KEPT:]
        data = to_json(MeasurementFile(schema=_SCHEMA, measurements=newest))
        self._disk.write_atomic(self._path, msgspec.json.format(data, indent=1))
        return True


def measured(
    variant: Variant,
    facts: BoardFacts,
    *,
    p95_ms: float,
    frames: int,
    origin: str,
    temperature_c: float | None = None,
) -> Measurement:
    """Return a measurement of `variant` on this board, taken now."""
    device, runtime, payload = key_of(variant, facts)
    return Measurement(
        device=device,
        runtime=runtime,
        payload=payload,
        p95_ms=p95_ms,
        frames=frames,
        origin=origin,
        measured_ms=wall_ms(),
        temperature_c=temperature_c,
    )


def key_of(variant: Variant, facts: BoardFacts) -> tuple[str, str, str]:
    """Return what a measurement holds for: board with power mode, runtime with version, payload."""
    device = f"{facts.model} {facts.power_mode}".rstrip()
    if facts.model == "unknown":
        device = f"{facts.cpu.name or facts.architecture} x{facts.cores}"
    runtime = f"{variant.backend.value} {facts.backends.get(variant.backend, '')}".rstrip()
    return device, runtime, variant.payload.sha256


def _key(measurement: Measurement) -> tuple[str, str, str]:
    return measurement.device, measurement.runtime, measurement.payload
