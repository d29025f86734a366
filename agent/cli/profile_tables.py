"""How `vigil profile` shows boards, profiles and choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.models.choose import ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.models.profiles import Recognition
    from agent.models.skew import Skew
    from agent.schema.manifest import Manifest, Variant
    from agent.schema.profile import BoardFacts, Choice, DeviceProfile, Verdict


def detected_json(facts: BoardFacts, found: Recognition, skew: Sequence[Skew]) -> str:
    """Return everything `vigil profile detect` knows as one JSON document."""
    document = {
        "profile": found.profile.name,
        "warnings": found.warnings,
        "skew": skew,
        "facts": facts,
    }
    return msgspec.json.encode(document).decode()


def print_facts(facts: BoardFacts, profile: DeviceProfile | None = None) -> None:
    """Print what a board is made of; empty lines are left out."""
    chosen = {"profile": f"{profile.name}: {profile.description}"} if profile else {}
    _print_pairs({"board": facts.model, **chosen, **_machine(facts), **_state(facts)})


def print_findings(warnings: Iterable[str], skew: Iterable[Skew], facts: BoardFacts) -> None:
    """Print what a person should know or mend."""
    console = Console()
    for warning in (*warnings, *facts.unreadable):
        console.print(f"warning: {warning}", style="yellow", markup=False)
    for each in skew:
        console.print(f"{each.problem} [{each.code}]", style="red", markup=False)
        console.print(f"  -> {each.fix}", markup=False)


def print_profiles(profiles: Iterable[DeviceProfile]) -> None:
    """Print one line for each profile."""
    table = _table("profile", "board", "prefers", "at most", "rank")
    for profile in profiles:
        first = profile.prefer[0]
        limits = profile.limits
        _add(
            table,
            profile.name,
            profile.description,
            f"{first.backend.value} {first.precision.value} {first.sizes[0]}",
            f"{limits.latency_ms:g} ms, {limits.memory_mb} MiB, {limits.temperature_c:g} °C",
            str(profile.match.rank),
        )
    Console().print(table)


def print_profile(profile: DeviceProfile) -> None:
    """Print all of one profile."""
    limits, camera, runtime = profile.limits, profile.camera, profile.runtime
    rows = {
        "profile": f"{profile.name}: {profile.description}",
        "matches": _matches(profile),
        "limits": f"{limits.latency_ms:g} ms, {limits.target_fps:g} frames/s, {limits.memory_mb} MiB,"
        f" {limits.temperature_c:g} °C, {'two models' if limits.two_models else 'one model'} at a time",
        "camera": f"{camera.width} x {camera.height}, {camera.fps:g} frames/s",
        "runtime": f"{runtime.threads} threads in {runtime.streams} streams"
        f" {' '.join((*runtime.providers, *runtime.delegates))}",
        "reserve": f"{profile.reserve:.0%} of the memory stays free",
    }
    _print_pairs(rows)
    prefer = _table("prefers", "precision", "sizes, best first", "needs")
    for each in profile.prefer:
        sizes = ", ".join(map(str, each.sizes))
        _add(prefer, each.backend.value, each.precision.value, sizes, _flags(each.needs))
    Console().print(prefer)
    if profile.priors:
        priors = _table("published", "precision", "size", "ms", "model", "source")
        for prior in profile.priors:
            kind = (prior.backend.value, prior.precision.value, str(prior.size))
            _add(priors, *kind, f"{prior.ms:g}", prior.model, prior.source)
        Console().print(priors)


def print_choice(manifest: Manifest, choice: Choice) -> None:
    """Print the ranking of a release's variants with the reason for every verdict."""
    table = _table(*CHOICE_COLUMNS)
    for variant, verdict in ranked(manifest, choice):
        mark = "→" if verdict.accepted else "·" if verdict.fits else "✗"
        name, *cells = choice_row(variant, verdict)
        _add(table, f"{mark} {name}", *cells)
    console = Console()
    console.print(f"{manifest.name} {manifest.version} on {choice.profile}", markup=False)
    console.print(table)
    if choice.variant is None:
        text = "no variant fits this board: it stays reachable, without a model"
        console.print(text, style="red")


