"""Shadow mode: a candidate model judges live frames beside the running one, and nobody acts on what it sees.

Rules
- The candidate has a worker of its own without cameras, confined like every other, with one thread and a low
  priority. The running one gives its newest picture with the boxes that it found in it, as for a snapshot.
- One frame at a time; after it the candidate rests so long that its share of a core stays within the order's.
- No frame is compared while the device has reason to rest (hot, busy, an update): it is counted as skipped. For an
  update the candidate's memory is given back, too, and at once, however long it is until the next frame.
- It ends by frames, by time, when it is told to, or when another release runs. What was found is kept over restarts and
  a run goes on after one; a power cut costs the last minutes of counting.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from agent.errors import CommandError, ModelError, VigilError
from agent.host.clock import monotonic_ns, wall_ms
from agent.host.disk import REAL_DISK, Disk
from agent.models.store import InstalledRelease
from agent.schema.config import CameraConfig
from agent.schema.ipc import FrameGrabbed, FrameResult
from agent.schema.manifest import ReleaseRef
from agent.schema.shadow import (
    SHADOW_VERSION,
    Contender,
    ShadowProgress,
    ShadowRecord,
    StartShadowArgs,
)
from agent.supervisor.agreement import QUALITY, WIDTH, comparable, translated
from agent.supervisor.comparison import Compared, progress_of, skip
from agent.supervisor.conversation import Conversation
from agent.supervisor.shadow_book import ShadowBook
from agent.supervisor.worker_process import COMMAND, WorkerProcess

log = logging.getLogger(__name__)
UPDATE = "update"
_LOOK_S = 0.1
_REST_S = 2.0
_LOAD_S = 120.0
_FAILURES = 3
_STAGES = ("pre", "infer", "post")


@dataclass(frozen=True)
class Ports:
    """What shadow mode needs of the agent.

    Attributes:
        serving: The release whose results are being reported.
        grab: The running model's newest picture of a camera, at most so wide, at a JPEG quality, with its boxes.
        open: The candidate that a record names, from this disk; raises `VigilError`.
        is_updating: Whether an update or its trial is under way. Asked ten times a second: it must cost nothing.
        rest: Why else no frame may be compared now; empty when one may.
        pin: Keeps one release on the disk, besides those that run and ran before.
        on_differing: Told of every picture in which the models differ.
    """

    serving: Callable[[], InstalledRelease | None]
    grab: Callable[[str, int, int], tuple[FrameGrabbed, bytes]]
    open: Callable[[ShadowRecord], InstalledRelease]
    is_updating: Callable[[], bool]
    rest: Callable[[], str]
    pin: Callable[[ReleaseRef | None], None]
    on_differing: Callable[[FrameGrabbed, bytes], None]


@dataclass(frozen=True)
class Means:
    """What the candidate's worker may use: MiB of memory, and its niceness.

    At 10 it gets a tenth of a core that somebody else wants whole; at 19 a busy board would not even load it.
    """

    memory_mb: int
    niceness: int = 10


class Shadow:
    """Compares in a loop of its own; one run at a time, the last one's findings stay.

    Args:
        folder: The state folder.
        cameras: Those of the device.
        talk: How the candidate is spoken with; one thread.
        means: What the candidate may use.
        ports: The rest of the agent.
        disk: Where to write.
    """

    def __init__(
        self,
        folder: Path,
        cameras: list[CameraConfig],
        talk: Conversation,
        means: Means,
        ports: Ports,
        disk: Disk = REAL_DISK,
    ) -> None:
        self._names = comparable(cameras)
        self._cameras = cycle(self._names)
        self._talk, self._means, self._ports = talk, means, ports
        self._seen_ms: dict[str, float] = {}
        self._last_ms: dict[str, int] = {}
        self._worker: WorkerProcess | None = None
        self._failures = 0
        self._due_ns = 0
        self.book = ShadowBook(folder / "shadow", disk)
        if self.book.open is not None:
            ports.pin(self.book.open.candidate.ref)

    @property
    def progress(self) -> ShadowProgress | None:
        """How far the run is, or how the last one ended; None before the first."""
        record = self.book.record
        return progress_of(record, wall_ms()) if record else None

    def frame(self, result: FrameResult) -> None:
        """Take a result of the running model; any thread, never blocks."""
        if not result.error:
            self._seen_ms[result.camera] = _cost_ms(result.stages_ms)

    def require_free(self) -> None:
        """Raise `CommandError` when no run can begin now (`shadow.busy`, `shadow.no_camera`)."""
        self.book.require_free()
        if not self._names:
            message = "no camera gives pictures that two models can be compared by"
            raise CommandError(message, code="shadow.no_camera")

    def start(self, args: StartShadowArgs, candidate: InstalledRelease) -> None:
        """Begin a run with a candidate that is on this disk.

        Raises:
            CommandError: Another run is under way, or the candidate is what runs (`shadow.same`).
            ModelError: No model runs.
            StorageError: It cannot be written down.
        """
        running = self._ports.serving()
        if running is None:
            raise ModelError("no model is running", code="model.none")
        if (running.ref.sha256, running.variant.id) == (candidate.ref.sha256, candidate.variant.id):
            message = f"{candidate.ref.label} {candidate.variant.id} is what runs"
            raise CommandError(message, code="shadow.same", hint="name another variant or release")
        record = ShadowRecord(
            v=SHADOW_VERSION,
            args=args,
            running=_contender(running),
            candidate=_contender(candidate),
            started_ms=wall_ms(),
        )
        self._failures = 0
        self.book.begin(record)
        self._ports.pin(candidate.ref)

    def stop(self) -> ShadowRecord:
        """End the run that is under way; `CommandError` `shadow.none` without one."""
        ended = self._end("stopped")
        if ended is None:
            raise CommandError("no shadow run is under way", code="shadow.none")
        return ended

    def run(self, stop: threading.Event) -> None:
        """Compare until `stop` is set; the candidate's worker ends with this thread."""
        while not stop.wait(_LOOK_S):
            self.step()
        self._dismiss()
        if self.book.open is not None:
            self.book.save()

    def step(self) -> None:
        """Compare one frame, if one is due; give way to an update in any case."""
        record, is_updating = self.book.open, self._ports.is_updating()
        if record is None or is_updating:
            self._dismiss()
        if record is None:
            return
        if end := self._reason_to_end(record):
            self._end(end)
        elif monotonic_ns() >= self._due_ns:
            self._rest_or_compare(record, UPDATE if is_updating else self._ports.rest())

    # one frame ----------------------------------------------------------------------------------------

    def _rest_or_compare(self, record: ShadowRecord, reason: str) -> None:
        running = self._ports.serving()
        if running is None or running.variant.id != record.running.variant:
            reason = reason or "another variant runs"
        if reason:
            self._due_ns = monotonic_ns() + int(max(_REST_S, record.args.every_s) * 1e9)
            self.book.change(lambda now: skip(now, reason))
            return
        began_ns, busy_s = monotonic_ns(), 0.0
        seen = self._newest(next(self._cameras))
        if seen is None:
            self.book.change(lambda now: skip(now, "no picture"))
        else:
            try:
                busy_s = self._compare(record, *seen)
                self._failures = 0
            except VigilError as error:
                self._fail(error)
        gap_s = max(record.args.every_s, busy_s * 100 / record.args.cpu_percent)
        self._due_ns = began_ns + int(gap_s * 1e9)

    def _newest(self, camera: str) -> tuple[FrameGrabbed, bytes] | None:
        """Return a camera's newest picture with the running model's boxes; None where there is no new one."""
        try:
            frame, jpeg = self._ports.grab(camera, WIDTH, QUALITY)
        except VigilError as error:
            log.info("camera %s gives no picture to compare models by: %s", camera, error)
            return None
        is_new = self._last_ms.get(camera) != frame.captured_ms
        self._last_ms[camera] = frame.captured_ms
        return (frame, jpeg) if is_new else None

    def _compare(self, record: ShadowRecord, frame: FrameGrabbed, jpeg: bytes) -> float:
        """Let the candidate judge a picture; return for how many seconds it worked."""
        worker = self._worker or self._hire(record)
        found = self._talk.detect(worker, jpeg)
        took_ms = _cost_ms(found.stages_ms)
        labels, known = record.candidate.labels, set(record.running.labels)
        boxes = translated(found.boxes, labels, labels)
        compared = Compared(
            running=translated(frame.boxes, record.running.labels, labels),
            candidate=[box for box in boxes if labels[box[0]] in known],
            running_ms=self._seen_ms.get(frame.camera),
            candidate_ms=took_ms,
        )
        if self.book.take(compared, frame, jpeg):
            self._ports.on_differing(frame, jpeg)
        return took_ms / 1000

    def _fail(self, error: VigilError) -> None:
        log.warning("the candidate failed: %s", error.diagnostics())
        self._dismiss()
        self._failures += 1
        if self._failures >= _FAILURES:
            self._end(f"failed: {error}")
        else:
            self.book.change(lambda now: skip(now, "failed"))

    # the candidate's worker -----------------------------------------------------------------------------

    def _hire(self, record: ShadowRecord) -> WorkerProcess:
        release = self._ports.open(record)
        command = (*COMMAND, "--nice", str(self._means.niceness))
        worker = WorkerProcess(self._means.memory_mb, _ignore, _ignore, command)
        try:
            self._talk.load(worker, release, _LOAD_S)
        except VigilError:
            worker.stop()
            raise
        self._worker = worker
        return worker

    def _dismiss(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    # the end --------------------------------------------------------------------------------------------

    def _reason_to_end(self, record: ShadowRecord) -> str:
        running = self._ports.serving()
        if running is not None and running.ref.sha256 != record.running.ref.sha256:
            return "another release runs"
        if record.frames >= record.args.frames:
            return "frames"
        if wall_ms() >= record.started_ms + record.args.hours * 3_600_000:
            return "time"
        return ""

    def _end(self, reason: str) -> ShadowRecord | None:
        ended = self.book.end(reason)
        self._ports.pin(None)
        return ended


def _cost_ms(stages_ms: dict[str, float]) -> float:
    return sum(stages_ms.get(stage, 0.0) for stage in _STAGES)


def _contender(release: InstalledRelease) -> Contender:
    manifest = release.manifest
    return Contender(
        ref=release.ref,
        release=manifest.release_id,
        variant=release.variant.id,
        labels=list(manifest.labels),
    )


def _ignore(*_: object) -> None:
    """Take what an idle worker says, which is only that it lives."""
