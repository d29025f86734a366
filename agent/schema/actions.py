"""Arguments of the commands that look after a device; those of updates are in `agent.schema.update`."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from agent.schema.values import Counter, Identifier, Struct


class SnapshotArgs(Struct):
    """`snapshot`: `max_width` in pixels; the picture is made smaller where it must fit a reply."""

    camera: Identifier
    max_width: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 1280


class CaptureArgs(Struct):
    """`capture`: so many pictures of one camera, or of each, so long apart."""

    camera: str = ""
    frames: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5
    interval_ms: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 1000


class DailySummariesArgs(Struct):
    """`daily-summaries`: of how many days, today among them."""

    days: Annotated[int, msgspec.Meta(ge=1, le=400)] = 30


class CollectExamplesArgs(Struct):
    """`collect-examples`: those up to `arrived`, the `last` of an earlier reply, are removed first."""

    arrived: Annotated[str, msgspec.Meta(max_length=128)] = ""


class LogLevel(str, enum.Enum):
    """Least level of a log line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogsArgs(Struct):
    """`logs`: lines since the agent's start, newest first, not older than `since_ms` (Unix milliseconds)."""

    level: LogLevel = LogLevel.INFO
    since_ms: Counter = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200


class CameraArgs(Struct):
    """`pause-camera`, `resume-camera` and `learn-view`."""

    camera: Identifier


class RestartWhat(str, enum.Enum):
    """What `restart` starts again."""

    WORKER = "worker"
    AGENT = "agent"


class RestartArgs(Struct):
    """`restart`."""

    what: RestartWhat


class NoArgs(Struct):
    """Commands without arguments."""
