"""The crash model: power cut at every step of an update, with lost and torn writes, and again in recovery.

Whatever happens, the device finds exactly its old or its new model, never none, and the next update works.
A life is one seed: where the first cut comes, what is lost or torn then, and where the second comes.
`VIGIL_CRASH_SEEDS` is how many lives each story has (16 by default); `--log-cli-level=INFO` tells the counts.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import logging
import os
import random
import re
import shutil
from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.errors import VigilError
from agent.host import disk as disk_module
from agent.models.store import ModelStore
from agent.schema.messages import Phase
from agent.update import fetch
from tests.parts.power_cut_disk import SYNCS, PowerCutDisk, PowerCutError
from tests.parts.releases import delivery
from tests.parts.signed_repository import (
    MadeRelease,
    SignedRepository,
    make_release,
    with_fallback,
)
from tests.parts.update_device import GOOD, UpdateDevice, device_key

logger = logging.getLogger(__name__)
REMOVAL = "remove: its folder"
SEEDS = int(os.environ.get("VIGIL_CRASH_SEEDS", "16"))
GOLDEN_RATIO = 0.6180339887498949  # its multiples, modulo 1, leave no stretch of the steps out
RELEASES = {counter: with_fallback(make_release(counter, size=40_000)) for counter in (1, 2, 3)}
PLAINTEXTS = {f"1.{counter}": release.plaintext for counter, release in RELEASES.items()}


@dataclass(frozen=True)
class Story:
    """A device that serves `old` and is given release 2, which is good or turns out to be sick."""

    baseline: PowerCutDisk
    repository: SignedRepository
    old: str | None = "1.1"
    is_sick: bool = False
    missing: str = ""
    fallback_variants: int = 0

    def begin(self, folder: Path) -> PowerCutDisk:
        shutil.copytree(self.baseline.root / "metadata", folder / "metadata")
        return self.baseline.clone(folder, self.missing)

    def device(self, disk: PowerCutDisk) -> UpdateDevice:
        device = UpdateDevice(
            disk.root, self.repository, disk, fallback_variants=self.fallback_variants
        )
        for release in RELEASES.values():
            device.key_channel.deks[release.manifest.release_id] = release.dek
        if self.is_sick:
            device.host.healths = deque([replace(GOOD, errors=900)])
        return device


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Story:
    repository = SignedRepository(classes=("pi5",))
    for release in RELEASES.values():
        repository.add(release)
    repository.publish()
    disk = PowerCutDisk(tmp_path_factory.mktemp("baseline"))
    story = Story(disk, repository)
    device = UpdateDevice(disk.root, repository, disk)
    device.start()
    assert device.deploy(RELEASES[1]).code == "committed"
    return story


@pytest.fixture(autouse=True)
def _sync_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SYNC_BYTES", 8 * 1024)
    monkeypatch.setattr(fetch, "SYNC_S", 0.0)


def steps_of(story: Story, folder: Path) -> int:
    disk = story.begin(folder)
    device = story.device(disk)
    device.start()
    before = disk.steps
    device.deploy(RELEASES[2])
    return disk.steps - before


def violation(story: Story, folder: Path, cut: int, seed: int) -> str:
    """Live through one case; return what was wrong, empty when nothing was."""
    chance = random.Random(f"{cut} {seed}")  # noqa: S311 - repeatable on purpose
    disk = story.begin(folder)
    device = story.device(disk)
    device.start()
    disk.cut_after(cut)
    with contextlib.suppress(PowerCutError):
        device.deploy(RELEASES[2])
    told = Told(device.seen[-1].phase if device.seen else Phase.IDLE, come_so_far(device))
    try:
        return recover(story, after_cut(disk, chance), told, chance)
    except VigilError as error:
        return f"the device does not start: {error.code}"


@dataclass(frozen=True)
class Told:
    """What the fleet was told last: a decision must stand, and bytes that came are not fetched again.

    Attributes:
        phase: The last phase.
        come: For each file, how many of its bytes had come.
    """

    phase: Phase
    come: dict[str, int]


def come_so_far(device: UpdateDevice) -> dict[str, int]:
    return {one.file: one.done for one in device.progress}


def begun_at(device: UpdateDevice) -> dict[str, int]:
    """For each file that was fetched on, the byte at which that began."""
    return {one.file: one.done for one in reversed(device.progress)}


def fetched_again(told: Told, device: UpdateDevice) -> str:
    """Say which bytes that had come are fetched again, where they are more than may be lost."""
    for file, begin in begun_at(device).items():
        if told.come.get(file, 0) - begin >= fetch.SYNC_BYTES:
            return f"{told.come[file]} bytes had come, the transfer goes on at {begin}"
    return ""


def recover(story: Story, disk: PowerCutDisk, told: Told, chance: random.Random) -> str:
    """Start again with a second cut somewhere, then start to the end and update once more."""
    disk.cut_after(chance.randint(0, 60))
    second = story.device(disk)
    try:
        second.start()
    except PowerCutError:
        disk = after_cut(disk, chance)
    disk.cut_after(None)
    device = story.device(disk)
    if damaged := damaged_of(device.store):
        return f"{damaged} is listed as installed and is not whole"
    release = device.updater.resume()
    found = release.ref.version if release else None
    decided = {Phase.COMMITTED: "1.2", Phase.ROLLED_BACK: story.old}
    if found != decided.get(told.phase, found):
        return f"{told.phase.value} was reported, {found} is found"
    if release and device.plaintext(release.ref) != PLAINTEXTS[release.ref.version]:
        return f"{found} is not what was signed"
    device.host.serve(release)
    device.updater.work()
    if lost := fetched_again(told, second) or fetched_again(told, device):
        return lost
    if {found, device.host.serving} - {story.old, "1.2"}:
        return f"{found}, then {device.host.serving} served after recovery"
    device.host.healths = deque([GOOD])
    return "" if is_served(device, RELEASES[3]) else "the next update does not work"


def damaged_of(store: ModelStore) -> str:
    """Name a release that is listed as installed and is not whole."""
    for ref in store.installed():
        try:
            store.load(ref)
        except VigilError:
            return ref.version
    return ""


def is_served(device: UpdateDevice, release: MadeRelease) -> bool:
    code = device.deploy(release).code
    return code == "committed" and device.plaintext(device.current) == release.plaintext


def after_cut(disk: PowerCutDisk, chance: random.Random) -> PowerCutDisk:
    """Restart; python-tuf's cache, which is not synced, may be gone or torn."""
    cache = disk.root / "metadata"
    fate = chance.choice(["kept", "lost", "torn"])
    for path in sorted(cache.rglob("*.json")):
        if fate == "lost" or (fate == "torn" and chance.random() < 0.5):
            path.unlink() if fate == "lost" else path.write_bytes(path.read_bytes()[:99])
    return disk.after_cut(chance)


