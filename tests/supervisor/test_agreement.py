"""A candidate that does not see what the serving model sees is refused before the swap, where that is asked for."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import msgspec
import pytest

from agent.errors import ModelError
from agent.host.memfd import memfd_of
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.config import CameraConfig, DetectConfig
from agent.schema.manifest import GoldenFrame, GoldenSet, ProbationSpec
from agent.schema.values import Box
from agent.schema.zones import PrivacyConfig
from agent.supervisor import Conversation, Listeners, Supervisor, WorkerSettings
from agent.supervisor.agreement import FRAMES, LEAST_OBJECTS, Agreement
from agent.supervisor.routing import Serving
from agent.update.ports import Strain
from tests.parts.streams import wait_for
from tests.supervisor.releases import release as installed
from tests.vision import models
from tests.vision.peer import variant

GAINS = {"sees": 1.0, "agrees": 0.9, "blind": 0.01}
BELT = CameraConfig(name="belt", source="belt.mp4")
SETTINGS = WorkerSettings(
    device="cam-1",
    boot="boot",
    cameras=[BELT],
    detect=DetectConfig(),
    default_fps=50,
    threads=1,
    memory_mb=1024,
    min_agreement=0.8,
    agreement_pause_s=0.01,
)


def release(
    name: str, labels: list[str] = models.LABELS, min_agreement: float | None = None
) -> InstalledRelease:
    made = installed(variant())
    asked = ProbationSpec(min_agreement=min_agreement)
    manifest = msgspec.structs.replace(made.manifest, name=name, labels=labels, probation=asked)
    ref = msgspec.structs.replace(made.ref, path=f"models/test/{name}/1.0/manifest.json")
    return replace(made, manifest=manifest, ref=ref)


# with real workers --------------------------------------------------------------------------------------


def payload(of: InstalledRelease) -> int:
    return memfd_of(models.onnx_model(gain=GAINS[of.manifest.name]), "model")


def golden(of: InstalledRelease) -> int:
    """What its makers expect; of a blind model nothing, so that its own golden set passes."""
    made = msgspec.msgpack.decode(models.golden_set(), type=GoldenSet)
    boxes = [] if of.manifest.name == "blind" else made.frames[0].expected["onnx"]
    frame = GoldenFrame(made.frames[0].image, {of.variant.id: boxes})
    return memfd_of(msgspec.msgpack.encode(GoldenSet([frame], 0.25, 0.6)), "golden")


def test_a_blind_candidate_is_refused_and_one_that_agrees_is_not(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), models.colour_frame(0))
    settings = replace(SETTINGS, cameras=[CameraConfig(name="belt", source=str(tmp_path))])
    talk = Conversation(settings, payload, golden)
    listeners = Listeners(lambda *_: None, lambda _: None, lambda: None)
    supervisor = Supervisor(settings, talk, listeners, lambda _: Strain())
    supervisor.want(release("sees"))
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: supervisor.health().frames > 0)
        with pytest.raises(ModelError) as caught:
            supervisor.trial(release("blind"))
        assert caught.value.code == "model.agreement"
        assert supervisor.release == release("sees")
        supervisor.trial(release("agrees"))
        supervisor.swap()
        assert supervisor.release == release("agrees")
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


# what is compared ---------------------------------------------------------------------------------------


class Talk:
    """A serving worker that sees so many red things in every picture, and gives none of a dark camera."""

    def __init__(self, red_things: int = 1) -> None:
        self.boxes = [Box(label=0, score=0.9, x_min=1, y_min=2, x_max=3, y_max=4)] * red_things
        self.asked: list[str] = []

    def grab(self, _worker: object, camera: str, width: int, quality: int) -> Any:  # noqa: ARG002
        self.asked.append(camera)
        if camera == "dark":
            raise ModelError("no picture", code="camera.no_picture")
        grabbed = ipc.FrameGrabbed(
            id=1, camera=camera, frame=1, captured_ms=1, width=8, height=8, boxes=self.boxes
        )
        return grabbed, b"jpeg"


def look(
    talk: Talk, candidate: InstalledRelease, *cameras: CameraConfig, gives_up: bool = False
) -> GoldenSet | None:
    settings = replace(SETTINGS, cameras=list(cameras or (BELT,)))
    agreement = Agreement(settings, cast("Conversation", talk), lambda _: gives_up)
    return agreement.look(Serving(cast("Any", None), release("sees")), candidate)


def camera(name: str, **changes: Any) -> CameraConfig:
    return msgspec.structs.replace(BELT, name=name, **changes)


def test_the_cameras_take_turns_and_one_without_a_picture_is_passed_over() -> None:
    talk = Talk(red_things=2)
    seen = look(talk, release("agrees"), BELT, camera("dark"), camera("door"))
    assert talk.asked[:3] == ["belt", "dark", "door"]
    assert seen is not None
    assert len(seen.frames) == FRAMES - FRAMES // 3


def test_labels_are_compared_by_their_names() -> None:
    seen = look(Talk(), release("agrees", ["green", "blue", "red"]))
    assert seen is not None
    assert {box[0] for frame in seen.frames for box in frame.expected["onnx"]} == {2}


@pytest.mark.parametrize(
    ("candidate", "talk", "filmed"),
    [
        (release("agrees", min_agreement=0.0), Talk(), BELT),
        (release("agrees", ["cat", "dog"]), Talk(), BELT),
        (release("agrees"), Talk(0), BELT),
        (release("agrees"), Talk(), camera("a", privacy=PrivacyConfig(blur=["red"]))),
    ],
    ids=["not asked for", "other labels", "empty scene", "blurred"],
)
def test_where_nothing_can_be_compared_nothing_is(
    candidate: InstalledRelease, talk: Talk, filmed: CameraConfig
) -> None:
    assert FRAMES >= LEAST_OBJECTS
    assert look(talk, candidate, filmed) is None


def test_an_agent_that_stops_looks_no_further() -> None:
    talk = Talk()
    assert look(talk, release("agrees"), gives_up=True) is None
    assert talk.asked == []
