"""A supervisor on the bench: real processes and sockets, workers that play a part, listeners that take notes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.host.memfd import memfd_of
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.config import CameraConfig, DetectConfig
from agent.schema.manifest import ReleaseRef
from agent.supervisor import Conversation, Listeners, Supervisor, WorkerSettings
from agent.update.ports import Strain
from tests.parts.processes import children, is_alive
from tests.parts.releases import manifest, variant

# Patience that a busy machine does not wear out; tests of what a worker does too late have less.
SETTINGS = WorkerSettings(
    device="cam-1",
    boot="boot",
    cameras=[CameraConfig(name="belt", source="belt.mp4")],
    detect=DetectConfig(),
    default_fps=50,
    threads=1,
    memory_mb=512,
    load_timeout_s=30.0,
    trial_timeout_s=30.0,
    camera_timeout_s=30.0,
    silence_s=30.0,
    command=(sys.executable, "-m", "tests.supervisor.scripted_worker"),
)


def release(part: str) -> InstalledRelease:
    """A release whose worker plays this part."""
    sha256 = part.encode().hex().ljust(64, "0")[:64]
    ref = ReleaseRef(path=f"models/shop/{part}/1.2/manifest.json", sha256=sha256)
    made = variant()
    return InstalledRelease(ref, manifest(made, name=part), made, Path("/nowhere"))


@dataclass
class Notes:
    """What the listeners heard: frames as (number, release name), and unplanned restarts.

    Attributes:
        alive: The workers that lived when the first frame of a release came.
    """

    frames: list[tuple[int, str]] = field(default_factory=list)
    alive: dict[str, list[int]] = field(default_factory=dict)
    restarts: int = 0

    def frame(self, result: ipc.FrameResult, release_id: str) -> None:
        """Take a frame."""
        name = release_id.split("/")[1]
        if name not in self.alive:
            self.alive[name] = workers()
        self.frames.append((result.frame, name))

    def restarted(self) -> None:
        """Take a restart."""
        self.restarts += 1

    @property
    def names(self) -> set[str]:
        """Whose frames came."""
        return {name for _, name in self.frames}


@contextmanager
def bench(serving: str | None = "good", **settings: Any) -> Iterator[tuple[Supervisor, Notes]]:
    """A running supervisor that wants a release to serve."""
    notes = Notes()
    chosen = replace(SETTINGS, **settings)
    conversation = Conversation(chosen, _payload, _payload)
    listeners = Listeners(notes.frame, lambda _: None, notes.restarted)
    supervisor = Supervisor(chosen, conversation, listeners, lambda _: Strain())
    supervisor.want(release(serving) if serving else None)
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        yield supervisor, notes
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def workers() -> list[int]:
    """Process ids of the workers that live; other tests' helpers, which stay for the whole run, are none."""
    return [pid for pid in children(os.getpid()) if is_alive(pid) and _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"\0--socket-fd\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _payload(_release: InstalledRelease) -> int:
    return memfd_of(b"weights", "test")
