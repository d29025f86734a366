"""The processes that a benchmark measures: a control process with a real worker, and one for the modes without.

This process loads no runtime, and neither is it measured: a command line is no agent.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Generic, TypeVar

import msgspec
from typing_extensions import Self

from agent import errors
from agent.app.bench import Memory, PipelineLap, Start
from agent.errors import ModelError, VigilError
from agent.vision.benchmark import Fault, Lap, LapRequest, Loaded, ModelFile

S = TypeVar("S", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)


class _Bench(Generic[S]):
    """A process that says when it has started, and then runs laps on request; see `agent.vision.benchmark`."""

    def __init__(self, module: str, started: type[S], *documents: msgspec.Struct) -> None:
        arguments = [msgspec.json.encode(one).decode() for one in documents]
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for who asked, who ends this one
        )
        try:
            self.started = self._next(started)
        except (VigilError, KeyboardInterrupt):
            self._process.terminate()
            self._process.communicate()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self._process.terminate()
        self._process.communicate()

    def _ask(self, mode: str, seconds: float, kind: type[A]) -> A:
        request = msgspec.json.encode(LapRequest(mode, seconds)).decode()
        # When the process has died, the missing answer says so.
        with contextlib.suppress(BrokenPipeError):
            print(request, file=self._process.stdin, flush=True)
        return self._next(kind)

    def _next(self, kind: type[A]) -> A:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            status = self._process.wait()
            raise ModelError(f"the runtime ended its process with {status}", code="model.crashed")
        answer = msgspec.json.decode(line, type=Loaded | Lap | Start | PipelineLap | Fault)
        if isinstance(answer, Fault):
            raise _as_error(answer)
        if not isinstance(answer, kind):
            raise ModelError(f"expected {kind.__name__}, found {line[:80]}", code="model.protocol")
        return answer


class Reference(_Bench[Loaded]):
    """A process that runs the modes without a pipeline; `started` is the model as it was recognised."""

    def __init__(self, file: ModelFile) -> None:
        super().__init__("agent.vision.benchmark", Loaded, file)

    def lap(self, mode: str, seconds: float) -> Lap:
        """Run one lap of `raw` or `serial`.

        Raises:
            VigilError: What the process reported.
        """
        return self._ask(mode, seconds, Lap)


class PipelineProcess(_Bench[Start]):
    """A control process with a real worker; `started` is how long that took, see `agent.app.bench`."""

    memory: Memory

    def __init__(self, file: ModelFile, loaded: Loaded) -> None:
        super().__init__("agent.app.bench", Start, file, loaded)

    def lap(self, seconds: float) -> Lap:
        """Run one lap of the pipeline; `memory` is what both processes held at its end.

        Raises:
            VigilError: What the process reported.
        """
        answer = self._ask("pipelined", seconds, PipelineLap)
        self.memory = answer.memory
        return answer.lap


def _as_error(fault: Fault) -> VigilError:
    kind = getattr(errors, fault.kind, ModelError)
    error: VigilError = kind(fault.message, code=fault.code, hint=fault.hint)
    return error
