"""One camera's desk: frames with made-up detections go in, messages come out."""

import threading
import time
from itertools import count

import numpy as np
import pytest

from agent.host.clock import monotonic_ns
from agent.host.seqpacket import wire_pair
from agent.schema import ipc
from agent.schema.avi import read_avi
from agent.schema.camera_report import CameraReport
from agent.schema.config import CameraConfig
from agent.schema.document import parse_msgpack
from agent.schema.events import Event, PictureKind, PlaceAction
from agent.schema.recording import ClipConfig, EventConfig
from agent.schema.zones import LineConfig, PrivacyConfig, ZoneConfig
from agent.vision.album import worth
from agent.vision.cameras import Frame
from agent.vision.desk import CameraDesk, DeskRules, Parcel, Processed
from agent.vision.detector import Detected
from agent.vision.events import Stage
from agent.vision.privacy import Redactor
from agent.vision.publisher import Publisher

STAGE = Stage("d1", "door", "0123456789abcdef", "people 3", ["person", "dog"])
STEP_MS = 100
WIDTH, HEIGHT = 200, 100
Box = tuple[float, float, float, float]


class Film:
    """Feeds a desk ten frames a second and keeps what comes out."""

    def __init__(self, camera: CameraConfig | None = None, **events: object) -> None:
        camera = camera or CameraConfig(name="door", source="pattern:")
        rules = DeskRules(STAGE, 0.25, camera, EventConfig(**events))  # type: ignore[arg-type]
        self.desk = CameraDesk(rules, Redactor(camera.privacy, STAGE.labels))
        self.parcels: list[Parcel] = []
        self._numbers = count()
        self._start_ns = monotonic_ns()

    def show(self, *boxes: Box, score: float = 0.9, label: int = 0, times: int = 1) -> None:
        for _ in range(times):
            self.parcels += self.desk.take(self.frame(boxes, score, label))

    def frame(self, boxes: tuple[Box, ...], score: float, label: int) -> Processed:
        number = next(self._numbers)
        at_ns = self._start_ns + number * STEP_MS * 1_000_000
        image = np.full((HEIGHT, WIDTH, 3), number % 250, np.uint8)
        frame = Frame(image, number, 1_700_000_000_000 + number * STEP_MS, at_ns, 0.1)
        found = Detected(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(len(boxes), score, np.float32),
            np.full(len(boxes), label, np.int32),
            {},
        )
        return Processed("door", frame, found, 0.0, at_ns)

    def messages(self, kind: type) -> list:
        return [one.message for one in self.parcels if isinstance(one.message, kind)]

    @property
    def events(self) -> list[Event]:
        return [one.event for one in self.messages(ipc.ObjectEvent)]

    def pictures(self, kind: PictureKind) -> list[bytes]:
        return [
            one.data
            for one in self.parcels
            if isinstance(one.message, ipc.EventPicture) and one.message.kind is kind
        ]


def box(left: float, top: float = 30.0, side: float = 40.0) -> Box:
    return (left, top, left + side, top + side)


def test_the_result_of_a_frame_goes_out_before_all_that_it_causes() -> None:
    film = Film()
    film.show(box(50), times=3)
    kinds = [type(one.message).__name__ for one in film.parcels[2:]]
    assert kinds == ["FrameResult", "ObjectEvent", "EventPicture", "EventPicture"]


def test_a_better_picture_replaces_the_snapshot_and_a_worse_one_does_not() -> None:
    film = Film()
    film.show(box(50, side=20), times=15)
    film.show(box(50, side=22), times=15)
    film.show(box(45, top=20, side=40), times=15)
    film.show(box(50, side=20), times=15)
    assert len(film.pictures(PictureKind.SNAPSHOT)) == 3
    facts = film.events[-1].snapshot
    assert facts is not None
    assert facts.box == (45, 20, 85, 60)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((0.9, box(50)), (0.6, box(50))),
        ((0.6, box(50, side=40)), (0.6, box(50, side=20))),
        ((0.6, box(50)), (0.9, box(0))),
    ],
)
def test_a_picture_is_worth_more_if_surer_larger_whole(
    better: tuple[float, Box], worse: tuple[float, Box]
) -> None:
    shape = (HEIGHT, WIDTH, 3)
    assert worth(*better, shape) > worth(*worse, shape)


def test_a_clip_reaches_from_before_the_object_to_after_it() -> None:
    clips = ClipConfig(enabled=True, fps=10.0, pre_s=0.5, post_s=0.5, max_s=5.0)
    film = Film(clips=clips, end_after_s=0.3)
    film.show(times=20)
    film.show(box(50), times=10)
    film.show(times=20)
    assert [event.has_clip for event in film.events] == [True, True]
    (clip,) = film.pictures(PictureKind.CLIP)
    frames = len(read_avi(clip).frames)
    # 5 before, 10 with it, 3 until its end is sure, 5 after.
    assert frames == 23