CHOICE_COLUMNS = ("variant", "accuracy", "expected ms", "memory MiB", "verdict and reason")


def choice_row(variant: Variant, verdict: Verdict) -> tuple[str, ...]:
    """Return a variant's cells under `CHOICE_COLUMNS`."""
    known = verdict.expected_ms is not None
    expected = f"{verdict.expected_ms:.1f} ({_origin(verdict)})" if known else "unknown"
    said = "chosen: " if verdict.accepted else "" if verdict.fits else "refused: "
    reason = f"{said}{verdict.reason}"
    return variant.id, f"{variant.accuracy:.3f}", expected, str(variant.memory_mb), reason


def _origin(verdict: Verdict) -> str:
    if verdict.measured:
        return "measured"
    return "hint" if "hint" in verdict.source else "prior"


def _machine(facts: BoardFacts) -> dict[str, str]:
    software = facts.software
    gpu = facts.gpu
    capability = f"compute capability {gpu.compute_capability}" if gpu.compute_capability else ""
    driver = f"driver {gpu.driver}" if gpu.driver else ""
    present = [name for name, on in facts.accelerators.items() if on]
    versions = {"Jetson Linux": software.l4t, "JetPack": software.jetpack,
                "CUDA": software.cuda, "TensorRT": software.tensorrt,
                "libedgetpu": software.edgetpu, "Python": software.python}  # fmt: skip
    return {
        "compatible": ", ".join(facts.compatible),
        "processor": f"{facts.architecture}, {facts.cores} cores, {facts.cpu.name}".rstrip(", "),
        "features": " ".join(facts.cpu.features),
        "memory": f"{facts.memory_mb} MiB, swap {facts.swap_mb} MiB",
        "storage": f"{facts.storage.kind or 'unknown'}, {facts.storage.free_mb} of"
        f" {facts.storage.total_mb} MiB free",
        "GPU": ", ".join(filter(None, (gpu.name, capability, driver))),
        "accelerators": ", ".join(present),
        "system": ", ".join(filter(None, (software.system, software.kernel, software.firmware))),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items() if value),
        "runtimes": ", ".join(f"{name.value} {value}" for name, value in facts.backends.items()),
        "packages": ", ".join(f"{name} {value}" for name, value in software.packages.items()),
        "cameras": ", ".join(f"{camera.device} {camera.name}" for camera in facts.cameras),
    }


def _state(facts: BoardFacts) -> dict[str, str]:
    zones = [(zone.name, zone.temperature_c) for zone in facts.thermal]
    counters = facts.throttling.over_current
    return {
        "power mode": facts.power_mode,
        "temperature": ", ".join(
            f"{name} {'unknown' if value is None else f'{value:.1f} °C'}" for name, value in zones
        ),
        "throttling now": ", ".join(facts.throttling.now),
        "since the start": ", ".join(facts.throttling.earlier),
        "over-current": ", ".join(f"{name} {count} times" for name, count in counters.items()),
        "power": ", ".join(f"{rail.name} {rail.power_mw / 1000:.2f} W" for rail in facts.rails),
    }


def _matches(profile: DeviceProfile) -> str:
    match = profile.match
    parts = (
        ", ".join(match.compatible),
        ", ".join(match.architecture),
        ", ".join(f"power mode {name}" for name in match.power_mode),
        _flags(match.accelerator),
        f"rank {match.rank}",
    )
    return "; ".join(filter(None, parts))


def _flags(facts: Mapping[str, bool]) -> str:
    return ", ".join(f"{name} {'present' if on else 'absent'}" for name, on in facts.items())


def _print_pairs(rows: Mapping[str, str]) -> None:
    table = _table("", "")
    table.show_header = False
    for name, value in rows.items():
        if value:
            _add(table, name, value)
    Console().print(table)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=not index)
    return table


def _add(table: Table, *cells: str) -> None:
    # Text, so that brackets in what a board says are not taken for markup.
    table.add_row(*(Text(cell) for cell in cells))
