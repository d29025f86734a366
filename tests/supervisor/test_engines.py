"""A TensorRT variant: served by ONNX Runtime at once, by its engine when that is built and proved.

Workers are real processes; NVIDIA's library in them is a double, told by the environment what goes wrong.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import ModelError
from agent.host.memfd import memfd_of
from agent.models.engine_cache import EngineCache
from agent.models.store import InstalledRelease
from agent.schema import ipc
from agent.schema.config import CameraConfig, DetectConfig
from agent.schema.values import BackendName, Precision
from agent.supervisor import Conversation, Listeners, Supervisor, WorkerSettings
from agent.supervisor.engines import BuildLimits, Engines
from agent.trust.keys import FileKey
from agent.update.ports import Strain
from tests.parts.processes import children
from tests.supervisor.releases import release
from tests.vision import models
from tests.vision.peer import NVIDIA, variant

LIMITS = BuildLimits(memory_mb=1500, timeout_s=60, workspace_mb=256)
SHORT = BuildLimits(memory_mb=1500, timeout_s=2, workspace_mb=256)  # for a build that hangs
RELEASE = release(variant(backend=BackendName.TENSORRT, precision=Precision.FP16))


class Board:
    """A supervisor on a board that has TensorRT, with one camera of moving colours."""

    def __init__(self, folder: Path) -> None:
        self.golden = models.golden_set()
        self.key = FileKey.create(folder / "device.key")
        self.cache = EngineCache(folder / "engines", self.key)
        self.seen = folder / "seen"
        self.engines = Engines(self.cache, LIMITS, self._payload)
        self.frames: list[ipc.FrameResult] = []
        settings = WorkerSettings(
            device="d1",
            boot="0123456789ab",
            cameras=[CameraConfig(name="door", source="pattern:320x180", fps=10)],
            detect=DetectConfig(),
            default_fps=10,
            threads=1,
            memory_mb=1500,
            load_timeout_s=60,
        )
        talk = Conversation(
            settings, self._payload, lambda _: memfd_of(self.golden, "golden"), self.engines
        )
        listeners = Listeners(lambda one, _: self.frames.append(one), lambda _: None, lambda: None)
        self.supervisor = Supervisor(settings, talk, listeners, lambda _: Strain())

    @staticmethod
    def _payload(_release: InstalledRelease) -> int:
        return memfd_of(models.onnx_model(), "model")

    def serve(self) -> None:
        """Serve in a new worker."""
        self.supervisor.serve(None)
        self.supervisor.serve(RELEASE)

    def build(self) -> None:
        self.engines.build_missing()

    def switch(self) -> None:
        self.engines.switch(self.supervisor)

    @property
    def runs_engine(self) -> bool:
        """Whether the serving worker has loaded an engine; else it runs the ONNX file."""
        seen = self.seen.read_text().split() if self.seen.exists() else []
        return str(self.supervisor.worker_pid) in seen

    def wait_for_frames(self) -> None:
        have = len(self.frames)
        wait_until(lambda: len(self.frames) > have + 2)
        assert not self.frames[-1].error


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Tells the double what is to go wrong in processes that start from now on."""

    def told(script: str) -> None:
        monkeypatch.setenv("TENSORRT_DOUBLE", f"seen={tmp_path / 'seen'} {script}")

    told("")
    return told


@pytest.fixture
def board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Callable[[str], None]
) -> Iterator[Board]:
    monkeypatch.setenv("PYTHONPATH", NVIDIA)
    board = Board(tmp_path)
    yield board
    board.supervisor.discard()
    board.supervisor.serve(None)


def test_onnx_serves_until_the_engine_is_built_and_proved(board: Board) -> None:
    board.serve()
    board.wait_for_frames()
    assert not board.runs_engine
    board.build()
    assert not board.runs_engine, "a swap is the updater's time to choose"
    board.switch()
    assert board.runs_engine
    board.wait_for_frames()


def test_the_engine_is_there_at_the_next_start(board: Board, tmp_path: Path) -> None:
    board.serve()
    board.build()
    (sealed,) = (tmp_path / "engines").iterdir()
    assert b"images" not in sealed.read_bytes()
    board.serve()
    assert board.runs_engine
    board.switch()
    board.wait_for_frames()


