"""`vigil profile measure`: the variants of a release, one after the other, in workers of their own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from agent.cli.profile_tables import print_choice
from agent.errors import ConfigError, ModelError
from agent.host.disk import REAL_DISK
from agent.host.sensors import temperature_c
from agent.models.choose import worth_measuring
from agent.models.measurements import ALONE, Measurements, key_of, measured
from agent.schema.profile import Choice, Measurement
from agent.schema.update_config import UpdateConfig
from agent.schema.values import BackendName
from agent.supervisor.measuring import Bench, time_variant

if TYPE_CHECKING:
    from agent.schema.manifest import Manifest, Variant
    from agent.schema.profile import BoardFacts, DeviceProfile


@dataclass(frozen=True)
class Outcome:
    """What came of one variant: its figure, or why there is none."""

    variant: str
    measurement: Measurement | None
    note: str = ""


@dataclass(frozen=True)
class Session:
    """One run of the command.

    Attributes:
        files: Plaintext models; a variant's is found by digest, by its payload's name, or by its id.
        state: The folder of `measurements.json`.
    """

    profile: DeviceProfile
    manifest: Manifest
    facts: BoardFacts
    files: list[Path]
    state: Path

    def run(self, seconds: float, limit_c: float, *, again: bool, as_json: bool) -> bool:
        """Measure within the budget, print before and after; return whether a variant fits.

        Raises:
            ConfigError: No file belongs to any variant that could run here.
            StorageError: The results cannot be kept.
        """
        cache = Measurements(self.state)
        REAL_DISK.make_dirs(self.state)
        before = self._choice(cache)
        outcomes = self._measure(cache, seconds, limit_c, again=again)
        after = self._choice(cache)
        if as_json:
            document = {"outcomes": outcomes, "before": before, "after": after}
            typer.echo(msgspec.json.encode(document).decode())
        else:
            self._print(outcomes, before, after)
        return after.variant is not None

    def _choice(self, cache: Measurements) -> Choice:
        return cache.choose(self.profile, self.manifest, self.facts)

    def _measure(
        self, cache: Measurements, seconds: float, limit_c: float, *, again: bool
    ) -> list[Outcome]:
        able = worth_measuring(self.profile, self.manifest, self.facts)
        # An engine is built on the device, beside the serving model: its trial measures it.
        variants = [variant for variant in able if variant.backend is not BackendName.TENSORRT]
        found = {variant.id: find_file(variant, self.files) for variant in variants}
        if not any(found.values()):
            expected = ", ".join(name for one in variants for name in file_names(one)) or "nothing"
            message = f"no model file fits a variant that could run here: expected {expected}"
            raise ConfigError(message, code="profile.no_model", hint="see --models and --model")
        alone = {_key(each) for each in cache.load() if each.origin == ALONE}
        due = [one for one in variants if again or key_of(one, self.facts) not in alone]
        share_s = seconds / max(1, sum(found[one.id] is not None for one in due))
        bench = Bench(
            threads=min(self.profile.runtime.threads, self.facts.cores),
            runtime=self.profile.runtime,
            memory_mb=UpdateConfig().worker_memory_mb,
            seconds=share_s,
            max_temperature_c=limit_c,
            temperature_c=temperature_c,
        )
        return [
            self._measure_one(cache, variant, found[variant.id], bench)
            if variant in due
            else Outcome(variant.id, None, "measured before; --again measures anew")
            for variant in variants
        ]

    def _measure_one(
        self, cache: Measurements, variant: Variant, file: Path | None, bench: Bench
    ) -> Outcome:
        if file is None:
            return Outcome(variant.id, None, f"no file {' or '.join(file_names(variant))}")
        with Console(stderr=True).status(f"measuring {variant.id}"):
            try:
                timed = time_variant(variant, self.manifest.labels, file, bench)
            except ModelError as error:
                return Outcome(variant.id, None, str(error))
        new = measured(
            variant,
            self.facts,
            p95_ms=timed.p95_ms,
            frames=timed.frames,
            origin=ALONE,
            temperature_c=timed.temperature_c,
        )
        cache.record(new)
        return Outcome(variant.id, new)

    def _print(self, outcomes: list[Outcome], before: Choice, after: Choice) -> None:
        table = Table("variant", "p95 ms", "frames", "°C", "note", box=SIMPLE)
        for each in outcomes:
            found = each.measurement
            cells = (
                (f"{found.p95_ms:.1f}", str(found.frames), f"{found.temperature_c or '-'}")
                if found
                else ("-", "-", "-")
            )
            table.add_row(each.variant, *cells, each.note)
        console = Console()
        console.print(table)
        print_choice(self.manifest, after)
        names = (before.variant or "none", after.variant or "none")
        console.print(f"before measuring: {names[0]}; now: {names[1]}", markup=False)


def find_file(variant: Variant, files: list[Path]) -> Path | None:
    """Return the file with this variant's weights: by name, else by the digest of its content."""
    names = file_names(variant)
    named = next((file for file in files if {file.name, file.stem} & set(names)), None)
    if named is not None:
        return named
    same = (file for file in files if file.stat().st_size == variant.payload.size)
    return next((file for file in same if _digest(file) == variant.payload.sha256), None)


def file_names(variant: Variant) -> list[str]:
    """Return the names a variant's file is looked for under, with or without its ending."""
    return list(dict.fromkeys((variant.payload.file.removesuffix(".sealed"), variant.id)))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _key(measurement: Measurement) -> tuple[str, str, str]:
    return measurement.device, measurement.runtime, measurement.payload
