"""Building a TensorRT engine from a portable ONNX model, in a process that may hang, starve or die of it.

The process is a worker that gets no other request (`agent.supervisor.engines` starts it): confined in memory, of
low priority, and killed when its time is over. The model comes in a sealed memfd and the engine leaves in one: neither touches a file system.

TensorRT 10 lowers a float32 network where the builder's flags allow it. TensorRT 11 has no such flags: there the
types written in the ONNX file decide, and a variant that promises FP16 must ship a file in FP16. INT8 takes
its scales from QuantizeLinear and DequantizeLinear nodes in both; nothing is calibrated on a device.

Source: NVIDIA, TensorRT Python API, `Builder`, `IBuilderConfig`, `OnnxParser`, `IProgressMonitor`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import tensorrt as trt

from agent.errors import ModelError
from agent.host.clock import monotonic_ns
from agent.host.memfd import memfd_of
from agent.schema.engine import EnginePlan, GpuFacts
from agent.schema.values import Precision
from agent.vision.backends.cuda import Cuda
from agent.vision.backends.tensorrt import FAULTS, LOG, check_version

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Mapping

    Report = Callable[[str, int, int], bool]

log = logging.getLogger(__name__)

FLAGS: Mapping[Precision, tuple[str, ...]] = {
    Precision.FP32: (),
    Precision.FP16: ("FP16",),
    Precision.INT8: ("INT8", "FP16"),  # what has no scales runs in FP16
}
_REPORT_NS = 500_000_000


def describe_gpu() -> GpuFacts:
    """Return what an engine built now would be bound to.

    Raises:
        ModelError: No usable TensorRT (`model.runtime_missing`) or device (`model.accelerator`).
    """
    check_version()
    cuda = Cuda()
    return GpuFacts(
        tensorrt=trt.__version__,
        cuda=cuda.version,
        driver=cuda.driver,
        compute_capability=cuda.compute_capability,
    )


def build_engine(model: mmap.mmap, plan: EnginePlan, report: Report) -> int:
    """Build an engine; return a sealed memfd that holds it, which the caller closes.

    Args:
        model: The ONNX file.
        plan: How to build it.
        report: Told of the progress (phase, steps done, steps) about twice a second; its False stops the build.

    Raises:
        ModelError: The model is not for TensorRT (`model.unreadable`), the precision is not to be had
            (`model.precision`), or the build fails (`model.engine`).
        StorageError: There is not enough memory for the result.
    """
    check_version()
    try:
        serialised = _build(model, plan, report)
    except FAULTS as error:
        raise _failed(f"{LOG.take()} ({type(error).__name__}: {error})") from error
    if serialised is None:
        raise _failed(LOG.take())
    return memfd_of(bytes(serialised), "engine")


def _build(model: mmap.mmap, plan: EnginePlan, report: Report) -> Any:
    builder = trt.Builder(LOG)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, LOG)
    if not parser.parse(model):
        raise ModelError(f"TensorRT refuses the model: {_errors(parser)}", code="model.unreadable")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_mb * 2**20)
    config.progress_monitor = Monitor(report)
    for flag in _flags(plan.precision):
        config.set_flag(flag)
    return builder.build_serialized_network(network, config)


def _flags(precision: Precision) -> list[Any]:
    if precision not in FLAGS:
        message = f"TensorRT has no precision {precision.value}"
        raise ModelError(message, code="model.precision")
    known = trt.BuilderFlag.__members__
    lacking = [name for name in FLAGS[precision] if name not in known]
    if lacking:
        log.warning("TensorRT %s takes precision from the model's own types", trt.__version__)
    return [known[name] for name in FLAGS[precision] if name in known]


def _errors(parser: Any) -> str:
    found = [parser.get_error(index).desc() for index in range(parser.num_errors)]
    return "; ".join(found)[:300] or LOG.take()


def _failed(reason: str) -> ModelError:
    message = f"TensorRT cannot build the engine: {reason}"
    return ModelError(message, code="model.engine")


class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
    """Passes TensorRT's progress on, thinned out: it has thousands of steps."""

    def __init__(self, report: Report) -> None:
        trt.IProgressMonitor.__init__(self)
        self._report = report
        self._steps: dict[str, int] = {}
        self._due_ns = 0

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Take note of a phase and its number of steps."""
        del parent_phase
        self._steps[phase_name] = num_steps

    def phase_finish(self, phase_name: str) -> None:
        """Forget a phase."""
        self._steps.pop(phase_name, None)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Report a step now and then; return whether to go on."""
        now = monotonic_ns()
        if now < self._due_ns:
            return True
        self._due_ns = now + _REPORT_NS
        return self._report(phase_name, step + 1, self._steps.get(phase_name, step + 1))
