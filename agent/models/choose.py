"""Choosing the variant of a release that suits this board, and saying why.

Pure: profile, manifest, facts and measurements in, a `Choice` with a verdict on every variant out.

- A variant fits if its runtime is installed, the facts it needs hold, its memory fits and its expected
  latency stays within the profile's limit and frame rate.
- Expected latency: measured here, else the manifest's hint for this profile, else the profile's
  published figure for the same runtime and precision, scaled by the number of pixels (the cost of a
  convolutional network grows with them). A variant nobody has a figure for fits if the profile prefers
  its runtime and precision at that size or a greater one: the trial then measures it.
- A preference or a published figure that asks for facts (`needs`) holds for variants that ask for them too:
  what an Edge TPU reaches says nothing about the CPU beside it.
- Of those that fit the most accurate wins; equal ones by expected latency, then by the profile's order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from agent.schema.profile import Choice, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.schema.manifest import Manifest, Variant
    from agent.schema.profile import BoardFacts, DeviceProfile, Preference


@dataclass(frozen=True)
class _Latency:
    """Milliseconds per inference, and where the figure comes from."""

    ms: float
    source: str


@dataclass(frozen=True)
class _Candidate:
    variant: Variant
    latency: _Latency | None
    obstacle: str
    measured: bool

    @property
    def expected_ms(self) -> float | None:
        return self.latency.ms if self.latency else None


def choose(
    profile: DeviceProfile,
    manifest: Manifest,
    facts: BoardFacts,
    measurements: Mapping[str, float] = MappingProxyType({}),
) -> Choice:
    """Return the variant to run, null where none fits, and the reason for every verdict.

    Args:
        profile: The board's profile.
        manifest: The release.
        facts: What this machine has.
        measurements: Milliseconds per inference measured on this device, by variant id.
    """
    candidates = [_judge(profile, variant, facts, measurements) for variant in manifest.variants]
    fitting = [candidate for candidate in candidates if not candidate.obstacle]
    best = min(fitting, key=lambda candidate: _rank(profile, candidate), default=None)
    verdicts = [_verdict(candidate, best, len(fitting)) for candidate in candidates]
    chosen = best.variant.id if best else None
    return Choice(profile=profile.name, variant=chosen, verdicts=verdicts)


def worth_measuring(profile: DeviceProfile, manifest: Manifest, facts: BoardFacts) -> list[Variant]:
    """Return the variants that could run here whatever their latency, the most accurate first."""
    able = [variant for variant in manifest.variants if not _cannot_run(profile, variant, facts)]
    return sorted(able, key=lambda variant: (-variant.accuracy, *_preference(profile, variant)))


def ranked(manifest: Manifest, choice: Choice) -> list[tuple[Variant, Verdict]]:
    """Return variants with their verdicts: the chosen one, those that fit, then those that do not."""
    verdicts = {verdict.variant: verdict for verdict in choice.verdicts}
    pairs = [(variant, verdicts[variant.id]) for variant in manifest.variants]
    return sorted(
        pairs,
        key=lambda pair: (not pair[1].accepted, not pair[1].fits, -pair[0].accuracy, pair[0].id),
    )


def _judge(
    profile: DeviceProfile,
    variant: Variant,
    facts: BoardFacts,
    measurements: Mapping[str, float],
) -> _Candidate:
    latency = _expected(profile, variant, measurements)
    obstacle = _cannot_run(profile, variant, facts) or (
        _too_slow(profile, latency) if latency else _too_unknown(profile, variant)
    )
    return _Candidate(variant, latency, obstacle, variant.id in measurements)


def _cannot_run(profile: DeviceProfile, variant: Variant, facts: BoardFacts) -> str:
    return (
        _missing_runtime(variant, facts)
        or _missing_need(variant, facts)
        or _too_large(profile, variant, facts)
    )


def _missing_runtime(variant: Variant, facts: BoardFacts) -> str:
    installed = ", ".join(sorted(name.value for name in facts.backends)) or "none"
    if variant.backend in facts.backends:
        return ""
    return f"runtime {variant.backend.value} is not installed (installed: {installed})"


def _missing_need(variant: Variant, facts: BoardFacts) -> str:
    for name, wanted in sorted(variant.needs.items()):
        if facts.accelerators.get(name, False) != wanted:
            return f"needs {name} {'present' if wanted else 'absent'}"
    return ""


def _too_large(profile: DeviceProfile, variant: Variant, facts: BoardFacts) -> str:
    usable_mb = profile.limits.memory_mb
    if facts.memory_mb:
        usable_mb = min(usable_mb, int(facts.memory_mb * (1 - profile.reserve)))
    if variant.memory_mb <= usable_mb:
        return ""
    return f"needs {variant.memory_mb} MiB, {usable_mb} MiB may be used"


def _too_slow(profile: DeviceProfile, latency: _Latency) -> str:
    limit_ms = min(profile.limits.latency_ms, 1000 / profile.limits.target_fps)
    if latency.ms <= limit_ms:
        return ""
    return f"{latency.ms:.1f} ms ({latency.source}) is over the limit of {limit_ms:.1f} ms"


def _too_unknown(profile: DeviceProfile, variant: Variant) -> str:
    size = _size(variant)
    if any(size <= max(preference.sizes) for preference in _preferences(profile, variant)):
        return ""
    kind = f"{variant.backend.value} {variant.precision.value} at {size}"
    return f"no latency is known for {kind}, and the profile does not prefer it"


def _expected(
    profile: DeviceProfile, variant: Variant, measurements: Mapping[str, float]
) -> _Latency | None:
    if variant.id in measurements:
        return _Latency(measurements[variant.id], "measured here")
    if profile.name in variant.latency_ms:
        return _Latency(variant.latency_ms[profile.name], "the manifest's hint")
    return _published(profile, variant)


def _published(profile: DeviceProfile, variant: Variant) -> _Latency | None:
    """Return the figure of the prior whose input is nearest in size, scaled by pixels."""
    pixels = variant.input.width * variant.input.height
    priors = [
        prior
        for prior in profile.priors
        if (prior.backend, prior.precision) == (variant.backend, variant.precision)
        and _asks_for(variant, prior.needs)
    ]
    if not priors:
        return None
    nearest = min(priors, key=lambda prior: abs(math.log(prior.size**2 / pixels)))
    source = f"{nearest.model} at {nearest.size}, published"
    scale = pixels / nearest.size**2
    return _Latency(nearest.ms * scale, source if scale == 1 else f"{source}, scaled by pixels")


def _rank(profile: DeviceProfile, candidate: _Candidate) -> tuple[float, float, int, int, str]:
    """Return the key by which candidates are sorted, best first."""
    variant = candidate.variant
    expected_ms = math.inf if candidate.expected_ms is None else candidate.expected_ms
    return -variant.accuracy, expected_ms, *_preference(profile, variant), variant.id


def _preference(profile: DeviceProfile, variant: Variant) -> tuple[int, int]:
    """Return the places of the variant's runtime and size in the profile's order."""
    size = _size(variant)
    for preference in _preferences(profile, variant):
        sizes = preference.sizes
        place = sizes.index(size) if size in sizes else len(sizes)
        return profile.prefer.index(preference), place
    return len(profile.prefer), 0


def _preferences(profile: DeviceProfile, variant: Variant) -> list[Preference]:
    wanted = (variant.backend, variant.precision)
    return [
        item
        for item in profile.prefer
        if (item.backend, item.precision) == wanted and _asks_for(variant, item.needs)
    ]


def _asks_for(variant: Variant, needs: Mapping[str, bool]) -> bool:
    return needs.items() <= variant.needs.items()


def _size(variant: Variant) -> int:
    return max(variant.input.width, variant.input.height)


def _verdict(candidate: _Candidate, best: _Candidate | None, fitting: int) -> Verdict:
    return Verdict(
        variant=candidate.variant.id,
        accepted=candidate is best,
        reason=candidate.obstacle or _comparison(candidate, best, fitting),
        expected_ms=candidate.expected_ms,
        measured=candidate.measured,
        fits=not candidate.obstacle,
        source=candidate.latency.source if candidate.latency else "not known yet",
    )


def _comparison(candidate: _Candidate, best: _Candidate | None, fitting: int) -> str:
    latency = candidate.latency
    speed = f"{latency.ms:.1f} ms ({latency.source})" if latency else "latency not known yet"
    if best is None or candidate is best:
        return f"best of {fitting} that fit: accuracy {candidate.variant.accuracy:.3f}, {speed}"
    if candidate.variant.accuracy < best.variant.accuracy:
        figures = f"{best.variant.accuracy:.3f} against {candidate.variant.accuracy:.3f}"
        return f"fits ({speed}), but {best.variant.id} is more accurate: {figures}"
    return f"fits ({speed}) and is as accurate, but {best.variant.id} is faster or preferred"