@pytest.mark.parametrize("change", ["driver=13000", "version=10.14.1"])
def test_an_engine_is_built_again_when_the_fingerprint_changes(
    board: Board, plan: Callable[[str], None], change: str
) -> None:
    board.serve()
    board.build()
    plan(change)
    board.serve()
    assert not board.runs_engine
    board.build()
    board.switch()
    assert board.runs_engine


def test_a_damaged_engine_is_built_again(board: Board, tmp_path: Path) -> None:
    board.serve()
    board.build()
    (sealed,) = (tmp_path / "engines").iterdir()
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"?")
    board.serve()
    assert not board.runs_engine
    board.build()
    board.switch()
    assert board.runs_engine


@pytest.mark.parametrize("fault", ["hang", "crash", "memory", "refuse"])
def test_a_build_that_fails_leaves_onnx_serving_and_is_not_repeated(
    board: Board, plan: Callable[[str], None], tmp_path: Path, fault: str
) -> None:
    board.engines.limits = SHORT if fault == "hang" else LIMITS
    board.serve()
    pid = board.supervisor.worker_pid
    plan(fault)
    board.build()
    plan("")
    board.build()
    board.switch()
    assert board.supervisor.worker_pid == pid
    assert not board.runs_engine
    assert not list((tmp_path / "engines").iterdir())
    board.wait_for_frames()


def test_an_engine_that_finds_something_else_is_not_swapped_in(
    board: Board, tmp_path: Path
) -> None:
    board.serve()
    pid = board.supervisor.worker_pid
    board.build()
    board.golden = models.golden_set(label=2)
    board.switch()
    assert board.supervisor.worker_pid == pid
    assert not list((tmp_path / "engines").iterdir())
    board.wait_for_frames()


def test_an_engine_that_kills_its_worker_is_tried_once(
    board: Board, plan: Callable[[str], None]
) -> None:
    board.serve()
    board.build()
    plan("crash-load")
    with pytest.raises(ModelError, match="signal 6"):
        board.serve()
    board.serve()
    assert not board.runs_engine
    board.wait_for_frames()


def test_an_engine_that_does_not_load_costs_no_worker(
    board: Board, plan: Callable[[str], None]
) -> None:
    board.serve()
    board.build()
    plan("no-memory")
    board.serve()
    board.wait_for_frames()


@pytest.mark.parametrize("fault", ["version=8.5.2", "driver=none"])
def test_a_board_whose_tensorrt_does_not_answer_serves_onnx(
    board: Board, plan: Callable[[str], None], fault: str
) -> None:
    plan(fault)
    board.serve()
    board.build()
    assert not board.runs_engine
    board.wait_for_frames()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("hang", "model.timeout"),
        ("crash", "model.crashed"),
        ("memory", "model.engine"),
        ("refuse", "model.engine"),
    ],
)
def test_an_update_whose_engine_cannot_be_built_goes_on_without_and_says_why(
    board: Board,
    plan: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    fault: str,
    code: str,
) -> None:
    board.engines.limits = SHORT if fault == "hang" else LIMITS
    plan(fault)
    board.supervisor.trial(RELEASE)
    assert f"[{code}]" in caplog.text
    board.supervisor.swap()
    assert not board.runs_engine
    board.wait_for_frames()


def test_an_update_is_tried_with_its_engine(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    board.supervisor.trial(RELEASE)
    assert "engine: Building Engine, step 1 of 3" in caplog.text
    board.supervisor.swap()
    assert board.runs_engine
    board.wait_for_frames()


def test_an_engine_whose_trial_the_agents_end_cut_off_is_kept(board: Board, tmp_path: Path) -> None:
    board.serve()
    board.build()
    board.engines.abandon()
    board.supervisor.abandon_trial()
    board.switch()
    assert not board.runs_engine
    assert list((tmp_path / "engines").iterdir())


def test_stopping_the_agent_stops_a_build(board: Board, plan: Callable[[str], None]) -> None:
    plan("hang")
    others = set(children(os.getpid()))
    builder = threading.Thread(target=board.engines.prepare, args=(RELEASE,))
    builder.start()
    wait_until(lambda: bool(set(children(os.getpid())) - others))
    board.engines.abandon()
    builder.join(30)
    assert not builder.is_alive()
    assert board.engines.may_serve(RELEASE), "the build is not to blame"
