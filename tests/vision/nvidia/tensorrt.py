"""A double of TensorRT: the outside world, without a GPU. With it comes `libcudart`'s.

Its engines are ONNX models behind a header, run by ONNX Runtime on "device" memory that is the host's. Only what
the real bindings have is here (`test_tensorrt_bindings` says so). `TENSORRT_DOUBLE` lists what goes wrong.
"""

import ctypes
import enum
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

from tests.vision.nvidia import engine_file, libcudart
from tests.vision.nvidia.libcudart import script

libcudart.install()

_DTYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int8)": "INT8"}

REFUSALS = (Fail, InvalidGraph, InvalidProtobuf)
__version__ = script().get("version", engine_file.VERSION)


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = Severity

    def __init__(self) -> None:
        self.made = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class DataType(enum.Enum):
    FLOAT = np.float32
    HALF = np.float16
    INT8 = np.int8
    BF16 = None


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TempfileControlFlag(enum.IntEnum):
    ALLOW_IN_MEMORY_FILES = 0
    ALLOW_TEMPORARY_FILES = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    TF32 = 7
    if not __version__.startswith("11"):
        FP16 = 0
        INT8 = 1


def nptype(kind: DataType) -> Any:
    if kind.value is None:
        raise TypeError("Could not resolve TensorRT datatype")
    return kind.value


# running ---------------------------------------------------------------------------------------------


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        if "no-gpu" in script():
            logger.log(Severity.ERROR, "createInferRuntime: CUDA initialization failure: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.tempfile_control_flags = 3
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> "ICudaEngine | None":
        found = engine_file.unpack(bytes(serialized_engine))
        if found is None:
            self._logger.log(Severity.ERROR, "Magic tag does not match")
            return None
        facts, model = found
        if facts["version"] != __version__:
            self._logger.log(Severity.ERROR, "Version tag does not match")
            return None
        if "seen" in script():  # a file that collects the processes which loaded an engine
            with Path(script()["seen"]).open("a") as file:
                file.write(f"{os.getpid()}\n")
        if "crash-load" in script():
            os.abort()
        return ICudaEngine(model, self._logger)


class ICudaEngine:
    def __init__(self, model: bytes, logger: ILogger) -> None:
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._logger = logger
        self._inputs = [node.name for node in self._session.get_inputs()]
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._nodes: dict[str, Any] = {node.name: node for node in nodes}

    @property
    def num_io_tensors(self) -> int:
        return len(self._nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._nodes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        return [side if isinstance(side, int) else -1 for side in self._nodes[name].shape]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_DTYPES.get(self._nodes[name].type, "BF16")]

    def create_execution_context(self) -> "IExecutionContext | None":
        if "no-memory" in script():
            self._logger.log(Severity.ERROR, "createExecutionContext: out of device memory")
            return None
        return IExecutionContext(self, self._session, self._logger)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, session: Any, logger: ILogger) -> None:
        self._engine, self._session, self._logger = engine, session, logger
        self._addresses: dict[str, int] = {}
        self._frames = 0

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not stream_handle or "no-frames" in script():
            self._logger.log(Severity.ERROR, "enqueueV3: misaligned address")
            return False
        self._frames += 1
        if "hang-frames" in script() and self._frames > 3:
            time.sleep(600)
        arrays = {name: self._array(name) for name in self._addresses}
        names = [node.name for node in self._session.get_inputs()]
        results = self._session.run(None, {name: arrays[name] for name in names})
        for node, result in zip(self._session.get_outputs(), results, strict=True):
            arrays[node.name][...] = result
        return True

    def _array(self, name: str) -> Any:
        shape, dtype = self._engine.get_tensor_shape(name), np.dtype(self._kind(name))
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)

    def _kind(self, name: str) -> Any:
        return nptype(self._engine.get_tensor_dtype(name))


# building --------------------------------------------------------------------------------------------


class IProgressMonitor:
    def __init__(self) -> None:
        self.made = True


class ParserError:
    def desc(self) -> str:
        return "no importer registered for op: CrystalBall"


class INetworkDefinition:
    def __init__(self) -> None:
        self.model = b""


class OnnxParser:
    num_errors = 1

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger

    def parse(self, model: Any) -> bool:
        self._network.model = bytes(model)
        try:
            ort.InferenceSession(self._network.model, providers=["CPUExecutionProvider"])
        except REFUSALS:
            return False
        return True

    def get_error(self, index: int) -> ParserError:
        assert index < self.num_errors
        return ParserError()


class IBuilderConfig:
    def __init__(self) -> None:
        self.flags: list[str] = []
        self.workspace = 0
        self.progress_monitor: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.append(flag.name)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self.workspace = pool_size


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        assert flags == 0
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building Engine", None, 3)
        for step in range(3):
            if not monitor.step_complete("Building Engine", step):
                return None
            if step == 1 and self._goes_wrong():
                return None
        monitor.phase_finish("Building Engine")
        facts = {"flags": config.flags, "workspace": config.workspace, "nice": os.nice(0)}
        return engine_file.pack(network.model, __version__, **facts)

    def _goes_wrong(self) -> bool:
        plan = script()
        if "hang" in plan:
            time.sleep(600)
        if "crash" in plan:
            os.abort()
        if "memory" in plan:
            bytearray(8 * 2**30)
        if "refuse" in plan:
            self._logger.log(Severity.ERROR, "Could not find any implementation for node Conv_0")
        return "refuse" in plan
