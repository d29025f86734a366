"""A device that watches the demo's conveyor: live pictures with exact boxes, for looking at the page.

`python -m tests.console.belt` serves it until interrupted; `python -m tests.console.belt docs/images` takes the
documentation's screenshots (needs chromium and playwright; `pngquant 48 --nofs --ext .png --force` makes them small).
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import cv2

from agent.console.server import Console
from agent.console.sources import Snapshot, Sources
from agent.demo.scene import CLASSES, Conveyor, Frame
from agent.schema.config import ConsoleConfig
from agent.schema.events import Event
from agent.schema.governor import GovernorReport
from agent.schema.ipc import FrameGrabbed
from agent.schema.messages import Outcome, Phase, UpdateReport
from agent.schema.values import Box
from tests.console.browser import browser
from tests.console.scripted import report, state, telemetry

LOOKS = {
    "light": ("light", 1180, 780),
    "dark": ("dark", 1180, 780),
    "phone": ("dark", 390, 844),
}
START_MS = 1_750_000_000_000
FIRST_FRAME = 190


class Belt:
    """Scripted sources over the conveyor scene, from where its crowded stretch comes into sight."""

    def __init__(self) -> None:
        self._scene = Conveyor()
        self._started_s = time.monotonic()

    def status(self) -> Snapshot:
        """A device that is on probation with a new release."""
        now = state(
            phase=Phase.PROBATION,
            floor=2,
            policy_ver=3,
            audit_head="9f2c4e11a07b" * 4,
        )
        cameras = (report("belt", fps=14.9, processed=int(self._seconds() * 15)),)
        measured = telemetry(fps=14.9)
        return Snapshot(now, measured, cameras, CLASSES, 0.3, link_connected=True, link="MQTT 5")

    def grab(self, camera: str, max_width: int, quality: int) -> tuple[FrameGrabbed, bytes]:
        """The present frame."""
        number = FIRST_FRAME + int(self._seconds() * self._scene.fps)
        frame = self._scene.frame(number)
        height, width = frame.image.shape[:2]
        found = FrameGrabbed(
            id=1,
            camera=camera,
            frame=number,
            captured_ms=START_MS,
            width=width,
            height=height,
            boxes=_boxes(frame),
        )
        smooth = cv2.GaussianBlur(frame.image, (0, 0), 0.9)  # sensor noise makes large screenshots
        jpeg = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        assert width <= max_width
        return found, jpeg.tobytes()

    def _seconds(self) -> float:
        return time.monotonic() - self._started_s


def _boxes(frame: Frame) -> list[Box]:
    return [
        Box(
            label=label.kind,
            score=0.72 + 0.26 * ((label.track_id * 37) % 100) / 100,
            x_min=label.box[0],
            y_min=label.box[1],
            x_max=label.box[2],
            y_max=label.box[3],
            track=label.track_id + 1,
        )
        for label in frame.labels
        if label.visible > 0.6
    ]


def _fill(console: Console) -> None:
    """The recent past: objects, an update that was kept and two that were not."""
    for number in range(9):
        start_ms = START_MS + number * 2100
        console.events.add(
            Event(
                v=1,
                device="line-3",
                camera="belt",
                id=f"belt-{number}",
                type="end" if number < 6 else "update",
                label=CLASSES[number * 3 % len(CLASSES)],
                score=0.8,
                top_score=0.83 + number / 70,
                box=(0.0, 0.0, 1.0, 1.0),
                start_ms=start_ms,
                at_ms=start_ms + 5200,
            )
        )
    for number in range(180):
        heat_c = 58 + 9 * math.sin(number / 28) + number / 40
        console.measured(
            telemetry(
                at_ms=START_MS + number * 10_000,
                fps=14.9 - (4.9 if 90 < number < 130 else 0),
                temperature_c=round(heat_c, 1),
                governor=GovernorReport(rung="full", index=int(90 < number < 130), rungs=4),
            )
        )
    ends = [
        ("parts 1.1.0", Outcome.COMMITTED, "", "", 38.0),
        ("parts 1.0.9", Outcome.REFUSED, "trust.rollback", "counter 1 is below the floor 2", None),
        (
            "parts 1.1.1",
            Outcome.ROLLED_BACK,
            "model.errors",
            "12 of 100 frames failed on probation",
            41.0,
        ),
    ]
    for number, (release, outcome, code, reason, gap_ms) in enumerate(ends):
        console.updates.add(
            UpdateReport(
                release=release,
                path="models/parts",
                outcome=outcome,
                code=code,
                reason=reason,
                at_ms=START_MS + number * 60_000,
                swap_gap_ms=gap_ms,
            )
        )


def serve() -> Console:
    """Start a console on the belt."""
    belt = Belt()
    console = Console(ConsoleConfig(port=0), Sources(("belt",), belt.status, belt.grab))
    _fill(console)
    console.start()
    return console


def photograph(folder: Path) -> None:
    """Write `console-<look>.png` into `folder`."""
    with browser() as chromium:
        for look, (scheme, width, height) in LOOKS.items():
            console = serve()
            viewport = {"width": width, "height": height}
            page = chromium.new_page(viewport=viewport, color_scheme=scheme)
            page.goto(console.url)
            page.wait_for_timeout(4500)
            page.screenshot(path=folder / f"console-{look}.png")
            console.stop()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        photograph(Path(sys.argv[1]))
    else:
        running = serve()
        input(f"{running.url} - press Enter to stop\n")
        running.stop()
