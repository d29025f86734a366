"""Engines are kept sealed, for this device and this fingerprint only, and what is wrong with one costs a build."""

import os
from pathlib import Path

import msgspec
import pytest

from agent.errors import KeyUnavailableError
from agent.host.memfd import read_memfd
from agent.models.engine_cache import EngineCache
from agent.schema.engine import EnginePlan, Fingerprint, GpuFacts
from agent.schema.values import Precision
from agent.trust.hybrid import HybridKey
from agent.trust.keys import FileKey
from agent.trust.sealed import seal

PAYLOAD = "ab" * 32
ENGINE = b"ftrt engine with the weights in it " * 40_000
PLAN = EnginePlan(precision=Precision.FP16, workspace_mb=1024)
GPU = GpuFacts(tensorrt="10.3.0", cuda=12060, driver="12060 R36", compute_capability="8.7")
HERE = Fingerprint(plan=PLAN, gpu=GPU)


@pytest.fixture
def key(tmp_path: Path) -> FileKey:
    return FileKey.create(tmp_path / "device.key")


@pytest.fixture
def cache(tmp_path: Path, key: FileKey) -> EngineCache:
    return EngineCache(tmp_path / "engines", key)


def content(fd: int | None) -> bytes | None:
    if fd is None:
        return None
    try:
        with read_memfd(fd) as view:
            return bytes(view)
    finally:
        os.close(fd)


def file_of(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "engines").iterdir()
    return path


def test_an_engine_comes_back_as_it_was(cache: EngineCache) -> None:
    assert cache.open(PAYLOAD, HERE) is None
    cache.put(PAYLOAD, HERE, ENGINE)
    assert content(cache.open(PAYLOAD, HERE)) == ENGINE


def test_nothing_of_an_engine_is_readable_on_disk(cache: EngineCache, tmp_path: Path) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    path = file_of(tmp_path)
    assert b"weights" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_post_quantum_key_seals_engines_too(tmp_path: Path) -> None:
    key = HybridKey.generate()
    EngineCache(tmp_path / "engines", key).put(PAYLOAD, HERE, ENGINE)
    assert content(EngineCache(tmp_path / "engines", key).open(PAYLOAD, HERE)) == ENGINE
    other = EngineCache(tmp_path / "engines", HybridKey.generate())
    assert content(other.open(PAYLOAD, HERE)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"gpu": msgspec.structs.replace(GPU, tensorrt="10.13.3")},
        {"gpu": msgspec.structs.replace(GPU, cuda=13000)},
        {"gpu": msgspec.structs.replace(GPU, driver="12060 R38")},
        {"gpu": msgspec.structs.replace(GPU, compute_capability="8.6")},
        {"plan": msgspec.structs.replace(PLAN, precision=Precision.INT8)},
        {"plan": msgspec.structs.replace(PLAN, workspace_mb=512)},
    ],
    ids=["tensorrt", "cuda", "driver", "gpu", "precision", "workspace"],
)
def test_an_engine_of_another_fingerprint_is_dropped(
    cache: EngineCache, tmp_path: Path, change: dict
) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    assert cache.open(PAYLOAD, msgspec.structs.replace(HERE, **change)) is None
    assert not list((tmp_path / "engines").iterdir())


@pytest.mark.parametrize("place", [0, 20, 100, -1])
def test_a_damaged_engine_is_dropped(cache: EngineCache, tmp_path: Path, place: int) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    path = file_of(tmp_path)
    blob = bytearray(path.read_bytes())
    blob[place] ^= 1
    path.write_bytes(blob)
    assert cache.open(PAYLOAD, HERE) is None
    assert not path.exists()


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_truncated_engine_is_dropped(cache: EngineCache, tmp_path: Path, keep: int) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    assert cache.open(PAYLOAD, HERE) is None
    assert not path.exists()


def test_another_payloads_engine_under_this_name_does_not_open(
    cache: EngineCache, tmp_path: Path
) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    other = "cd" * 32
    file_of(tmp_path).rename(tmp_path / "engines" / f"{other}.sealed")
    assert cache.open(other, HERE) is None


def test_another_devices_engine_does_not_open(cache: EngineCache, tmp_path: Path) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    stranger = EngineCache(tmp_path / "engines", FileKey.create(tmp_path / "other.key"))
    assert stranger.open(PAYLOAD, HERE) is None


def test_an_engine_sealed_with_what_is_public_does_not_open(
    cache: EngineCache, tmp_path: Path, key: FileKey
) -> None:
    cache.put(PAYLOAD, HERE, ENGINE)
    path = file_of(tmp_path)
    blob = path.read_bytes()
    name = blob[blob.index(b"engine/") :][: len("engine/") + 64].decode()
    path.write_bytes(seal(b"code of my own", key.public_bytes[1:33], name))
    assert cache.open(PAYLOAD, HERE) is None


def test_a_key_that_is_away_costs_no_engine(tmp_path: Path, key: FileKey) -> None:
    class Token:
        away = False
        public_bytes = key.public_bytes

        def exchange(self, peer_public: bytes) -> bytes:
            if self.away:
                raise KeyUnavailableError("token removed")
            return key.exchange(peer_public)

    token = Token()
    cache = EngineCache(tmp_path / "engines", token)
    cache.put(PAYLOAD, HERE, ENGINE)
    token.away = True
    with pytest.raises(KeyUnavailableError):
        cache.open(PAYLOAD, HERE)
    token.away = False
    assert content(cache.open(PAYLOAD, HERE)) == ENGINE


def test_engines_of_models_that_are_gone_are_removed(cache: EngineCache) -> None:
    for payload in (PAYLOAD, "cd" * 32):
        cache.put(payload, HERE, ENGINE)
    cache.keep_only([PAYLOAD])
    assert content(cache.open(PAYLOAD, HERE)) == ENGINE
    assert cache.open("cd" * 32, HERE) is None
