"""Measurements of cameras, one function for each word of the command line; see `scripts/show_cameras`."""

from __future__ import annotations

import gc
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.schema.config import CameraConfig
from agent.schema.motion import MotionConfig
from agent.vision.detector import load_detector
from agent.vision.motion import MotionGate
from agent.vision.pipeline import Pipeline, Scene
from agent.vision.process import set_up_process
from tests.parts.streams import FILM, HttpServer, Relay, RtspServer, encoded, wait_for
from tests.vision.filming import Filming, setup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.vision.desk import Processed
    from agent.vision.detector import Detector

_MODEL = Path(__file__).resolve().parents[2] / "agent/demo/bundled/parts-1.onnx"
_LONG_S = 120.0


def recovery() -> None:
    """Print how long faults take to be noticed, and streams to be back."""
    server = RtspServer(FILM.parent)
    relay = Relay(server.port)
    with Filming(setup(server.url(FILM.name, relay.port))) as filming:
        filming.wait()
        for name, fault, mend in (
            ("connection cut, host refuses", relay.cut, relay.listen),
            ("link silent, connection stands", relay.freeze, relay.thaw),
            ("server killed", server.kill, server.start),
        ):
            noticed, back = [], []
            for _ in range(3):
                time.sleep(1)
                noticed.append(_seconds(fault, lambda: filming.report.status != "streaming"))
                time.sleep(3)
                mend()
                back.append(_seconds(_nothing, lambda: filming.report.status == "streaming"))
            print(f"{name}: noticed {_range(noticed)} s, back {_range(back)} s after it returned")
    relay.cut()
    server.kill()


