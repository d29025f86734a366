"""The workstation's own repository through the controller's own block server into the real updater."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from agent.fleet.blocks import BlockServer
from agent.release.build import ReleaseDraft, VariantDraft, build_release
from agent.release.charter import Charter, RoleKeys
from agent.release.golden import golden_set
from agent.release.repository import Repository
from agent.schema.manifest import InputSpec
from agent.schema.messages import Policy
from agent.schema.values import BackendName, FamilyName, Precision
from agent.update.ports import Offer
from agent.update.sources.blocks import BlockSource
from tests.parts.update_device import RecordedReplier, UpdateDevice

DEK = bytes(range(32))
MODEL = bytes(range(256)) * 4096
ROLES = ("root", "targets", "release", "policy", "snapshot", "timestamp")


@dataclass
class ServerChannel:
    """The controller's block server without a broker between."""

    server: BlockServer
    generation: int = 1
    responses: deque[bytes] = field(default_factory=deque)

    def send(self, body: bytes) -> None:
        self.responses.append(self.server.answer("cam-1", body).encode())

    def receive(self, timeout_s: float) -> bytes | None:  # noqa: ARG002
        return self.responses.popleft() if self.responses else None


@pytest.fixture
def signers() -> dict[str, list[CryptoSigner]]:
    return {role: [CryptoSigner.generate_ed25519() for _ in range(2)] for role in ROLES}


@pytest.fixture
def repository(tmp_path: Path, signers: dict[str, list[CryptoSigner]]) -> Repository:
    keys = {role: RoleKeys(tuple(s.public_key for s in signers[role]), 2) for role in ROLES[:4]} | {
        role: RoleKeys((signers[role][0].public_key,), 1) for role in ROLES[4:]
    }
    repository = Repository.create(tmp_path / "repository", Charter(classes=("pi5",), **keys))
    publish(repository, signers)
    return repository


def publish(repository: Repository, signers: dict[str, list[CryptoSigner]]) -> None:
    for standing in repository.standings():
        role = standing.role if standing.role in ROLES else "release"
        repository.approve(standing.role, signers[role])
    repository.publish(signers["snapshot"][:1], signers["timestamp"][:1])


def built(folder: Path, version: str, counter: int) -> Path:
    model = folder / "model.onnx"
    model.write_bytes(MODEL + version.encode())
    variant = VariantDraft(
        id="onnx-fp32-320",
        model=model,
        backend=BackendName.ONNXRUNTIME,
        precision=Precision.FP32,
        family=FamilyName.ULTRALYTICS,
        input=InputSpec(width=320, height=320),
        accuracy=0.4,
        memory_mb=120,
    )
    boxes = [[(0, 0.9, 1.0, 2.0, 30.0, 40.0)]]
    draft = ReleaseDraft(
        name="people",
        version=version,
        device_class="pi5",
        counter=counter,
        labels=["person"],
        variants=[variant],
        golden=golden_set([b"image"], {variant.id: boxes}, confidence=0.25, iou=0.6),
    )
    return build_release(folder / f"release-{version}", draft, DEK).parent


def test_a_published_release_is_installed(
    tmp_path: Path, repository: Repository, signers: dict[str, list[CryptoSigner]]
) -> None:
    repository.set_policy(Policy(schema=1, version=3, users=[], commands={}))
    refs = [repository.add_release(built(tmp_path, f"1.{n}", n)) for n in (1, 2)]
    publish(repository, signers)
    source = BlockSource(ServerChannel(BlockServer(repository.public)))
    device = UpdateDevice(tmp_path / "device", repository, sources=[source])
    device.start()
    for ref in refs:
        device.key_channel.deks[f"pi5/people/{ref.version}"] = DEK
        reply = RecordedReplier()
        device.updater.submit(Offer(ref), reply)
        device.updater.work()
        assert reply.code == "committed"
        assert device.current == ref
        assert device.plaintext(ref) == MODEL + ref.version.encode()
    assert device.stager.policy()[1].version == 3
