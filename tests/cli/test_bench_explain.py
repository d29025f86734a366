"""What a benchmark says of its own speed: stage, clock, throttling, other work, and what was measured beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.app.bench import Memory, Start
from agent.cli.bench_explain import Board, beside_fleet, effects_of, explain, told
from agent.cli.bench_report import BenchReport, ModeReport
from agent.cli.fleet_pace import read_paces
from agent.errors import ConfigError
from agent.host.frequency import CpuClock, cpu_clock
from agent.schema.document import to_json
from agent.schema.messages import StageMs
from agent.schema.pace import FleetPace, FleetPaces

FULL = Board(CpuClock(1800, 1800, "performance"), (), "")


def mode(**stages_ms: float) -> ModeReport:
    stages = {name: StageMs(p50=ms, p95=ms, p99=ms) for name, ms in stages_ms.items()}
    return ModeReport(fps=20.0, cpu_ms=50.0, stages_ms=stages)


def run(stages: ModeReport, **changes: Any) -> BenchReport:
    facts: dict[str, Any] = {
        "id": "fp32-640",
        "model": "a.onnx",
        "sha256": "",
        "source": "street.mp4",
        "input": (640, 640),
        "backend": "onnxruntime",
        "threads": 2,
        "streams": 1,
        "providers": [],
        "cores": 4,
        "load": 0.2,
        "rounds": 5,
        "infer_ms": 50.0,
        "pre_post_ms": 1.0,
        "pipelined_of_raw": 0.99,
        "pipelined_of_streams": None,
        "limit_fps": 20.0,
        "limit_of_raw": 1.0,
        "modes": {"raw": mode(infer=50.0), "serial": stages, "pipelined": stages},
        "memory": Memory(1.0, 1.0, 1.0, 1.0, 1.0),
        "start": Start(1.0, 1.0, 1.0, 1.0),
    }
    return BenchReport(**{**facts, **changes})


INFERS = mode(capture=4.0, pre=0.5, infer=45.0, post=0.5)


def test_a_model_alone_on_a_quiet_board_is_its_own_limit() -> None:
    found = explain(run(INFERS), FULL, {})
    assert (found.bottleneck, found.share, found.causes) == ("infer", 0.9, [])
    assert "INT8" in found.advice[0]


def test_another_setting_is_advised_with_what_it_gave() -> None:
    found = explain(run(INFERS), FULL, {"--threads 1": 12.0, "--threads 4": 31.0})
    assert [effect.setting for effect in found.effects] == ["--threads 4", "--threads 1"]
    assert found.effects[0].gain == 1.55
    assert found.advice[0].startswith("--threads 4: 1.55 times")
    together = mode(infer=60.0)
    modes = {"raw": INFERS, "streams": together, "serial": INFERS, "pipelined": INFERS}
    spread = explain(run(INFERS, streams=2, modes=modes), FULL, {"--threads 1": 15.0})
    assert spread.effects[0].gain == 15.0 / together.fps
    worse = explain(run(INFERS), FULL, {"--threads 1": 12.0})
    assert not any("threads" in advice for advice in worse.advice)


def test_a_stream_that_takes_most_of_the_time_is_named() -> None:
    found = explain(run(mode(capture=30.0, pre=1.0, infer=10.0, post=1.0)), FULL, {})
    assert found.bottleneck == "capture"
    assert "decod" in found.advice[0]


def test_what_holds_the_board_back_is_named_with_figures() -> None:
    board = Board(CpuClock(600, 1800, "powersave"), ("under-voltage",), "15W")
    held = run(INFERS, load=3.9, pipelined_of_raw=0.7, limit_of_raw=0.72)
    causes = " | ".join(explain(held, board, {}).causes)
    for fact in ("under-voltage", "600 of 1800 MHz", "powersave", "15W", "3.9 on 4", "70%", "72%"):
        assert fact in causes
    lines = list(told(held, explain(held, board, {})))
    assert lines[0] == "fp32-640: infer takes 90% of a frame's time"
    assert sum(line.startswith("  held back: ") for line in lines) == 4


def core(root: Path, number: int, now: int, most: int) -> None:
    folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text(f"{now}\n")
    (folder / "cpuinfo_max_freq").write_text(f"{most}\n")
    (folder / "scaling_governor").write_text("ondemand\n")


def test_the_clock_is_that_of_the_core_that_is_held_down_most(tmp_path: Path) -> None:
    assert cpu_clock(tmp_path) is None
    core(tmp_path, 0, 1_800_000, 1_800_000)
    core(tmp_path, 1, 900_000, 1_500_000)
    found = cpu_clock(tmp_path)
    assert found is not None
    assert (found.now_mhz, found.max_mhz, found.governor) == (900, 1500, "ondemand")


def test_other_precisions_and_sizes_are_advised_by_what_they_gave() -> None:
    modes = {"raw": mode(infer=20.0), "serial": INFERS, "pipelined": INFERS}
    quick = run(
        INFERS, id="int8-320", input=(320, 320), modes={**modes, "raw": ModeReport(50.0, 9.0, {})}
    )
    others = run(INFERS, threads=1)
    slow = run(INFERS)
    effects = effects_of(slow, [slow, others, quick])
    assert effects == {"int8-320 (320x320, onnxruntime)": 50.0}
    found = explain(slow, FULL, effects)
    assert found.advice == [
        "int8-320 (320x320, onnxruntime): 2.50 times the inferences, measured just now"
    ]


def test_the_pipeline_is_held_against_the_fleets_devices_with_this_variant() -> None:
    stages_ms = {"capture": 4.0, "infer": 20.0}
    alike = [
        FleetPace(
            profile="p", release=f"gate/people/{n}.0", variant=name, devices=9, stages_ms=stages_ms
        )
        for n, name in ((1, "fp32-640"), (2, "int8-320"))
    ]
    lines = beside_fleet(run(INFERS), alike)
    assert lines == [
        "gate/people/1.0 fp32-640: infer 45.0 ms, 2.2 times the median of 9 alike in the fleet, 20.0 ms"
    ]
    found = explain(run(INFERS), FULL, {}, lines)
    assert f"  beside the fleet: {lines[0]}" in list(told(run(INFERS), found))


@pytest.mark.parametrize("content", [b"{", b"[]", to_json(FleetPaces(v=9, at_ms=1, paces=[]))])
def test_a_file_that_is_not_the_fleets_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "paces.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"paces\.json") as caught:
        read_paces(tmp_path / "paces.json")
    assert "vigil fleet pace" in caught.value.hint
