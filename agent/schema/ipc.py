"""Messages between the control process and the worker: MessagePack over a SOCK_SEQPACKET pair.

One datagram is one message; file descriptors ride beside it (SCM_RIGHTS). Large bytes (models, golden
sets, pictures) are always memfds, so a datagram stays under `MAX_MESSAGE_BYTES`.
The worker answers every request with the same `id`, or with `Failed`.
Monotonic times are CLOCK_MONOTONIC nanoseconds, comparable between the two processes.
"""

from __future__ import annotations

from agent.schema.camera_report import CameraReport
from agent.schema.config import CameraConfig
from agent.schema.drift import FigureRules, FrameFigures
from agent.schema.engine import EnginePlan, GpuFacts
from agent.schema.events import Event, EventId, PictureKind, ZoneEvent
from agent.schema.manifest import Variant
from agent.schema.recording import EventConfig
from agent.schema.values import Box, Ranked, Shape, Struct

MAX_MESSAGE_BYTES = 96 * 1024
# Points in all shapes of one frame; one of three numbers takes 28 bytes.
MAX_SHAPE_POINTS = 2048


class Message(Struct, tag=True):
    """A tagged message; the tag is the class name."""


# control -> worker -----------------------------------------------------------------------------------
class LoadModel(Message):
    """Load the plaintext model in the attached memfd and warm it up.

    `providers` are ONNX Runtime's, in order of preference before the CPU; `delegates` are LiteRT's.
    `is_engine`: the memfd holds the TensorRT engine built from the payload, not the payload itself. The
    payload of a `tensorrt` variant is ONNX, which ONNX Runtime serves. `figures` says which frames are measured for
    the release's drift baseline; null for none. `streams` frames run at the same time, each with its share of `threads`.
    """

    id: int
    release: str
    variant: Variant
    labels: list[str]
    threads: int
    confidence: float
    iou: float
    providers: list[str] = []
    delegates: list[str] = []
    is_engine: bool = False
    streams: int = 1
    figures: FigureRules | None = None


class DescribeGpu(Message):
    """Ask what a TensorRT engine would be bound to here."""

    id: int


class BuildEngine(Message):
    """Build a TensorRT engine from the plaintext ONNX model in the attached memfd."""

    id: int
    plan: EnginePlan


class RunGolden(Message):
    """Run the golden set (plaintext MessagePack `GoldenSet`) in the attached memfd."""

    id: int
    variant: str
    min_match: float
    match_iou: float
    score_tolerance: float


class DetectPicture(Message):
    """Find the objects in the attached JPEG (a memfd) with these thresholds."""

    id: int
    confidence: float
    iou: float


class OpenCameras(Message):
    """Start capture and inference; looping files were at frame 0 at `epoch_ns`; `max_fps` as in `SetRate`."""

    id: int
    device: str
    boot: str
    cameras: list[CameraConfig]
    epoch_ns: int
    default_fps: float
    max_fps: float = 0.0
    events: EventConfig = EventConfig()


class SetRate(Message):
    """Infer at most `max_fps` frames a second of every open camera; 0 infers all that inference can take."""

    id: int
    max_fps: float


class AllowGates(Message):
    """Let motion gates keep frames from the model, or not; they may not when cameras are opened."""

    id: int
    allowed: bool


class CloseCameras(Message):
    """Stop capture; the model stays loaded."""

    id: int


class GrabFrame(Message):
    """Ask for a camera's newest frame as JPEG, at most `max_width` pixels wide."""

    id: int
    camera: str
    max_width: int
    quality: int


class Shutdown(Message):
    """Stop all and exit with 0."""

    id: int


Request = (
    LoadModel
    | RunGolden
    | DetectPicture
    | OpenCameras
    | SetRate
    | AllowGates
    | CloseCameras
    | GrabFrame
    | DescribeGpu
    | BuildEngine
    | Shutdown
)


# worker -> control -----------------------------------------------------------------------------------
class Ready(Message):
    """First message of a worker."""

    pid: int


class Done(Message):
    """The request `id` was carried out."""

    id: int


class Failed(Message):
    """The request `id` failed (0: not in answer to a request). `kind` is the error's class name."""

    id: int
    kind: str
    code: str
    message: str


class ModelLoaded(Message):
    """The model is loaded and warm. `notes` say what of the wished set-up this machine does not have."""

    id: int
    load_ms: float
    first_inference_ms: float
    notes: list[str] = []


class GpuDescribed(Message):
    """Answer to `DescribeGpu`."""

    id: int
    gpu: GpuFacts


class BuildProgress(Message):
    """How far a build is, not in answer to a request: `step` of `steps` in its outermost phase."""

    phase: str
    step: int
    steps: int


class EngineBuilt(Message):
    """The engine is in the attached memfd; `gpu` is what it is bound to."""

    id: int
    gpu: GpuFacts
    build_ms: float


class GoldenFinished(Message):
    """Shares of expected boxes found and of found ones expected, p95; what is wrong, and the first stage that differs."""

    id: int
    frames: int
    recall: float
    precision: float
    p95_ms: float
    problem: str = ""
    stage: str = ""


class PictureDetected(Message):
    """Boxes in the picture's pixels, best first; `stages_ms` has pre, infer and post."""

    id: int
    boxes: list[Box]
    stages_ms: dict[str, float]


class FrameGrabbed(Message):
    """The JPEG is in the attached memfd; `frame` and `boxes` belong to that picture."""

    id: int
    camera: str
    frame: int
    captured_ms: int
    width: int
    height: int
    boxes: list[Box]


class FrameResult(Message):
    """Boxes of one processed frame; `stages_ms` has capture, queue, pre, infer, post, publish.

    `error` is the code of a failed inference, empty when it worked. `shapes` belong to the first of `boxes`,
    in their order; `MAX_SHAPE_POINTS` bounds them. `ranking` holds a classifier's best classes, best first. `figures`
    come with the frames that are measured.
    """

    camera: str
    frame: int
    captured_ms: int
    captured_ns: int
    finished_ns: int
    width: int
    height: int
    boxes: list[Box]
    stages_ms: dict[str, float]
    error: str = ""
    shapes: list[Shape] = []
    ranking: list[Ranked] = []
    figures: FrameFigures | None = None


class ObjectEvent(Message):
    """An object appeared, changed or left."""

    event: Event


class PlaceNotice(Message):
    """An object did something at a zone or a line."""

    event: ZoneEvent


class EventPicture(Message):
    """A picture or clip of an event is in the attached memfd; it comes after the message that tells of it."""

    event: EventId
    kind: PictureKind


class Heartbeat(Message):
    """Sent every second while every loop of the worker makes progress."""

    at_ns: int
    cameras: list[CameraReport]


Answer = (
    Ready
    | Done
    | Failed
    | ModelLoaded
    | GoldenFinished
    | PictureDetected
    | FrameGrabbed
    | GpuDescribed
    | EngineBuilt
    | BuildProgress
    | FrameResult
    | ObjectEvent
    | PlaceNotice
    | EventPicture
    | Heartbeat
)
