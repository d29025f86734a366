"""An installed release that lies nowhere: its payload and golden set are handed over by the test."""

from pathlib import Path

from agent.models.store import InstalledRelease
from agent.schema.manifest import GoldenSpec, Manifest, ReleaseRef, SealedFile, Variant
from tests.vision import models


def release(variant: Variant) -> InstalledRelease:
    manifest = Manifest(
        schema=1,
        name="colours",
        version="1.0",
        device_class="test",
        release_counter=1,
        min_agent="0.1",
        labels=models.LABELS,
        variants=[variant],
        golden=GoldenSpec(payload=SealedFile(file="golden.sealed", size=1, sha256="1" * 64)),
    )
    ref = ReleaseRef(path="models/test/colours/1.0/manifest.json", sha256="2" * 64)
    return InstalledRelease(ref, manifest, variant, Path("/nowhere"))