def reconnects(times: str = "1000") -> None:
    """Print memory, threads and file descriptors over many reconnects, eight cameras at once."""
    with tempfile.TemporaryDirectory() as folder:
        data = encoded(Path(folder) / "short.ts", [(320, 240)], frames=5)
        server = HttpServer({"/live.ts": lambda: iter([data])})
        rtsp = RtspServer(FILM.parent)
        relay = Relay(rtsp.port)
        sources = [f"http://127.0.0.1:{server.port}/live.ts"] * 4
        sources += [rtsp.url(FILM.name, relay.port)] * 4
        stop = threading.Event()
        threading.Thread(target=_drop_often, args=(relay, stop), daemon=True).start()
        filmings = [Filming(setup(source)) for source in sources]
        for filming in filmings:
            filming.__enter__()
        started, step = time.monotonic(), max(1, int(times) // 10)
        print("reconnects  seconds  resident MB  threads  descriptors")
        for goal in range(step, int(times) + 1, step):
            while sum(one.report.reconnects for one in filmings) < goal:
                time.sleep(0.1)
            gc.collect()
            spent_s = time.monotonic() - started
            print(
                f"{goal:10d} {spent_s:8.0f} {_resident_mb():12.1f} {threading.active_count():8d} "
                f"{len(list(Path('/proc/self/fd').iterdir())):12d}",
                flush=True,
            )
        counts = dict.fromkeys(("http", "rtsp"), 0)
        for one in filmings:
            counts[one.setup.config.source[:4]] += one.report.reconnects
        print(f"of these {counts}")
        stop.set()
        _leave()


def fairness() -> None:
    """Print what each of several cameras gets of one model, with and without dead ones beside them."""
    server = RtspServer(FILM.parent)
    relay = Relay(server.port)
    alive = [
        CameraConfig(name="slow-5", source="pattern:640x360", fps=5.0),
        CameraConfig(name="middle-10", source="pattern:640x360", fps=10.0),
        CameraConfig(name="fast-60", source="pattern:640x360", fps=60.0),
        CameraConfig(name="capped-3", source=str(FILM), fps=3.0),
    ]
    dead = [
        CameraConfig(name="dead", source="rtsp://127.0.0.1:9/live"),
        CameraConfig(name="frozen", source=server.url(FILM.name, relay.port)),
    ]
    detector = load_detector(_MODEL, threads=2)
    alone = _rates(detector, alive, 10.0)

    beside = _rates(detector, [*alive, *dead], 10.0, relay.freeze)
    print("camera       frames/s alone   p95 ms   beside dead and frozen   p95 ms")
    for camera in alive:
        (one, late), (two, later) = alone[camera.name], beside[camera.name]
        print(f"{camera.name:12s} {one:14.2f} {late:8.1f} {two:24.2f} {later:8.1f}")
    server.kill()
    _leave()


def motion(model: str, clip: str) -> None:
    """Print which events of a clip the gate misses, and what a still scene costs with and without it."""
    detector = load_detector(Path(model), threads=2)
    frames = _frames(clip)
    seen = [_is_person(detector, frame) for frame in frames]
    gate = MotionGate(MotionConfig(enabled=True))
    gate.paused = False
    looked = []
    for number, frame in enumerate(frames):
        looked.append(gate.admits(frame, int((1000 + number / 10) * 1e9)))
        if looked[-1]:
            gate.saw(objects=seen[number])
    print("event  first frame  last frame  frames looked at  first look after, frames")
    for number, (first, last) in enumerate(_events(seen)):
        hits = [at for at in range(first, last + 1) if looked[at] and seen[at]]
        late = hits[0] - first if hits else "MISSED"
        print(f"{number:5d} {first:12d} {last:11d} {len(hits):17d} {late!s:>25s}")
    empty = [frame for frame, has in zip(frames, seen, strict=True) if not has][:40]
    with tempfile.TemporaryDirectory() as folder:
        path = _film(Path(folder) / "still.mp4", empty)
        always, gated = (_cpu_s(detector, path, enabled) for enabled in (False, True))
    print(f"CPU of a still scene, 10 frames/s: always on {always:.3f} s/s, gated {gated:.3f} s/s,")
    print(f"ratio {gated / always:.3f}")
    _leave()


class _Counter:
    """Stands where the worker's publisher stands and counts."""

    def __init__(self) -> None:
        self.done: dict[str, list[float]] = {}

    def hand(self, desk: object, done: Processed) -> None:
        """Count one frame, with milliseconds from capture to result."""
        desk.take(done)  # type: ignore[attr-defined]
        late_ms = (done.finished_ns - done.frame.captured_ns) / 1e6
        self.done.setdefault(done.camera, []).append(late_ms)


def _open(detector: Detector, cameras: Sequence[CameraConfig]) -> tuple[Pipeline, _Counter]:
    counter: Any = _Counter()
    scene = Scene("show", "boot", "release", cameras, time.monotonic_ns(), 10.0)
    pipeline = Pipeline([detector], scene, counter, _spawn)
    pipeline.allow_gates(allowed=True)
    return pipeline, counter


def _rates(
    detector: Detector,
    cameras: Sequence[CameraConfig],
    seconds: float,
    disturb: Callable[[], None] | None = None,
) -> dict[str, tuple[float, float]]:
    pipeline, counter = _open(detector, cameras)
    time.sleep(4)
    if disturb:
        disturb()
    counter.done.clear()
    time.sleep(seconds)
    rates = {
        name: (len(late) / seconds, float(np.percentile(late, 95)))
        for name, late in dict(counter.done).items()
    }
    pipeline.close()
    return rates


def _cpu_s(detector: Detector, film: Path, enabled: bool) -> float:  # noqa: FBT001 - a row of a table
    camera = CameraConfig(name="yard", source=str(film), motion=MotionConfig(enabled=enabled))
    pipeline, _ = _open(detector, [camera])
    time.sleep(5)
    before, started = time.process_time(), time.monotonic()
    time.sleep(25)
    spent = (time.process_time() - before) / (time.monotonic() - started)
    pipeline.close()
    return spent


def _spawn(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def _drop_often(relay: Relay, stop: threading.Event) -> None:
    while not stop.wait(3.0):
        relay.drop()


def _frames(clip: str) -> list[np.ndarray[Any, Any]]:
    video = cv2.VideoCapture(clip)
    frames: list[np.ndarray[Any, Any]] = []
    while True:
        good, image = video.read()
        if not good:
            return frames
        frames.append(image)


def _is_person(detector: Detector, frame: Any) -> bool:
    return bool((detector.detect(frame).labels == 0).any())


def _events(seen: Sequence[bool], gap: int = 20, least: int = 3) -> list[tuple[int, int]]:
    """Return first and last frame of each stretch with a person; shorter gaps than two seconds are none."""
    events: list[list[int]] = []
    for number in (at for at, has in enumerate(seen) if has):
        if events and number - events[-1][-1] <= gap:
            events[-1].append(number)
        else:
            events.append([number])
    return [(event[0], event[-1]) for event in events if len(event) >= least]


def _film(path: Path, frames: Sequence[Any]) -> Path:
    """Write frames forth and back, so that the film goes round without a jump."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in [*frames, *reversed(frames)]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def _seconds(act: Callable[[], None], until: Callable[[], bool]) -> float:
    act()
    started = time.monotonic()
    wait_for(until, _LONG_S)
    return time.monotonic() - started


def _leave() -> None:
    """End without waiting for threads that are in a library."""
    sys.stdout.flush()
    os._exit(0)


def _nothing() -> None:
    pass


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.1f}-{max(values):.1f}"


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    set_up_process()
    shows: dict[str, Callable[..., None]] = {
        "recovery": recovery,
        "reconnects": reconnects,
        "fairness": fairness,
        "motion": motion,
    }
    shows[sys.argv[1]](*sys.argv[2:])
