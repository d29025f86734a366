"""The loop that keeps examples: hears of every frame, fetches the picture of few, seals it, puts it on the shelf.

Rules
- A picture comes from the worker as any other that may leave it: masks and blur are applied.
- It is the newest of its camera, perhaps a few frames younger than the one that was chosen; it has its own boxes, and one that
  was chosen as uncertain is kept only while it is.
- Nothing unsealed touches the disk, and the device cannot open what it sealed.
"""

from __future__ import annotations

import base64
import logging
import queue
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from agent.errors import CameraError, ModelError, StorageError
from agent.examples.selector import Selector
from agent.examples.shelf import Shelf
from agent.host.clock import monotonic_ns
from agent.models.store import InstalledRelease
from agent.schema.examples import EXAMPLE_PURPOSE, EXAMPLE_VERSION, Example, ExamplesConfig, Reason
from agent.schema.ipc import FrameGrabbed, FrameResult
from agent.trust.sealed_box import close_box

log = logging.getLogger(__name__)

_QUALITY = 92
_WAITING = 64
_LOOK_S = 0.5


class Budget(Protocol):
    """Bytes of the day (`agent.update.metered.Meter`)."""

    @property
    def pause(self) -> object | None:
        """Return what speaks against another byte today, None when nothing does."""

    def spend(self, count: int) -> None:
        """Count bytes."""


@dataclass(frozen=True)
class Ports:
    """What the collector needs of the agent.

    Attributes:
        grab: The newest picture of a camera, at most so wide, at a JPEG quality; masks are applied.
        serving: The release whose results are being reported.
        drifted: The likely causes of the cameras that have drifted.
        budget: Bytes of the day.
    """

    grab: Callable[[str, int, int], tuple[FrameGrabbed, bytes]]
    serving: Callable[[], InstalledRelease | None]
    drifted: Callable[[], Mapping[str, str]]
    budget: Budget


class _Differing(NamedTuple):
    frame: FrameGrabbed
    jpeg: bytes


class Collector:
    """Keeps examples in a loop of its own.

    Args:
        device: Its id.
        config: The rules; with a key.
        shelf: Where examples are kept.
        ports: The rest of the agent.
        draw: A random number in [0, 1).
    """

    def __init__(
        self,
        device: str,
        config: ExamplesConfig,
        shelf: Shelf,
        ports: Ports,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._device, self._config, self._shelf, self._ports = device, config, shelf, ports
        self._key = base64.b64decode(config.key)
        self._selector = Selector(config, draw)
        self._waiting: queue.Queue[FrameResult | _Differing] = queue.Queue(_WAITING)

    def frame(self, result: FrameResult) -> None:
        """Take a result of the serving worker; any thread, never blocks."""
        if not result.error:
            self._put(result)

    def differing(self, frame: FrameGrabbed, jpeg: bytes) -> None:
        """Take a picture in which another model sees something else; any thread, never blocks."""
        self._put(_Differing(frame, jpeg))

    def _put(self, item: FrameResult | _Differing) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            log.debug("a frame is not considered: the collector is behind")

    def run(self, stop: threading.Event) -> None:
        """Collect until `stop` is set."""
        while not stop.is_set():
            try:
                item = self._waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            release = self._ports.serving()
            if release is None or self._ports.budget.pause is not None:
                continue
            try:
                if isinstance(item, _Differing):
                    self._take_differing(item, release)
                else:
                    self._consider(item, release)
            except (CameraError, ModelError, StorageError) as error:
                log.warning("an example is not kept: %s", error)

    def _take_differing(self, item: _Differing, release: InstalledRelease) -> None:
        camera = item.frame.camera
        if self._selector.is_due(camera, Reason.DISAGREEMENT, monotonic_ns()):
            self._keep(item.frame, item.jpeg, release, Reason.DISAGREEMENT)

    def _consider(self, result: FrameResult, release: InstalledRelease) -> None:
        camera, cause = result.camera, self._ports.drifted().get(result.camera)
        reason = self._selector.choose(
            camera, result.captured_ns, result.boxes, drifted=cause is not None
        )
        if reason is None:
            return
        frame, jpeg = self._ports.grab(camera, self._config.max_width, _QUALITY)
        if reason is Reason.UNCERTAIN and not self._selector.is_uncertain(frame.boxes):
            return
        cause = cause if reason is Reason.DRIFT else None
        self._keep(frame, jpeg, release, reason, cause or "")

    def _keep(
        self,
        frame: FrameGrabbed,
        jpeg: bytes,
        release: InstalledRelease,
        reason: Reason,
        cause: str = "",
    ) -> None:
        example = Example(
            v=EXAMPLE_VERSION,
            device=self._device,
            camera=frame.camera,
            captured_ms=frame.captured_ms,
            reason=reason,
            cause=cause,
            release=release.manifest.release_id,
            labels=list(release.manifest.labels),
            width=frame.width,
            height=frame.height,
            boxes=frame.boxes,
            jpeg=jpeg,
        )
        sealed = close_box(msgspec.msgpack.encode(example), self._key, EXAMPLE_PURPOSE)
        self._ports.budget.spend(len(sealed))
        # Time first, so that names sort by age.
        self._shelf.put(f"{frame.captured_ms:013d}-{frame.camera}", sealed)