def violations(
    story: Story, folder: Path, lives: int, enough: int = 10**9, share: float = 1.0
) -> Counter[str]:
    """Live so many lives, until `enough` violations were found.

    Their first cuts are spread evenly over all steps of the update, or the first `share` of them.
    """
    steps, found, lived = steps_of(story, folder / "count"), Counter[str](), 0
    for seed in range(lives):
        cut = int(seed * GOLDEN_RATIO % 1.0 * share * (steps + 1))
        place = folder / str(seed)
        found[violation(story, place, cut, seed)] += 1
        shutil.rmtree(place)
        lived += 1
        if lived - found[""] >= enough:
            break
    del found[""]
    logger.info("%d lives over %d steps, violations: %s", lived, steps, dict(found))
    return found


@pytest.mark.parametrize("is_sick", [False, True], ids=["good release", "sick release"])
@pytest.mark.parametrize("is_first", [False, True], ids=["second release", "first release"])
def test_a_power_cut_leaves_the_old_or_the_new_model(
    good: Story, tmp_path: Path, *, is_first: bool, is_sick: bool
) -> None:
    story = replace(good, is_sick=is_sick)
    if is_first:
        (tmp_path / "new" / "metadata").mkdir(parents=True)
        story = replace(story, baseline=PowerCutDisk(tmp_path / "new"), old=None)
    assert not violations(story, tmp_path, SEEDS)


def test_a_power_cut_while_fallbacks_come_too(good: Story, tmp_path: Path) -> None:
    assert not violations(replace(good, fallback_variants=1), tmp_path, SEEDS)


@pytest.mark.parametrize("missing", sorted(set(SYNCS) - {REMOVAL}))
def test_without_any_one_sync_the_model_finds_a_violation(
    good: Story, tmp_path: Path, missing: str
) -> None:
    # What protects a part is missed while it is fetched: in the first half.
    share = 0.5 if "part" in missing.partition(":")[0] else 1.0
    story = replace(good, missing=missing)
    assert violations(story, tmp_path, max(SEEDS, 600), enough=1, share=share)


def listed_but_damaged_after_a_cut(folder: Path, missing: str, seed: int) -> bool:
    """Cut the power while an old release is removed; say whether half a release is found then."""
    disk = PowerCutDisk(folder, missing)
    store, key, chance = ModelStore(disk.root / "models", disk), device_key(), random.Random(seed)  # noqa: S311
    for counter in (1, 2):
        brought = delivery(key, b"weights", f"1.{counter}")
        for digest, content in brought.files.items():
            disk.write_atomic(store.blob_path(digest), content)
        store.install(brought.ref, brought.manifest_bytes, "onnxruntime-fp32-320", brought.grant)
    disk.cut_after(chance.randint(0, 20))
    with contextlib.suppress(PowerCutError):
        store.keep_only(store.installed()[:1])
    again = ModelStore(disk.root / "models", disk.after_cut(chance))
    return bool(damaged_of(again))


def test_a_cut_while_a_release_is_removed_leaves_no_half_of_it(tmp_path: Path) -> None:
    def is_found(missing: str, seeds: int) -> bool:
        places = ((tmp_path / f"{missing[:6]}{seed}", missing, seed) for seed in range(seeds))
        return any(itertools.starmap(listed_but_damaged_after_a_cut, places))

    assert not is_found("", 60)
    assert is_found(REMOVAL, 600)


def test_the_model_knows_every_sync_of_the_code(good: Story, tmp_path: Path) -> None:
    disk = good.begin(tmp_path)
    device = good.device(disk)
    device.start()
    device.deploy(RELEASES[2])
    device.deploy(RELEASES[3])
    assert disk.synced == set(SYNCS)
    code = [inspect.getsource(module) for module in (disk_module, fetch)]
    calls = sum(
        len(re.findall(r"_sync_folder\(|os\.fsync\(file|file\.sync\(", one)) for one in code
    )
    definitions = 1
    assert calls - definitions == len(SYNCS)
