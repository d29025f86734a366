"""How objects become events, and what of them is kept on disk: the operator's `events` section."""

from __future__ import annotations

from agent.schema.values import Counter, Fraction, Positive, PositiveFloat, Struct
from agent.schema.zones import Label


class SnapshotConfig(Struct):
    """The best picture of each object; `max_width` in pixels, `quality` of the JPEG from 1 to 100."""

    enabled: bool = True
    max_width: Positive = 1280
    quality: Positive = 85


class ClipConfig(Struct):
    """A short film of each object, from `pre_s` before it appeared to `post_s` after it was gone.

    Attributes:
        fps: Frames a second that are kept.
        max_s: Longest clip, seconds; it begins at the object's appearance.
        max_width: Width of its frames, pixels.
        quality: Of its frames' JPEGs, 1 to 100.
    """

    enabled: bool = False
    fps: PositiveFloat = 5.0
    pre_s: PositiveFloat = 3.0
    post_s: PositiveFloat = 3.0
    max_s: PositiveFloat = 30.0
    max_width: Positive = 640
    quality: Positive = 75


class StoreConfig(Struct):
    """Bounds of what is kept on disk; the oldest pictures go first.

    Attributes:
        max_mb: All pictures and clips together, MiB.
        retain_days: Events older than this are forgotten with their pictures.
        min_free_mb: With less free space on the file system no picture is written.
    """

    max_mb: Positive = 256
    retain_days: PositiveFloat = 14.0
    min_free_mb: Counter = 128


class EventConfig(Struct):
    """When an object is an event, and how often it is reported.

    Attributes:
        labels: Classes that make events; empty for all of the model's.
        min_frames: Frames in which an object must have been seen before it is announced.
        min_score: Best score it must have reached by then.
        end_after_s: Seconds unseen after which it is gone.
        update_every_s: Least time between two updates of one object.
        stationary_after_s: Seconds in one place after which it is stationary.
    """

    labels: list[Label] = []
    min_frames: Positive = 3
    min_score: Fraction = 0.0
    end_after_s: PositiveFloat = 2.0
    update_every_s: PositiveFloat = 1.0
    stationary_after_s: PositiveFloat = 10.0
    snapshots: SnapshotConfig = SnapshotConfig()
    clips: ClipConfig = ClipConfig()
    store: StoreConfig = StoreConfig()
