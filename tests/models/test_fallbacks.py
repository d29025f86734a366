"""Variants that are kept beside the chosen one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from agent.errors import PackageError
from agent.models.fallbacks import fallbacks
from agent.models.store import ModelStore
from agent.schema.profile import Choice, Verdict
from tests.parts.signed_repository import MadeRelease, make_release, with_fallback

if TYPE_CHECKING:
    from pathlib import Path

    from agent.schema.manifest import Manifest

CHOSEN, SMALL = "onnx-fp32-320", "onnx-fp32-160"


@dataclass(frozen=True)
class Figures:
    """Expected milliseconds by variant; those in `unfit` do not fit the board."""

    ms: dict[str, float | None]
    unfit: tuple[str, ...] = ()

    def choice(self) -> Choice:
        verdicts = [
            Verdict(
                variant=name,
                accepted=name == CHOSEN,
                reason="",
                expected_ms=ms,
                fits=name not in self.unfit,
            )
            for name, ms in self.ms.items()
        ]
        return Choice(profile="test", variant=CHOSEN, verdicts=verdicts)


def manifest() -> Manifest:
    return with_fallback(make_release(1)).manifest


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (Figures({CHOSEN: 40.0, SMALL: 10.0}), [SMALL]),
        (Figures({CHOSEN: 40.0, SMALL: 35.0}), []),
        (Figures({CHOSEN: 40.0, SMALL: 10.0}, unfit=(SMALL,)), []),
        (Figures({CHOSEN: 40.0, SMALL: None}), []),
        (Figures({CHOSEN: None, SMALL: 10.0}), []),
    ],
    ids=["quicker", "hardly quicker", "does not fit", "nobody knows", "chosen unknown"],
)
def test_only_what_is_known_to_be_clearly_quicker_is_kept(
    figures: Figures, expected: list[str]
) -> None:
    found = fallbacks(manifest(), figures.choice(), 2)
    assert [variant.id for variant in found] == expected


def test_none_is_kept_where_none_is_wanted() -> None:
    assert fallbacks(manifest(), Figures({CHOSEN: 40.0, SMALL: 10.0}).choice(), 0) == []


@pytest.fixture
def release() -> MadeRelease:
    return with_fallback(make_release(1))


@pytest.fixture
def store(tmp_path: Path, release: MadeRelease) -> ModelStore:
    made = ModelStore(tmp_path)
    for variant in release.manifest.variants:
        made.blob_path(variant.payload.sha256).write_bytes(release.files[variant.payload.file])
    golden = release.manifest.golden.payload
    made.blob_path(golden.sha256).write_bytes(release.files[golden.file])
    made.install(release.ref, release.files["manifest.json"], CHOSEN, b"grant", [SMALL])
    return made


def test_another_variant_that_is_here_can_run(store: ModelStore, release: MadeRelease) -> None:
    loaded = store.load(release.ref)
    assert [variant.id for variant in loaded.here] == [CHOSEN, SMALL]
    small = loaded.running(SMALL)
    assert small.payload_path == store.blob_path(small.variant.payload.sha256)
    assert small.here == loaded.here
    assert small.running(CHOSEN).variant == loaded.variant
    with pytest.raises(PackageError, match="not on this device"):
        loaded.running("onnx-fp32-640")


def test_a_damaged_fallback_is_left_out_and_harms_nobody(
    store: ModelStore, release: MadeRelease
) -> None:
    store.load(release.ref).running(SMALL).payload_path.write_bytes(b"damaged")
    assert [variant.id for variant in store.load(release.ref).here] == [CHOSEN]


def test_fallbacks_go_with_their_release_and_stay_with_it(
    store: ModelStore, release: MadeRelease
) -> None:
    small = store.load(release.ref).running(SMALL).payload_path
    store.keep_only([release.ref])
    assert small.exists()
    store.keep_only([])
    assert not small.exists()


def test_a_record_of_an_older_agent_is_still_read(store: ModelStore, release: MadeRelease) -> None:
    record = store.load(release.ref).folder / "release.json"
    record.write_bytes(record.read_bytes().replace(b',"fallbacks":["onnx-fp32-160"]', b""))
    assert [variant.id for variant in store.load(release.ref).here] == [CHOSEN]
