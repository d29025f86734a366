"""A double of the CUDA runtime: device and page-locked memory are ordinary memory.

`TENSORRT_DOUBLE` in the environment lists what goes wrong, for this double and for TensorRT's.
"""
# ruff: noqa: N802 - CUDA names its functions so

import ctypes
import functools
import os
from typing import Any


def script() -> dict[str, str]:
    words = os.environ.get("TENSORRT_DOUBLE", "").split()
    return dict(word.partition("=")[::2] for word in words)


class Cudart:
    """libcudart: device and page-locked memory are ordinary memory that is given back when told."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.given_back: list[int] = []
        for name in (name for name in dir(type(self)) if name.startswith("cuda")):
            setattr(self, name, functools.partial(getattr(self, name)))  # takes argtypes

    def cudaGetErrorString(self, status: int) -> bytes:
        return b"out of memory" if status == 2 else b"unknown error"

    def cudaRuntimeGetVersion(self, result: Any) -> int:
        result._obj.value = 12060
        return 0

    def cudaDriverGetVersion(self, result: Any) -> int:
        driver = script().get("driver", "12080")
        if driver == "none":
            return 35
        result._obj.value = int(driver)
        return 0

    def cudaDeviceGetAttribute(self, result: Any, attribute: int, device: int) -> int:
        result._obj.value = {75: 8, 76: 7}[attribute] + device
        return 0

    def cudaStreamCreateWithFlags(self, result: Any, flags: int) -> int:
        result._obj.value = 7 * flags
        return 0

    def cudaStreamSynchronize(self, stream: int) -> int:
        return 0 if stream == 7 else 1

    def cudaStreamDestroy(self, stream: int) -> int:
        self.given_back.append(stream)
        return 0

    def cudaMalloc(self, result: Any, size: int) -> int:
        if "no-device-memory" in script():
            return 2
        memory = ctypes.create_string_buffer(size)
        result._obj.value = ctypes.addressof(memory)
        self.memory[result._obj.value] = memory
        return 0

    def cudaFree(self, address: int) -> int:
        del self.memory[address]
        self.given_back.append(address)
        return 0

    def cudaHostAlloc(self, result: Any, size: int, flags: int) -> int:
        assert flags == 0
        return self.cudaMalloc(result, size)

    def cudaFreeHost(self, address: int) -> int:
        return self.cudaFree(address)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, direction: int, stream: int
    ) -> int:
        assert direction in (1, 2)
        ctypes.memmove(target, source, size)
        return 0 if stream == 7 else 1


RUNTIME = Cudart()


def install() -> None:
    """Let the loader find this runtime."""
    real = ctypes.CDLL

    def load(name: Any, *arguments: Any, **options: Any) -> Any:
        is_cuda = "libcudart" in str(name)
        return RUNTIME if is_cuda else real(name, *arguments, **options)

    ctypes.CDLL = load  # type: ignore[assignment,misc]
