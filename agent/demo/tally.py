"""What was seen during the demonstration, counted from the messages the device sent."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from typing import Any

from agent.demo.releases import TRUTH
from agent.schema.events import Event
from agent.schema.messages import Detections, Telemetry
from agent.schema.topics import ParsedTopic
from agent.schema.values import Box
from agent.vision.accuracy import coco_accuracy, coco_results

_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class Tally:
    """Observes the controller's inbox; `observe` runs in its network thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages_ms: dict[str, list[float]] = defaultdict(list)
        self._found: dict[str, dict[int, list[Box]]] = defaultdict(dict)
        self._memory_mb = {"control": 0.0, "worker": 0.0}
        self.frames = self.boxes = self.events = self.messages = 0

    def observe(self, _topic: ParsedTopic, message: Any) -> None:
        """Count one message."""
        with self._lock:
            self.messages += 1
            match message:
                case Detections():
                    self._count_frame(message)
                case Event():
                    self.events += 1
                case Telemetry():
                    self._count_memory(message)
                case _:
                    pass

    def facts(self) -> dict[str, Any]:
        """Return what was counted, for `--json`; the accuracy is at the device's own confidence."""
        with self._lock:
            return {
                "frames": self.frames,
                "detections": self.boxes,
                "events": self.events,
                "messages": self.messages,
                "stages_ms": {name: _percentiles(ms) for name, ms in self._stages_ms.items()},
                "accuracy": {release: _score(found) for release, found in self._found.items()},
                "memory_pss_mb": dict(self._memory_mb),
            }

    def _count_frame(self, message: Detections) -> None:
        self.frames += 1
        self.boxes += len(message.boxes)
        self._found[message.release][message.frame] = message.boxes
        for stage, ms in message.stages_ms.items():
            self._stages_ms[stage].append(ms)

    def _count_memory(self, message: Telemetry) -> None:
        peaks = {"control": message.control_pss_mb, "worker": message.worker_pss_mb}
        self._memory_mb = {name: max(self._memory_mb[name], peaks[name]) for name in peaks}


def _percentiles(values_ms: list[float]) -> dict[str, float]:
    ordered = sorted(values_ms)
    return {
        name: round(ordered[int(share * (len(ordered) - 1))], 3) for name, share in _SHARES.items()
    }


def _score(found: dict[int, list[Box]]) -> dict[str, Any]:
    """Score one release on the frames of the video it was seen with, each once."""
    truth = json.loads(TRUTH.read_text())
    results = [result for frame, boxes in found.items() for result in coco_results(frame, boxes)]
    accuracy = coco_accuracy(truth, results, list(found))
    return {
        "map50_95": round(accuracy.map50_95, 4),
        "map50": round(accuracy.map50, 4),
        "frames": sorted(found),
    }
