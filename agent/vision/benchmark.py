"""`python -m agent.vision.benchmark …`: the runtime alone, and frame after frame, lap by lap.

A process of its own, set up as a worker is, so that whoever compares stays free of runtimes. It prints a
`Loaded` when the model is ready, then a `Lap` for each `LapRequest` on its stdin, each one line of JSON. An
expected fault ends it with a `Fault` instead.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.errors import VigilError
from agent.schema.manifest import InputSpec
from agent.vision.process import set_up_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agent.vision.detector import Detector

_WARM_UP_RUNS = 5


class ModelFile(msgspec.Struct, frozen=True):
    """What is measured: a model file, how it is run, and what its file may not say of it."""

    path: str
    source: str
    threads: int
    providers: list[str] = []
    streams: int = 1
    backend: str | None = None
    family: str | None = None
    labels: list[str] | None = None


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model as it was recognised."""

    backend: str
    family: str
    labels: list[str]
    input: InputSpec
    box_units: str
    task: str
    keypoints: tuple[int, int] | None


class LapRequest(msgspec.Struct, frozen=True):
    """Ask for a lap of `raw` (inference on filled buffers, in all streams) or `serial` (decode, pre, infer, post)."""

    mode: str
    seconds: float


class Lap(msgspec.Struct, frozen=True, tag=True):
    """A stretch of frames in one mode: seconds and CPU seconds of all, milliseconds of each by stage."""

    seconds: float
    cpu_s: float
    stages_ms: list[dict[str, float]]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return len(self.stages_ms) / self.seconds


class Fault(msgspec.Struct, frozen=True, tag=True):
    """Why it ended: an error of Vigil."""

    kind: str
    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: VigilError) -> Fault:
        """Return what is told of an error."""
        return cls(type(error).__name__, error.code, error.message, error.hint)


Answer = Loaded | Lap | Fault


class Bench:
    """One model and one film, in the two modes that need no pipeline."""

    def __init__(self, detectors: Sequence[Detector], source: Path) -> None:
        self._detector = detectors[0]
        self._frames = _endless(source)
        self._modes: dict[str, list[Callable[[], dict[str, float]]]] = {
            "raw": [partial(_infer, one) for one in detectors],
            "serial": [self._detect],
        }
        for detector in detectors:
            detector.letterbox.fill(next(self._frames))
            for _ in range(_WARM_UP_RUNS):
                detector.infer()

    def run(self, request: LapRequest) -> Lap:
        """Run one lap."""
        steps = self._modes[request.mode]
        cpu_s, started = time.process_time(), time.perf_counter()
        with ThreadPoolExecutor(len(steps)) as pool:
            runs = list(pool.map(partial(_repeat, started + request.seconds), steps))
        spent_s = time.perf_counter() - started
        return Lap(spent_s, time.process_time() - cpu_s, [one for run in runs for one in run])

    def _detect(self) -> dict[str, float]:
        started = time.perf_counter_ns()
        image = next(self._frames)
        decoded_ms = (time.perf_counter_ns() - started) / 1e6
        return {"capture": decoded_ms, **self._detector.detect(image).stages_ms}


def _repeat(until_s: float, step: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    times_ms = []
    while time.perf_counter() < until_s:
        times_ms.append(step())
    return times_ms


def _infer(detector: Detector) -> dict[str, float]:
    started = time.perf_counter_ns()
    detector.infer()
    return {"infer": (time.perf_counter_ns() - started) / 1e6}


def _endless(source: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield a film's pictures over and over."""
    from agent.vision.gallery import open_source

    while True:
        for picture in open_source(source)[1]:
            yield picture.image


def _load(file: ModelFile) -> tuple[Loaded, Bench]:
    from agent.vision.detector import load_detector
    from agent.vision.recognise import Stated, backend_of, recognise

    detector = load_detector(
        Path(file.path),
        backend=file.backend,
        family=file.family,
        labels=file.labels,
        threads=file.threads // file.streams,
        providers=file.providers,
    )
    facts = recognise(detector.backend, detector.infer(), Stated(file.family, file.labels))
    described = Loaded(
        backend=file.backend or backend_of(file.path),
        family=facts.family,
        labels=list(facts.labels),
        input=facts.input,
        box_units=facts.box_units,
        task=facts.task,
        keypoints=facts.keypoints,
    )
    return described, Bench(detector.split(file.streams), Path(file.source))


def _serve(file: ModelFile) -> Iterator[Answer]:
    try:
        described, bench = _load(file)
        yield described
        for line in sys.stdin:
            yield bench.run(msgspec.json.decode(line, type=LapRequest))
    except VigilError as error:
        yield Fault.of(error)


def speak(answers: Iterable[msgspec.Struct]) -> None:
    """Print answers, one line of JSON each, as soon as they are there, until nobody reads them any more."""
    try:
        for answer in answers:
            sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        # At its exit the interpreter would try once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Serve until stdin ends."""
    file = msgspec.json.decode(sys.argv[1], type=ModelFile)
    set_up_process()
    speak(_serve(file))


if __name__ == "__main__":
    main()