def test_a_long_stay_makes_one_clip_of_bounded_length() -> None:
    film = Film(clips=ClipConfig(enabled=True, fps=10.0, pre_s=0.5, post_s=0.5, max_s=1.0))
    film.show(box(50), times=60)
    (clip,) = film.pictures(PictureKind.CLIP)
    assert len(read_avi(clip).frames) <= 16


def test_zone_and_line_are_told_with_the_event_they_belong_to() -> None:
    camera = CameraConfig(
        name="door",
        source="pattern:",
        zones=[ZoneConfig(name="left", polygon=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)], inertia=1)],
        lines=[LineConfig(name="gate", start=(0.5, 1.0), end=(0.5, 0.0))],
    )
    film = Film(camera)
    film.show(box(20), times=5)
    for left in range(20, 140, 15):
        film.show(box(left))
    film.parcels += film.desk.close()
    told = [(one.event.place, one.event.type.value) for one in film.messages(ipc.PlaceNotice)]
    assert told == [("left", "enter"), ("left", "leave"), ("gate", "cross")]
    assert {one.event.event for one in film.messages(ipc.PlaceNotice)} == {film.events[0].id}
    assert film.events[-1].entered_zones == ["left"]
    assert film.events[-1].current_zones == []
    zones, lines = film.desk.places
    assert (zones[0].entered, lines[0].forward, lines[0].backward) == (1, 1, 0)


def test_classes_that_the_model_does_not_know_are_a_problem_that_is_told() -> None:
    camera = CameraConfig(
        name="door",
        source="pattern:",
        lines=[LineConfig(name="gate", start=(0, 0), end=(1, 1), labels=["persn"])],
    )
    assert "persn" in Film(camera).desk.problem


def test_a_camera_without_snapshots_sends_no_pictures() -> None:
    film = Film(CameraConfig(name="door", source="pattern:", privacy=PrivacyConfig(blur=["cat"])))
    film.show(box(50), times=10)
    assert [event.has_snapshot for event in film.events] == [False]
    assert film.desk.newest is None


def test_what_is_open_ends_when_a_camera_is_lost_and_stays_while_it_only_rests() -> None:
    camera = CameraConfig(
        name="door",
        source="pattern:",
        zones=[ZoneConfig(name="all", polygon=[(0, 0), (1, 0), (1, 1), (0, 1)], inertia=1)],
    )
    film, status = Film(camera), ["streaming"]
    ours, theirs = wire_pair()
    publisher = Publisher(ours, lambda: True, lambda: [report(status[0])])
    for _ in range(5):
        publisher.hand(film.desk, film.frame((box(50),), 0.9, 0))
        publisher._publish(publisher._handed.get())
    film.desk._fed_ns -= 60 * 10**9  # a minute without frames
    beat(publisher)
    assert "end" not in heard(theirs)
    status[0] = "failed"
    beat(publisher)
    beat(publisher)
    assert heard(theirs) == [PlaceAction.LEAVE, "end"]


@pytest.mark.parametrize(
    ("patient", "arrived"), [(True, list(range(40))), (False, list(range(24, 40)))]
)
def test_results_are_dropped_or_waited_with_while_nobody_takes_them(
    *, patient: bool, arrived: list[int]
) -> None:
    film = Film()
    ours, theirs = wire_pair()
    publisher = Publisher(ours, lambda: True, list)
    frames = [film.frame((), 0.9, 0) for _ in range(40)]

    def hand_all() -> None:
        for frame in frames:
            publisher.hand(film.desk, frame, patient=patient)

    hands, stop = threading.Thread(target=hand_all), threading.Event()
    hands.start()
    hands.join(0 if patient else 30)
    publishes = threading.Thread(target=publisher.run, args=(stop,))
    publishes.start()
    seen: list[int] = []
    while len(seen) < len(arrived) and (received := theirs.receive(30)) is not None:
        message = parse_msgpack(received[0], ipc.Answer)
        seen += [message.frame] if isinstance(message, ipc.FrameResult) else []
    stop.set()
    hands.join(30)
    publishes.join(30)
    assert seen == arrived


def beat(publisher: Publisher) -> None:
    publisher._sent_ns = 0
    publisher._beat()


def heard(wire: object) -> list[str]:
    """What came, of events and places."""
    said: list[str] = []
    end = time.monotonic() + 10
    while time.monotonic() < end and (received := wire.receive(0.2)) is not None:  # type: ignore[attr-defined]
        message = parse_msgpack(received[0], ipc.Answer)
        if isinstance(message, ipc.ObjectEvent | ipc.PlaceNotice):
            said.append(message.event.type)
    return said


def report(status: str) -> CameraReport:
    return CameraReport(name="door", status=status, fps=10.0, captured=5, processed=5, dropped=0)
