"""The motion gate on scenes made to fool it, and on people who walk by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from agent.schema import ipc
from agent.schema.config import CameraConfig
from agent.schema.motion import MotionConfig
from agent.vision.motion import MotionGate, small_shape
from tests.vision import models
from tests.vision.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FPS = 10
SIZE = (432, 768)
SECONDS = 20


def made_gate(**config: Any) -> MotionGate:
    gate = MotionGate(MotionConfig(enabled=True, **config))
    gate.paused = False
    return gate


def yard() -> NDArray[np.uint8]:
    """A scene with edges: textured ground and a few dark posts."""
    texture = np.random.default_rng(3).integers(60, 150, (54, 96), np.uint8)
    grey = cv2.resize(texture, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    for left in range(40, 768, 150):
        cv2.rectangle(grey, (left, 100), (left + 20, 432), 20, -1)
    made: NDArray[np.uint8] = np.array(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    return made


YARD = yard()


NOISE = np.random.default_rng(11).normal(128, 4.0, (8, *SIZE, 3)).astype(np.uint8)


def noisy(number: int) -> NDArray[np.uint8]:
    made: NDArray[np.uint8] = np.array(
        cv2.addWeighted(YARD, 1, NOISE[number % 8], 1, -128), np.uint8
    )
    return made


def with_person(image: NDArray[np.uint8], number: int, grey: int = 200) -> NDArray[np.uint8]:
    """A person-sized box that walks six pixels a frame."""
    shown: NDArray[np.uint8] = image.copy()
    left = 50 + 6 * number % 600
    shown[200:330, left : left + 45] = grey
    return shown


def looks(gate: MotionGate, frames: Iterable[NDArray[np.uint8]], start_s: float) -> list[bool]:
    return [
        gate.admits(frame, int((start_s + number / FPS) * 1e9))
        for number, frame in enumerate(frames)
    ]


def settled(gate: MotionGate, scene: Callable[[int], NDArray[np.uint8]]) -> None:
    """Let the gate see `scene` until it knows it."""
    looks(gate, (scene(number) for number in range(SECONDS * FPS)), 1000.0)


def share_of_looks(gate: MotionGate, scene: Callable[[int], NDArray[np.uint8]]) -> float:
    settled(gate, scene)
    seen = looks(gate, (scene(number) for number in range(SECONDS * FPS)), 1000.0 + SECONDS)
    return sum(seen) / len(seen)


def shaken(number: int) -> NDArray[np.uint8]:
    x, y = np.random.default_rng(number).uniform(-5, 5, 2)
    shift = np.array([[1.0, 0, x], [0, 1.0, y]])
    moved = cv2.warpAffine(YARD, shift, SIZE[::-1], borderMode=cv2.BORDER_REPLICATE)
    made: NDArray[np.uint8] = np.array(moved, np.uint8)
    return made


def rainy(number: int) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = YARD.copy()
    for x, y in np.random.default_rng(number).integers(0, (768, 432), (60, 2)).tolist():
        cv2.line(image, (x, y), (x - 3, y + 18), (200, 200, 200), 1)
    return image


def dimming(number: int) -> NDArray[np.uint8]:
    """Clouds: the light goes down and up by a third within twenty seconds."""
    dimmed: NDArray[np.uint8] = (YARD * (0.85 + 0.15 * np.cos(number / 30))).astype(np.uint8)
    return dimmed


@pytest.mark.parametrize(
    "scene",
    [lambda _: YARD, noisy, shaken, rainy, dimming],
    ids=["still", "sensor noise", "shaking camera", "rain", "clouds"],
)
def test_a_scene_without_objects_is_looked_at_now_and_then(
    scene: Callable[[int], NDArray[np.uint8]],
) -> None:
    assert share_of_looks(made_gate(idle_s=10.0), scene) <= 0.1


@pytest.mark.parametrize(
    "scene",
    [lambda _: YARD, noisy, shaken, rainy, dimming],
    ids=["still", "sensor noise", "shaking camera", "rain", "clouds"],
)
def test_a_person_is_seen_in_every_one_of_them(
    scene: Callable[[int], NDArray[np.uint8]],
) -> None:
    gate = made_gate(idle_s=100.0)
    settled(gate, scene)
    walk = (with_person(scene(number), number) for number in range(3 * FPS))
    seen = looks(gate, walk, 1000.0 + SECONDS)
    assert any(seen[:3])
    assert sum(seen) >= len(seen) - 3


def test_a_lamp_that_is_switched_on_opens_the_gate_and_is_got_used_to() -> None:
    gate = made_gate(idle_s=100.0)
    settled(gate, lambda _: YARD)
    lit = np.clip(YARD * 1.6 + 20, 0, 255).astype(np.uint8)
    seen = looks(gate, [lit] * (15 * FPS), 1000.0 + SECONDS)
    assert any(seen[:3])
    assert not any(seen[-3 * FPS :])


def test_motion_behind_a_mask_counts_for_nothing() -> None:
    street = [(0.0, 0.4), (1.0, 0.4), (1.0, 0.8), (0.0, 0.8)]
    masked, bare = made_gate(idle_s=100.0, masks=[street]), made_gate(idle_s=100.0)
    for gate in (masked, bare):
        settled(gate, lambda _: YARD)
    walk = [with_person(YARD, number) for number in range(2 * FPS)]
    assert not any(looks(masked, walk, 1000.0 + SECONDS))
    assert any(looks(bare, walk, 1000.0 + SECONDS))


def test_what_stands_still_is_looked_at_more_often() -> None:
    gate = made_gate(idle_s=100.0, still_s=1.0)
    settled(gate, lambda _: YARD)
    gate.saw(objects=True)
    seen = looks(gate, [YARD] * (10 * FPS), 1000.0 + SECONDS)
    assert 7 + 2 * FPS <= sum(seen) <= 11 + 2 * FPS  # hold_s after the change, then once a second


def test_an_object_that_flickers_does_not_hold_the_gate_open() -> None:
    gate = made_gate(idle_s=100.0, still_s=1.0)
    settled(gate, lambda _: YARD)
    gate.saw(objects=True)
    looks(gate, [YARD] * (3 * FPS), 1000.0 + SECONDS)
    seen = 0
    for number in range(20 * FPS):
        if looks(gate, [YARD], 1003.0 + SECONDS + number / FPS) == [True]:
            seen += 1
            gate.saw(objects=seen % 2 == 0)
    assert 18 <= seen <= 22


def test_every_frame_passes_while_the_gate_is_paused() -> None:
    gate = made_gate(idle_s=100.0)
    settled(gate, lambda _: YARD)
    gate.paused = True
    assert gate.state == "paused"
    assert all(looks(gate, [YARD] * 20, 1000.0 + SECONDS))


def test_a_change_of_resolution_opens_the_gate() -> None:
    gate = made_gate(idle_s=100.0)
    settled(gate, lambda _: YARD)
    assert gate.state == "closed"
    assert looks(gate, [YARD[:200, :300]], 1000.0 + SECONDS) == [True]
    assert gate.state == "open"


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2160, 3840), (7, 9)])
def test_pictures_of_any_size_are_compared(size: tuple[int, int]) -> None:
    gate = made_gate()
    image = np.zeros((*size, 3), np.uint8)
    assert all(side >= 1 for side in small_shape(*size))
    assert looks(gate, [image, image], 5.0)[0]


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.process.kill()
    made.process.wait(30)
    made.wire.close()


def test_a_worker_closes_its_gates_only_where_it_may(peer: Peer, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "still.png"), YARD)
    peer.next(ipc.Ready)
    peer.load(models.onnx_model())
    refused = peer.ask(ipc.Failed, ipc.AllowGates, allowed=True)
    assert "no cameras" in refused.message
    motion = MotionConfig(enabled=True, idle_s=60.0, still_s=60.0, hold_s=0.5)
    peer.open_cameras(CameraConfig(name="door", source=str(tmp_path), fps=20.0, motion=motion))
    gate_is(peer, "paused")
    peer.ask(ipc.Done, ipc.AllowGates, allowed=True)
    gate_is(peer, "closed")
    peer.ask(ipc.Done, ipc.AllowGates, allowed=False)
    gate_is(peer, "paused")
    peer.next(ipc.FrameResult)


def gate_is(peer: Peer, state: str) -> None:
    for _ in range(20):
        if peer.next(ipc.Heartbeat).cameras[0].gate == state:
            return
    raise AssertionError(f"the gate is not {state}")
