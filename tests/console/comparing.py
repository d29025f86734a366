"""A shadow run on the disk of a scripted device: two models that differ in two of three pictures."""

from __future__ import annotations

from pathlib import Path

from agent.app.shadow import ShadowFindings
from agent.host.clock import wall_ms
from agent.host.disk import REAL_DISK
from agent.schema.ipc import FrameGrabbed
from agent.schema.manifest import ReleaseRef
from agent.schema.shadow import SHADOW_VERSION, Contender, ShadowRecord, StartShadowArgs
from agent.supervisor.comparison import Compared
from agent.supervisor.shadow_book import ShadowBook
from tests.console.scripted import LABELS, jpeg

BOLT = (0, 0.93, 40.0, 60.0, 180.0, 150.0)
WASHER = (2, 0.71, 300.0, 120.0, 390.0, 210.0)
NUT = (1, 0.55, 420.0, 60.0, 480.0, 130.0)


def contender(version: str, variant: str) -> Contender:
    path = f"models/conveyor/parts/{version}/manifest.json"
    ref = ReleaseRef(path=path, sha256="5" * 64)
    release = f"conveyor/parts/{version}"
    return Contender(ref=ref, release=release, variant=variant, labels=list(LABELS))


def compared(folder: Path) -> ShadowFindings:
    """Return what a run found in three frames of 100; the last two are kept as pictures."""
    book = ShadowBook(folder, REAL_DISK)
    begun_ms = wall_ms() - 557_000  # as it went, 97 frames more take five hours
    running, candidate = contender("1.2.0", "onnx-fp32-320"), contender("1.3.0", "onnx-int8-320")
    record = ShadowRecord(
        v=SHADOW_VERSION,
        args=StartShadowArgs(frames=100),
        running=running,
        candidate=candidate,
        started_ms=begun_ms,
    )
    book.begin(record)
    for number, seen in enumerate(([BOLT, WASHER], [BOLT], [BOLT, WASHER, NUT])):
        frame = FrameGrabbed(
            id=1,
            camera="belt",
            frame=number,
            captured_ms=begun_ms + number,
            width=640,
            height=360,
            boxes=[],
        )
        book.take(Compared([BOLT, WASHER], seen, 11.0, 19.5), frame, jpeg(60 + number))
    return ShadowFindings(book, "line-3")
