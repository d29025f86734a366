"""Commands about pictures: `snapshot` sends one, `capture` keeps some on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from agent.control.attachments import attach, part_bytes
from agent.control.replies import Replier, arguments
from agent.errors import CameraError
from agent.host.disk import make_room
from agent.schema.actions import CaptureArgs, SnapshotArgs
from agent.schema.document import to_json
from agent.schema.ipc import FrameGrabbed

if TYPE_CHECKING:
    from pathlib import Path

    from agent.host.disk import Disk
    from agent.schema.messages import CommandBody

Grab = Callable[[str, int, int], tuple[FrameGrabbed, bytes]]
# Share of the width that was asked for, and JPEG quality: the first that fits is sent.
_LADDER = ((1.0, 85), (1.0, 70), (0.75, 70), (0.5, 65), (0.35, 60), (0.25, 50), (0.15, 40))
_CAPTURE_WIDTH, _CAPTURE_QUALITY = 4096, 92
CAPTURE_BUDGET_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Pictures:
    """Handlers of both commands; they take a while.

    Attributes:
        cameras: Names of the cameras.
        grab: The newest picture of a camera, at most so wide, at a JPEG quality; masks are applied.
        limit_bytes: Greatest size of a reply.
        pause: Waits; raises when the agent stops.
        folder: Where captures are kept.
        disk: Disk below it.
        budget_bytes: What captures may take together; the oldest make room.
    """

    cameras: Sequence[str]
    grab: Grab
    limit_bytes: Callable[[], int]
    pause: Callable[[float], None]
    folder: Path
    disk: Disk
    budget_bytes: int = CAPTURE_BUDGET_BYTES

    def snapshot(self, body: CommandBody, replier: Replier) -> None:
        """Send the newest picture of one camera, as small as it must be to fit one reply."""
        asked = arguments(body, SnapshotArgs)
        self._require(asked.camera)
        limit_bytes = self.limit_bytes()
        for share, quality in _LADDER:
            width = max(64, int(asked.max_width * share))
            frame, jpeg = self.grab(asked.camera, width, quality)
            if len(jpeg) <= part_bytes(limit_bytes):
                (attachment,) = attach(f"{asked.camera}.jpg", jpeg, limit_bytes)
                replier.succeeded(**_about(frame), attachment=attachment)
                return
        raise CameraError(
            f"a picture of {asked.camera} does not fit a reply of {limit_bytes} bytes",
            code="camera.too_large",
        )

    def capture(self, body: CommandBody, replier: Replier) -> None:
        """Keep pictures of one camera or all with what was seen in them, within the budget."""
        asked = arguments(body, CaptureArgs)
        if asked.camera:
            self._require(asked.camera)
        cameras = [asked.camera] if asked.camera else list(self.cameras)
        self.disk.make_dirs(self.folder)
        kept: set[str] = set()
        for turn in range(asked.frames):
            if turn:
                self.pause(asked.interval_ms / 1000)
            kept |= {self._keep(camera) for camera in cameras}
            replier.running(f"{turn + 1} of {asked.frames}")
        used = make_room(self.disk, self.folder, self.budget_bytes)
        replier.succeeded(pictures=len(kept), folder=str(self.folder), bytes=used)

    def _require(self, camera: str) -> None:
        if camera not in self.cameras:
            known = ", ".join(self.cameras) or "none"
            message = f"there is no camera {camera!r}; there are: {known}"
            raise CameraError(message, code="camera.unknown")

    def _keep(self, camera: str) -> str:
        frame, jpeg = self.grab(camera, _CAPTURE_WIDTH, _CAPTURE_QUALITY)
        # Time first, so that names sort by age.
        name = f"{frame.captured_ms:013d}-{camera}-{frame.frame}"
        self.disk.write_atomic(self.folder / f"{name}.jpg", jpeg)
        boxes = [msgspec.structs.asdict(box) for box in frame.boxes]
        about = to_json({**_about(frame), "boxes": boxes})
        self.disk.write_atomic(self.folder / f"{name}.json", about)
        return name


def _about(frame: FrameGrabbed) -> dict[str, object]:
    return {
        "camera": frame.camera,
        "frame": frame.frame,
        "captured_ms": frame.captured_ms,
        "width": frame.width,
        "height": frame.height,
    }
